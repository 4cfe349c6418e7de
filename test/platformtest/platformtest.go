// Package platformtest runs the local platform for tests that use it over the
// network alone, as people do: it builds the CLI and starts `modelserve dev` on a
// folder and port of its own. Nothing but tests imports it.
package platformtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/freeport"
	"github.com/modelserveai/modelserve/internal/logtest"
)

// Platform is a running one: `modelserve dev`, or a cluster's.
type Platform struct {
	Address string // host:port
	Domain  string // below which functions have their names
	Key     string
	Dir     string // where the CLI runs; holds .modelserve locally
	CLI     string
	Output  *logtest.Log // what the local one prints

	cmd *exec.Cmd // of the local one
}

// startTimeout is for how long a platform may build its functions, which takes
// minutes on a machine that has never built them.
const startTimeout = 10 * time.Minute

// Root is the repository's root, of a test two folders below it.
func Root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// BuildCLI builds the CLI as it is released, without the race detector.
func BuildCLI(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "modelserve")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, "./cmd/modelserve")
	cmd.Dir = Root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the CLI: %v\n%s", err, out)
	}
	return path
}

// Start runs the platform on a free port until the test ends, with its data in
// the folder .modelserve of dir, where its CLI runs too.
func Start(t *testing.T, cli, dir string) *Platform {
	t.Helper()
	p := &Platform{Address: freeAddress(t), Dir: dir, CLI: cli, Output: new(logtest.Log)}
	_, port, _ := net.SplitHostPort(p.Address)
	p.Domain = "default.localhost:" + port
	data := filepath.Join(dir, ".modelserve")
	p.cmd = exec.Command(cli, "dev", "--address", p.Address, "--data", data, "--plain")
	p.cmd.Dir = Root(t)
	p.cmd.Stdout, p.cmd.Stderr = p.Output, p.Output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop(t)
		if t.Failed() {
			t.Logf("the platform printed:\n%s", p.printed(20000))
		}
	})
	p.Eventually(t, "the platform is ready", startTimeout, func() error { return ask(t.Context(), "http://"+p.Address+"/readyz") })
	key, err := os.ReadFile(filepath.Join(data, "key"))
	if err != nil {
		t.Fatalf("the key: %v\n%s", err, p.printed(20000))
	}
	p.Key = strings.TrimSpace(string(key))
	return p
}

// PID is the local platform's process.
func (p *Platform) PID() int { return p.cmd.Process.Pid }

// Stop ends the local platform as Ctrl-C does; stopping twice is safe.
func (p *Platform) Stop(t *testing.T) {
	t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("interrupt the platform: %v", err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the platform ended badly: %v", err)
	}
}

// Kill ends the local platform as a crash does.
func (p *Platform) Kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Errorf("kill the platform: %v", err)
	}
	_ = p.cmd.Wait() // it was killed
}

// Host is a function's own host name. It is sent as the Host header: not every
// machine's resolver knows names below localhost.
func (p *Platform) Host(function string) string { return function + "." + p.Domain }

// Run runs the CLI against the platform, and returns what it printed.
func (p *Platform) Run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.CLI, args...)
	cmd.Dir = p.Dir
	cmd.Env = append(os.Environ(), "MODELSERVE_ORT_LIBRARY="+library(t))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// Eventually asks until condition holds, and fails the test when it does not
// within a time.
func (p *Platform) Eventually(t *testing.T, what string, within time.Duration, condition func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v\n%s", what, within, err, p.printed(4000))
		}
	}
}

// printed is the end of what the platform has printed.
func (p *Platform) printed(most int) string {
	s := p.Output.String()
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

// ask is nil when a GET of the URL is answered 200.
func ask(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// library is the ONNX Runtime that was fetched: the CLI finds it by itself from
// the repository's root, and runs elsewhere here.
func library(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(Root(t), ".deps/onnxruntime/libonnxruntime*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no library in .deps: run `make deps` (%v)", err)
	}
	return found[0]
}
