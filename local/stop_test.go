package local_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ends sends SIGTERM and holds that the platform ends, and with what status.
func (p *platform) ends(t *testing.T, status int) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(2 * time.Minute): // without a bound it is never
		t.Fatal("the platform does not end")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != status {
		t.Errorf("exit status %d, want %d", code, status)
	}
}

// slowGo is a PATH whose go builds until it is killed, and notes that it began in a file.
func slowGo(t *testing.T) (path, begun string) {
	t.Helper()
	dir := t.TempDir()
	begun = filepath.Join(dir, "begun")
	script := "#!/bin/sh\necho $$ > " + begun + "\nexec sleep 100000\n"
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return "PATH=" + dir + ":" + os.Getenv("PATH"), begun
}

// TestTheEndIsBounded holds that the platform ends when it is asked to, whatever
// its functions are waiting for then.
func TestTheEndIsBounded(t *testing.T) {
	t.Parallel()
	variable := func(p *platform, line string) { p.edit("env:\n", "env:\n            - "+line+"\n") }
	for _, tc := range []struct {
		name   string
		then   func(*testing.T, *platform)
		status int
	}{
		{"a new revision that cannot be built", func(t *testing.T, p *platform) {
			p.must("echo")
			p.edit("testdata/echo", "testdata/nothing")
			p.log.wait(t, "testdata/nothing", 1)
		}, 0},
		{"a new revision that cannot start", func(t *testing.T, p *platform) {
			p.must("echo")
			variable(p, "{name: ECHO_FAIL, value: no model there}")
			p.log.wait(t, "it exited with status 3", 1)
		}, 0},
		{"a new revision that waits for what never comes", func(t *testing.T, p *platform) { // as for a version that is not published
			p.must("echo")
			variable(p, "{name: ECHO_DELAY, value: 100h}")
			p.log.wait(t, "revision echo-00002", 1)
		}, 0},
		{"a revision that ends while its request runs", func(t *testing.T, p *platform) {
			p.must("echo")
			go func() { _, _, _ = p.call("echo", "/?pause=100h") }()
			p.edit("value: one", "value: two")
			for p.must("echo").Said != "two" {
				pause(t)
			}
		}, 1}, // its request is cut, and that is reported
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := begin(t)
			tc.then(t, p)
			p.ends(t, tc.status)
		})
	}
	t.Run("a build under way", func(t *testing.T) {
		t.Parallel()
		path, begun := slowGo(t)
		p := begin(t, path)
		pid := ""
		for !strings.HasSuffix(pid, "\n") {
			text, _ := os.ReadFile(begun)
			pid = string(text)
			pause(t)
		}
		p.ends(t, 0)
	})
}

// TestASecondSignalEndsAtOnce holds that whoever does not want to wait for the
// requests need not, and that no function is left.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := begin(t)
	a := p.must("echo")
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_, _, _ = p.call("echo", "/?pause=100h")
	}()
	resp := func() error { // the platform does not take new connections once it has had the first signal
		resp, err := http.Get("http://" + p.address + "/healthz")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for resp() == nil {
		pause(t)
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	<-p.ended
	<-asked
	for alive(a.PID) {
		pause(t)
	}
}
