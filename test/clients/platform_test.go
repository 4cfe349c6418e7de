package clients

import (
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

	"github.com/modelserveai/modelserve/internal/logtest"
)

// platform is a running `modelserve dev`.
type platform struct {
	address string // host:port
	key     string
	dir     string // holds .modelserve: the CLI finds the platform from there
	cli     string
	library string // ONNX Runtime's
	output  *logtest.Log
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

// start builds the CLI as it is released, without the race detector, and runs
// the platform on a free port until the test ends.
func start(t *testing.T) *platform {
	t.Helper()
	libraries, err := filepath.Glob(filepath.Join(root(t), ".deps/onnxruntime/libonnxruntime*"))
	if err != nil || len(libraries) == 0 {
		t.Fatalf("no library in .deps: run `make deps` (%v)", err)
	}
	dir := t.TempDir()
	p := &platform{address: freeAddress(t), dir: dir, cli: filepath.Join(dir, "modelserve"), library: libraries[0], output: new(logtest.Log)}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", p.cli, "./cmd/modelserve")
	build.Dir = root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the CLI: %v\n%s", err, out)
	}

	data := filepath.Join(dir, ".modelserve")
	cmd := exec.Command(p.cli, "dev", "--address", p.address, "--data", data, "--plain")
	cmd.Dir = root(t)
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("interrupt the platform: %v", err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the platform ended badly: %v", err)
		}
		if t.Failed() {
			t.Logf("the platform printed:\n%s", p.printed())
		}
	})
	p.waitReady(t)
	key, err := os.ReadFile(filepath.Join(data, "key"))
	if err != nil {
		t.Fatal(err)
	}
	p.key = strings.TrimSpace(string(key))
	return p
}

// printed is the end of what the platform has printed.
func (p *platform) printed() string {
	s := p.output.String()
	return s[max(0, len(s)-20000):]
}

// waitReady asks until the platform is ready; it builds its functions first,
// which takes minutes on a machine that has never built them.
func (p *platform) waitReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx, "http://"+p.address+"/readyz")
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the platform is not ready: %v\n%s", err, p.printed())
		}
	}
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
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// host is a function's own host name. It is sent as the Host header: not every
// machine's resolver knows names below localhost.
func (p *platform) host(function string) string {
	_, port, _ := net.SplitHostPort(p.address)
	return function + ".default.localhost:" + port
}

// push publishes a model file.
func (p *platform) push(t *testing.T, name, path string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.cli, "models", "push", name, path)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "MODELSERVE_ORT_LIBRARY="+p.library)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("push %s: %v\n%s", name, err, out)
	}
}
