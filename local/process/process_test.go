package process_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/local/process"
)

// TestMain is also the children of the tests.
func TestMain(m *testing.M) {
	if role := os.Getenv("PROCESS_TEST_ROLE"); role != "" {
		play(role)
		os.Exit(0)
	}
	// Whoever runs the tests may have SIGHUP ignored, as nohup does, and children
	// inherit that; of a signal that is handled they have the default.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(m.Run())
}

func play(role string) {
	switch role {
	case "fail":
		fmt.Println("first")
		fmt.Fprintln(os.Stderr, "cannot load the model: file is short")
		os.Exit(3)
	case "panic":
		panic("index out of range")
	case "stubborn": // deaf to SIGTERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("up")
		select {}
	case "polite":
		ctx, stop := lifecycle.Context(context.Background())
		defer stop()
		fmt.Println("up", os.Getenv("GREETING"), os.Getenv("HOME"))
		<-ctx.Done()
		fmt.Println("down")
	case "parent": // starts children and waits to be killed
		s, err := process.NewSpawner()
		if err != nil {
			panic(err)
		}
		for _, child := range []string{"stubborn", "polite"} {
			up := make(chan struct{})
			p, err := s.Start(process.Command{
				Path: os.Args[0], Env: []string{"PROCESS_TEST_ROLE=" + child},
				Line: func([]byte) { close(up) },
			})
			if err != nil {
				panic(err)
			}
			<-up
			fmt.Println(p.PID())
		}
		select {}
	}
}

func spawner(t *testing.T) *process.Spawner {
	t.Helper()
	s, err := process.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// output collects lines and signals the first.
type output struct {
	mu    sync.Mutex
	lines []string
	first chan struct{}
}

func (o *output) line(l []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lines = append(o.lines, string(l)); len(o.lines) == 1 {
		close(o.first)
	}
}

func (o *output) all() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.lines...)
}

func start(t *testing.T, s *process.Spawner, role string, env ...string) (*process.Process, *output) {
	t.Helper()
	o := &output{first: make(chan struct{})}
	p, err := s.Start(process.Command{Path: os.Args[0], Env: append(env, "PROCESS_TEST_ROLE="+role), Line: o.line})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(0) })
	return p, o
}

func TestReasonOfTheEnd(t *testing.T) {
	t.Parallel()
	s := spawner(t)
	for _, tc := range []struct {
		role, want, last string
		signal           syscall.Signal
	}{
		{role: "fail", want: "it exited with status 3", last: "cannot load the model: file is short"},
		{role: "panic", want: "it exited with status 2", last: "panic: index out of range"},
		{role: "stubborn", signal: syscall.SIGKILL, want: "it was killed (SIGKILL)", last: "up"},
		{role: "stubborn", signal: syscall.SIGHUP, want: "it was ended by a signal (SIGHUP)", last: "up"},
		{role: "nothing"},
	} {
		p, o := start(t, s, tc.role, "GOTRACEBACK=none")
		if tc.signal != 0 {
			<-o.first
			if err := syscall.Kill(p.PID(), tc.signal); err != nil {
				t.Fatal(err)
			}
		}
		<-p.Done()
		var end *process.End
		errors.As(p.Err(), &end)
		if end == nil && tc.want != "" || end != nil && (end.Error() != tc.want || !strings.HasPrefix(end.LastLine(), tc.last)) {
			t.Errorf("%s: %+v, want %s", tc.role, end, tc.want)
		}
		if end != nil && end.Killed() != (tc.signal == syscall.SIGKILL) {
			t.Errorf("%s: killed: %v", end, end.Killed())
		}
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	s := spawner(t)
	p, o := start(t, s, "polite", "GREETING=hello")
	<-o.first
	p.Stop(time.Minute)
	p.Stop(time.Minute)
	if diff := cmp.Diff([]string{"up hello ", "down"}, o.all()); diff != "" || p.Err() != nil {
		t.Errorf("%v; output (-want +got):\n%s", p.Err(), diff)
	}
	p, o = start(t, s, "stubborn")
	<-o.first
	begun := time.Now()
	p.Stop(100 * time.Millisecond)
	if took := time.Since(begun); took > 10*time.Second || p.Err() == nil || !strings.Contains(p.Err().Error(), "killed (SIGKILL)") {
		t.Errorf("stubborn: %v after %v", p.Err(), took)
	}
}

func TestStartAfterClose(t *testing.T) {
	t.Parallel()
	s, err := process.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(process.Command{Path: os.Args[0]}); !errors.Is(err, process.ErrClosed) {
		t.Errorf("start: %v", err)
	}
}

func TestNoSuchProgram(t *testing.T) {
	t.Parallel()
	if _, err := spawner(t).Start(process.Command{Path: "/no/such"}); err == nil || !strings.Contains(err.Error(), "/no/such") {
		t.Errorf("start: %v", err)
	}
}

// The lifeline alone ends a child that watches it.
func TestLifeline(t *testing.T) {
	t.Parallel()
	s, err := process.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	p, o := start(t, s, "polite")
	<-o.first
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
}

// Children die with their parent, even when it is killed and they are deaf.
func TestKilledParentTakesItsChildren(t *testing.T) {
	t.Parallel()
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = []string{"PROCESS_TEST_ROLE=parent"}
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var children []int
	lines := bufio.NewScanner(out)
	for len(children) < 2 && lines.Scan() {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("parent wrote %q", lines.Text())
		}
		children = append(children, pid)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = parent.Wait() // killed
	for _, pid := range children {
		for syscall.Kill(pid, 0) == nil && !zombie(pid) {
			if t.Context().Err() != nil {
				t.Fatalf("child %d outlives its parent", pid)
			}
		}
	}
}

// zombie is true of a process that has ended and that init has not yet reaped.
func zombie(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

func TestMemory(t *testing.T) {
	t.Parallel()
	p, o := start(t, spawner(t), "polite")
	<-o.first
	if used, ok := p.Memory(); ok && (used < 1<<20 || used > 1<<30) {
		t.Errorf("%d bytes", used)
	}
}
