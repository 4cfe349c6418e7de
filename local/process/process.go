package process

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a started child.
type Process struct {
	cmd    *exec.Cmd
	output *lines
	done   chan struct{}
	err    error // set before done is closed
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is why the child ended, as an *End; nil for exit 0. Call it after Done.
func (p *Process) Err() error { return p.err }

// End is why a child ended.
type End struct {
	Reason string // a sentence, for anybody
	Last   string // what the child wrote last, for whoever runs it: it may hold anything

	killed bool
}

// Error is the reason.
func (e *End) Error() string { return e.Reason }

// Killed reports whether somebody, or the system, ended the child by SIGKILL.
func (e *End) Killed() bool { return e.killed }

// LastLine is what the child wrote last.
func (e *End) LastLine() string { return e.Last }

func (p *Process) wait() {
	err := p.cmd.Wait()
	p.output.flush()
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
	case errors.As(err, &exit):
		reason, killed := describe(exit.ProcessState)
		p.err = &End{Reason: reason, Last: p.output.last(), killed: killed}
	default:
		p.err = fmt.Errorf("wait: %w", err)
	}
	close(p.done)
}

func describe(s *os.ProcessState) (reason string, killed bool) {
	status, ok := s.Sys().(syscall.WaitStatus)
	switch {
	case !ok || !status.Signaled():
		return fmt.Sprintf("it exited with status %d", s.ExitCode()), false
	case status.Signal() == syscall.SIGKILL:
		return "it was killed (" + unix.SignalName(status.Signal()) + ")", true
	default:
		return "it was ended by a signal (" + unix.SignalName(status.Signal()) + ")", false
	}
}

// Stop asks the child to end (SIGTERM) and kills it when it has not within
// grace. It returns when the child has ended; stopping twice is safe.
func (p *Process) Stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	}
	p.Kill()
	<-p.done
}

// Kill ends the child and its process group at once.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // the group is the child's own; it may have ended
}

// maxLine bounds a line that a child writes; a longer one is cut into several.
const maxLine = 16 << 10

// lines cuts a stream into lines. exec copies from one goroutine; last is
// called from another.
type lines struct {
	each func([]byte)

	mu      sync.Mutex
	partial []byte
	final   string // the last line with something on it
	panic   string // the line of a panic, which a stack follows
}

// Write takes the next bytes of the stream.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 && len(l.partial)+len(p) < maxLine {
			l.partial = append(l.partial, p...)
			break
		}
		if i < 0 || len(l.partial)+i > maxLine {
			i = min(maxLine-len(l.partial), len(p))
			l.emit(append(l.partial, p[:i]...))
			p = p[i:]
			continue
		}
		l.emit(append(l.partial, p[:i]...))
		p = p[i+1:]
	}
	return n, nil
}

func (l *lines) emit(line []byte) {
	l.partial = l.partial[:0]
	line = bytes.TrimRight(line, "\r")
	if text := strings.TrimSpace(string(line)); text != "" {
		l.final = text
		if strings.HasPrefix(text, "panic:") || strings.HasPrefix(text, "fatal error:") {
			l.panic = text
		}
	}
	if l.each != nil {
		l.each(line)
	}
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.emit(l.partial)
	}
}

// last is the line that explains a failure best.
func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cmp.Or(l.panic, l.final)
}
