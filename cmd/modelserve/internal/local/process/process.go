package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
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

// Err says why the child ended, with the last thing it wrote; nil for exit 0.
// Call it after Done.
func (p *Process) Err() error { return p.err }

func (p *Process) wait() {
	err := p.cmd.Wait()
	p.output.flush()
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
	case errors.As(err, &exit):
		p.err = errors.New(describe(exit.ProcessState))
		if last := p.output.last(); last != "" {
			p.err = fmt.Errorf("%w: %s", p.err, last)
		}
	default:
		p.err = fmt.Errorf("wait: %w", err)
	}
	close(p.done)
}

func describe(s *os.ProcessState) string {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "killed by " + status.Signal().String()
	}
	return fmt.Sprintf("exited with status %d", s.ExitCode())
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

// Bounds of what a child writes: a longer line is cut into several, and the
// last ones are kept for Err.
const (
	maxLine  = 16 << 10
	lastKept = 4
)

// lines cuts a stream into lines. exec copies from one goroutine; last is
// called from another.
type lines struct {
	each func([]byte)

	mu      sync.Mutex
	partial []byte
	kept    []string
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
		if len(l.kept) == lastKept {
			l.kept = append(l.kept[:0], l.kept[1:]...)
		}
		l.kept = append(l.kept, text)
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

func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Reason(l.kept)
}

// Reason picks the line that says most about a failure out of a child's last
// ones: a panic's own line rather than its stack, else the last.
func Reason(kept []string) string {
	for _, line := range kept {
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			return line
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return kept[len(kept)-1]
}
