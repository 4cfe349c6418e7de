// Package e2e uses a platform as its users do, over the network alone: the local
// one, for which it builds the CLI and starts `modelserve dev` on a folder and
// port of its own; and, with the build tag e2e, the one on the cluster that
// `make cluster` brings up.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/logtest"
)

// platform is a running `modelserve dev`, or a cluster's.
type platform struct {
	address     string // host:port
	domain      string // below which functions have their names
	key         string
	dir         string // where the CLI runs; holds .modelserve locally
	environment []string
	cli         string
	cmd         *exec.Cmd    // of the local one
	output      *logtest.Log // what it prints
}

// root is the repository's root.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// buildCLI builds the CLI, without the race detector: it is timed as users run it.
func buildCLI(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "modelserve")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./cmd/modelserve")
	cmd.Dir = root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the CLI: %v\n%s", err, out)
	}
	return path
}

// start runs the platform on a free port until the test ends.
func start(t *testing.T, cli, data string) *platform {
	t.Helper()
	p := &platform{address: freeAddress(t), dir: filepath.Dir(data), cli: cli, output: new(logtest.Log)}
	_, port, _ := net.SplitHostPort(p.address)
	p.domain = "default.localhost:" + port
	p.cmd = exec.Command(cli, "dev", "--address", p.address, "--data", data, "--plain")
	p.cmd.Dir = root(t)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("the platform printed:\n%s", tail(p.output.String(), 20000))
		}
	})
	p.waitReady(t)
	key, err := os.ReadFile(filepath.Join(data, "key"))
	if err != nil {
		t.Fatalf("the key: %v\n%s", err, p.output.String())
	}
	p.key = strings.TrimSpace(string(key))
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// stop ends the platform as Ctrl-C does; stopping twice is safe.
func (p *platform) stop(t *testing.T) {
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

func (p *platform) waitReady(t *testing.T) {
	t.Helper()
	p.eventually(t, "the platform is ready", func() error {
		res, err := p.do(t, request{path: "/readyz"})
		if err == nil && res.status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", res.status, res.body)
		}
		return err
	})
}

// eventually asks until condition holds, for two minutes.
func (p *platform) eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
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
			t.Fatalf("%s: not within two minutes: %v\n%s", what, err, tail(p.output.String(), 4000))
		}
	}
}

// request is one HTTP request; the zero value is GET /.
type request struct {
	method, host, path string
	header             map[string]string
	body               []byte
	noKey              bool
}

type response struct {
	status int
	header http.Header
	body   []byte
}

// code is the error code of either error format.
func (r *response) code() string {
	var v struct{ Code string }
	_ = json.Unmarshal(r.body, &v)
	return v.Code
}

func (p *platform) do(t *testing.T, r request) (*response, error) {
	t.Helper()
	if r.method == "" {
		r.method = http.MethodGet
		if r.body != nil {
			r.method = http.MethodPost
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, "http://"+p.address+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if r.host != "" {
		req.Host = r.host
	}
	if !r.noKey {
		req.Header.Set("X-API-Key", p.key)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return &response{res.StatusCode, res.Header, body}, err
}

// must is do for a request that has to be answered.
func (p *platform) must(t *testing.T, r request) *response {
	t.Helper()
	res, err := p.do(t, r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return res
}

// host is a function's own host name.
func (p *platform) host(function string) string { return function + "." + p.domain }

// run runs the CLI against the platform.
func (p *platform) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.cli, args...)
	cmd.Dir = p.dir
	cmd.Env = append(append(os.Environ(), p.environment...), "MODELSERVE_ORT_LIBRARY="+library(t))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// forget deletes what an earlier run on the same platform has left of a model.
func (p *platform) forget(t *testing.T, model string) {
	t.Helper()
	if out, err := p.run(t, "models", "delete", model, "--yes"); err != nil && !strings.Contains(out, "is not published") {
		t.Fatalf("delete %s: %v\n%s", model, err, out)
	}
}

// library is the ONNX Runtime that was fetched: the CLI finds it by itself from
// the repository's root, and these run elsewhere.
func library(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root(t), ".deps/onnxruntime/libonnxruntime*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no library in .deps: run `make deps` (%v)", err)
	}
	return found[0]
}

func testdata(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), path))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// matches wants the body to match a pattern.
func matches(t *testing.T, pattern string, body []byte) {
	t.Helper()
	if !regexp.MustCompile(pattern).Match(body) {
		t.Errorf("want a match of %s in %.500s", pattern, body)
	}
}
