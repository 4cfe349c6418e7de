package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/modelserveai/modelserve/internal/freeport"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// stack is what serves: a store that models are published into, and the
// function that serves every one of them, as the pool does.
type stack struct {
	publisher *publisher
	url       string
	grpc      *grpc.ClientConn
}

// output is what a child printed, readable while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.b.Bytes()
	return string(b[max(0, len(b)-8000):])
}

// build builds a binary as it is released: without the race detector.
func build(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, pkg)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}

func start(t *testing.T) *stack {
	t.Helper()
	s := &stack{publisher: startPublisher(t)}
	address, metrics := freeAddress(t), freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	environment := map[string]string{
		"MODELSERVE_MODELS": "*", "MODELSERVE_HOST": "127.0.0.1", "PORT": port,
		"MODELSERVE_METRICS_ADDRESS": metrics, "MODELSERVE_CACHE_DIR": t.TempDir(), "MODELSERVE_LOG_LEVEL": "warn",
		ort.PoisonVariable: "all", // what no operator wrote would be in an answer
	}
	maps.Copy(environment, s.publisher.s3)
	run(t, build(t, "./functions/onnx"), environment)
	s.url = "http://" + address
	waitReady(t, s.url+"/readyz")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s.grpc = conn
	return s
}

// run runs a binary until the test ends, and logs what it printed if that
// failed.
func run(t *testing.T, path string, environment map[string]string) {
	t.Helper()
	var printed output
	cmd := exec.Command(path)
	cmd.Dir = "../.."
	cmd.Env = os.Environ()
	for k, v := range environment {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stdout, cmd.Stderr = &printed, &printed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(path), printed.tail())
		}
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func waitReady(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s is not ready within a minute", url)
		}
	}
}

// publisher is a child that publishes. See its main.
type publisher struct {
	s3 map[string]string // the environment that leads to its store
	in io.WriteCloser

	mu      sync.Mutex
	waiting map[string]chan published
	ended   error
}

// published is the child's answer.
type published struct {
	Name, Error string
	Notes       []string
}

func startPublisher(t *testing.T) *publisher {
	t.Helper()
	path := build(t, "./publish/testdata/publisher")
	cmd := exec.Command(path, t.TempDir())
	cmd.Dir = "../.."
	var printed output
	cmd.Stderr = &printed
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &publisher{in: in, waiting: map[string]chan published{}}
	lines := json.NewDecoder(bufio.NewReader(out))
	err = lines.Decode(&p.s3)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.read(lines)
	}()
	t.Cleanup(func() {
		in.Close()
		<-done
		if err := cmd.Wait(); err != nil {
			t.Errorf("the publisher: %v\n%s", err, printed.tail())
		}
	})
	if err != nil {
		t.Fatalf("the publisher does not start: %v", err)
	}
	return p
}

// read hands out answers until there are no more.
func (p *publisher) read(lines *json.Decoder) {
	for {
		var a published
		err := lines.Decode(&a)
		p.mu.Lock()
		if err != nil {
			p.ended = fmt.Errorf("the publisher has ended: %w", err)
			for _, waiting := range p.waiting {
				close(waiting)
			}
			p.waiting = nil
			p.mu.Unlock()
			return
		}
		waiting := p.waiting[a.Name]
		delete(p.waiting, a.Name)
		p.mu.Unlock()
		waiting <- a
	}
}

// publish publishes a model, proven with an example where one is given.
func (p *publisher) publish(name, file, example string) (published, error) {
	line, err := json.Marshal(map[string]string{"name": name, "file": file, "example": example})
	if err != nil {
		return published{}, err
	}
	answer := make(chan published, 1)
	p.mu.Lock()
	if p.ended != nil {
		p.mu.Unlock()
		return published{}, p.ended
	}
	p.waiting[name] = answer
	_, err = p.in.Write(append(line, '\n'))
	p.mu.Unlock()
	if err != nil {
		return published{}, err
	}
	a, ok := <-answer
	if !ok {
		return a, p.ended
	}
	return a, nil
}
