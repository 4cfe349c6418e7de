package function

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// log is a writer for many goroutines.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// storage is an empty S3 and the environment that leads to it.
func storage(t *testing.T) map[string]string {
	t.Helper()
	environment, _ := storageOf(t, same)
	return environment
}

func same(s3 http.Handler) http.Handler { return s3 }

// storageOf is storage behind a handler that makes it misbehave.
func storageOf(t *testing.T, wrap func(s3 http.Handler) http.Handler) (environment map[string]string, backend *s3mem.Backend) {
	t.Helper()
	backend = s3mem.New()
	if err := backend.CreateBucket("models"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(wrap(gofakes3.New(backend).Server()))
	t.Cleanup(server.Close)
	return map[string]string{
		"MODELSERVE_S3_BUCKET": "models", "MODELSERVE_S3_ENDPOINT": server.URL, "MODELSERVE_S3_PATH_STYLE": "true",
		"MODELSERVE_S3_ACCESS_KEY_ID": "test", "MODELSERVE_S3_SECRET_ACCESS_KEY": "test",
		"MODELSERVE_CACHE_DIR": t.TempDir(), "MODELSERVE_HOST": "127.0.0.1",
		"MODELSERVE_METRICS_ADDRESS": "127.0.0.1:0", "MODELSERVE_MODELS": "double@1",
	}, backend
}

// publish publishes a model that doubles x [n, 2] into y.
func publish(t *testing.T, environment map[string]string) {
	t.Helper()
	publishBytes(t, environment, onnxtest.Scale(2, 2).Marshal())
}

// publishBytes publishes bytes as such a model.
func publishBytes(t *testing.T, environment map[string]string, content []byte) {
	t.Helper()
	var cfg config
	if err := env.ParseFrom(&cfg, environment); err != nil {
		t.Fatal(err)
	}
	store, err := artifact.NewStore(t.Context(), cfg.S3)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), model.ModelFile)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	axis, spec := 0, func(name string) []infer.TensorSpec {
		return []infer.TensorSpec{{Name: name, DataType: infer.FP32, Shape: []int64{infer.Dynamic, 2}, Example: []int64{1, 2}}}
	}
	if _, err := store.Publish(t.Context(), artifact.Draft{
		Name: "double", Version: 1, Signature: infer.Signature{Inputs: spec("x"), Outputs: spec("y"), BatchAxis: &axis},
		Files: []artifact.DraftFile{{Path: model.ModelFile, Source: path}},
	}, artifact.Publishing{}); err != nil {
		t.Fatal(err)
	}
}

// process is a running function.
type process struct {
	t    *testing.T
	url  string
	stop context.CancelFunc
	done chan error
	log  *log
}

// begin runs a function on a free port until the test ends.
func begin(t *testing.T, spec Spec, environment map[string]string) *process {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	environment["PORT"] = port
	ctx, cancel := context.WithCancel(t.Context())
	p := &process{t: t, url: "http://127.0.0.1:" + port, stop: cancel, done: make(chan error, 1), log: new(log)}
	var cfg config
	if err := env.ParseFrom(&cfg, environment); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- run(ctx, spec, &cfg, p.log) }()
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	return p
}

func (p *process) ask(method, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, string(data), err
}

// waitReady asks /readyz until it is answered, which is not before the models
// are there.
func (p *process) waitReady() {
	p.t.Helper()
	p.wait("ready", func() bool {
		status, _, err := p.ask(http.MethodGet, "/readyz", "")
		return err == nil && status == http.StatusOK
	})
}

// wait waits until something holds.
func (p *process) wait(what string, holds func() bool) {
	p.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			p.t.Fatalf("not %s within a minute", what)
		}
	}
}

const input = `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`

func TestFunctionLoadsAnswersAndStops(t *testing.T) {
	t.Parallel()
	environment := storage(t)
	publish(t, environment)
	p := begin(t, Spec{Name: "double"}, environment)
	p.waitReady()
	status, body, err := p.ask(http.MethodPost, "/v2/models/double/infer", input)
	if err != nil || status != http.StatusOK || !strings.Contains(body, `"data":[2,4]`) {
		t.Errorf("%d %s, %v", status, body, err)
	}
	p.stop()
	if err := <-p.done; err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestFunctionWaitsForS3 holds that a process outlives storage that does not
// answer, reports it meanwhile, and is ready once it does.
func TestFunctionWaitsForS3(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	environment, _ := storageOf(t, func(s3 http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if away.Load() {
				http.Error(w, "", http.StatusServiceUnavailable)
				return
			}
			s3.ServeHTTP(w, r)
		})
	})
	publish(t, environment)
	away.Store(true)
	termination := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(termination, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	environment["MODELSERVE_TERMINATION_LOG"] = termination
	reported := func() string {
		text, err := os.ReadFile(termination)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	p := begin(t, Spec{Name: "double"}, environment)
	p.wait("waiting", func() bool { return reported() != "" })
	if reason := reported(); !strings.HasPrefix(reason, "double: ") || !strings.Contains(reason, "double@1") || !strings.Contains(reason, "S3 unreachable") {
		t.Errorf("reason %q", reason)
	}
	if status, body, err := p.ask(http.MethodGet, "/readyz", ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("it listens without its model: %d %s %v", status, body, err)
	}
	away.Store(false)
	p.waitReady()
	if reason := reported(); reason != "" {
		t.Errorf("a reason still: %q", reason)
	}
	p.stop()
	if err := <-p.done; err != nil {
		t.Error(err)
	}
}

func TestFunctionOfEveryModel(t *testing.T) {
	t.Parallel()
	environment := storage(t)
	environment["MODELSERVE_MODELS"] = "*"
	p := begin(t, Spec{Name: "onnx"}, environment)
	p.waitReady()
	if status, body, err := p.ask(http.MethodPost, "/v2/models/double/infer", input); err != nil || status != http.StatusNotFound {
		t.Errorf("before the push: %d %s %v", status, body, err)
	}
	publish(t, environment)
	if status, body, err := p.ask(http.MethodPost, "/v2/models/double/infer", input); err != nil || status != http.StatusOK {
		t.Errorf("after the push: %d %s %v", status, body, err)
	}
	p.stop()
	if err := <-p.done; err != nil {
		t.Error(err)
	}
}

// gate is a codec that answers when it is let.
type gate struct{ began, finish chan struct{} }

func (g gate) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	if string(in.Body) == "panic" {
		panic("a codec's mistake")
	}
	close(g.began)
	<-g.finish
	out, err := model.Run(ctx, []infer.Tensor{infer.NewTensor("x", []int64{1, 2}, []float32{3, 4})})
	if err != nil {
		return nil, err
	}
	return infer.Values[float32](&out[0])
}

func TestFunctionFinishesWhatItBeganAndOutlivesPanics(t *testing.T) {
	t.Parallel()
	environment := storage(t)
	publish(t, environment)
	g := gate{make(chan struct{}), make(chan struct{})}
	p := begin(t, Spec{Name: "double", Codec: func(Limits) serve.Codec { return g }}, environment)
	p.waitReady()
	if status, body, err := p.ask(http.MethodPost, "/", "panic"); err != nil || status != http.StatusInternalServerError || strings.Contains(body, "mistake") {
		t.Errorf("a panic: %d %s %v", status, body, err)
	}
	answered := make(chan string, 1)
	go func() {
		status, body, err := p.ask(http.MethodPost, "/", "x")
		answered <- fmt.Sprint(status, " ", strings.TrimSpace(body), " ", err)
	}()
	<-g.began
	p.stop() // the request is inside the codec
	close(g.finish)
	if got := <-answered; got != "200 [6,8] <nil>" {
		t.Errorf("answer during the drain: %s", got)
	}
	if err := <-p.done; err != nil {
		t.Error(err)
	}
}

func TestEnvironmentIsCheckedWhole(t *testing.T) {
	t.Parallel()
	err := env.ParseFrom(new(config), map[string]string{
		"PORT": "x", "MODELSERVE_MODELS": "a@1,../b@2,c", "MODELSERVE_DEVICE": "tpu", "MODELSERVE_GPU_MEMORY": "4", "MODELSERVE_MAX_BODY": "0", "MODELSERVE_MAX_OUTPUT": "0", "MODELSERVE_QUEUE": "-1", "MODELSERVE_LISTEN_FD": "1",
	})
	var fault *env.Fault
	if !errors.As(err, &fault) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"PORT", `"../b@2"`, `"c"`, "MODELSERVE_DEVICE: expected auto, cpu, cuda or cuda:N", "MODELSERVE_GPU_MEMORY: expected 0 (no bound) or at least 64MiB", "MODELSERVE_MAX_BODY", "MODELSERVE_MAX_OUTPUT", "MODELSERVE_QUEUE", "MODELSERVE_LISTEN_FD: expected a file descriptor from 3 on, got 1", "MODELSERVE_S3_BUCKET"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in:\n%v", want, err)
		}
	}
}
