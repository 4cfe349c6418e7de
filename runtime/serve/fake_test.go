package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// fake is a Backend and Repository with the model "double": y is x times two.
// Other names do what their name is.
type fake struct {
	started  chan struct{} // gets one at each run of "slow"
	released atomic.Int64  // outputs given back
	leases   atomic.Int64  // leases not released
	tenant   atomic.Value  // of the last run

	mu     sync.Mutex
	loaded []string
}

// wideBytes is the answer of "wide", more than sockets take that nobody reads.
const wideBytes = 16 << 20

func newFake() *fake { return &fake{started: make(chan struct{}, 100)} }

func signature() infer.Signature {
	return infer.Signature{
		Inputs: []infer.TensorSpec{
			{Name: "x", DataType: infer.FP32, Shape: []int64{-1, 2}},
			{Name: "s", DataType: infer.Bytes, Shape: []int64{-1}, Optional: true},
		},
		Outputs: []infer.TensorSpec{{Name: "y", DataType: infer.FP32, Shape: []int64{-1, 2}}},
	}
}

func (f *fake) info(name, version string) (*serve.ModelInfo, error) {
	switch name {
	case "double", "slow", "panics", "broken", "nan", "wide":
	case "bad":
		return nil, problem.New(problem.ModelUnavailable, "model bad@1: model.onnx is truncated")
	default:
		return nil, problem.New(problem.ModelNotFound, "there is no published model %s", name)
	}
	if version == "" {
		version = "3"
	}
	if version != "3" {
		return nil, problem.New(problem.ModelNotFound, "there is no version %s of %s", version, name)
	}
	return &serve.ModelInfo{
		ModelStatus: serve.ModelStatus{Name: name, Version: version, State: serve.Ready},
		Versions:    []string{"3", "2"},
		Platform:    "onnxruntime_onnx",
		Digest:      "sha256:abc",
		Device:      "cpu",
		Signature:   signature(),
	}, nil
}

func (f *fake) Acquire(_ context.Context, name, version string) (serve.Lease, error) {
	info, err := f.info(name, version)
	if err != nil {
		return nil, err
	}
	f.leases.Add(1)
	return &lease{fake: f, info: info}, nil
}

type lease struct {
	fake *fake
	info *serve.ModelInfo
	once sync.Once
}

func (l *lease) Info() *serve.ModelInfo { return l.info }
func (l *lease) Release()               { l.once.Do(func() { l.fake.leases.Add(-1) }) }

func (l *lease) Run(ctx context.Context, req *infer.Request) (*infer.Response, error) {
	l.fake.tenant.Store(req.Tenant)
	if err := l.info.Signature.Validate(req); err != nil {
		return nil, err
	}
	switch l.info.Name {
	case "slow":
		l.fake.started <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	case "panics":
		panic("the model's own")
	case "wide":
		if err := req.Held.Take(ctx, wideBytes); err != nil {
			return nil, err
		}
		y := infer.NewTensor("y", []int64{wideBytes / 8, 2}, make([]float32, wideBytes/4))
		return &infer.Response{Outputs: []infer.Tensor{y}, OnRelease: func() { req.Held.Give(wideBytes) }}, nil
	case "broken":
		return nil, errors.New("secret path /var/x")
	}
	for i := range req.Inputs {
		if req.Inputs[i].Name != "x" {
			continue
		}
		x, err := infer.Values[float32](&req.Inputs[i])
		if err != nil {
			return nil, err
		}
		y := make([]float32, len(x))
		for k := range x {
			y[k] = 2 * x[k]
		}
		return &infer.Response{
			Outputs: []infer.Tensor{infer.NewTensor("y", req.Inputs[i].Shape, y)},
			Timing:  infer.Timing{Queue: time.Millisecond, Infer: 2 * time.Millisecond, Load: 3 * time.Millisecond},
			OnRelease: func() {
				l.fake.released.Add(1)
				for k := range y {
					y[k] = -1 // whoever still reads it is wrong
				}
			},
		}, nil
	}
	return nil, errors.New("no x")
}

func (f *fake) Model(_ context.Context, name, version string) (*serve.ModelInfo, error) {
	info, err := f.info(name, version)
	if name == "bad" {
		return &serve.ModelInfo{ModelStatus: serve.ModelStatus{Name: "bad", Version: "1", State: serve.Unavailable, Reason: "truncated"}}, nil
	}
	return info, err
}

func (f *fake) Index(context.Context) ([]serve.ModelStatus, error) {
	return []serve.ModelStatus{
		{Name: "bad", Version: "1", State: serve.Unavailable, Reason: "truncated"},
		{Name: "double", Version: "3", State: serve.Ready},
	}, nil
}

func (f *fake) Load(_ context.Context, name string) error {
	_, err := f.info(name, "")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loaded = append(f.loaded, "load "+name)
	return err
}

func (f *fake) Unload(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loaded = append(f.loaded, "unload "+name)
	return nil
}

func (f *fake) Stats(_ context.Context, name, version string) ([]serve.ModelStats, error) {
	if name != "" {
		if _, err := f.info(name, version); err != nil {
			return nil, err
		}
	}
	return []serve.ModelStats{{
		Name: "double", Version: "3", LastInference: time.UnixMilli(1700000000000), InferenceCount: 5, ExecutionCount: 3,
		Success: serve.Duration{Count: 5, Total: 7}, Batches: []serve.BatchStats{{BatchSize: 2, ComputeInfer: serve.Duration{Count: 1, Total: 4}}},
	}}, nil
}

// echo is a codec: it answers with the sum of what the model makes of the
// body's length, twice.
type echo struct{}

type answer struct {
	ContentType string  `json:"content_type"`
	Sum         float32 `json:"sum"`
	Body        string  `json:"body"`
}

func (echo) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	if ref, ok := strings.CutPrefix(string(in.Body), "ref "); ok {
		r, err := in.Open(ctx, ref)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		if in.Body, err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
	switch string(in.Body) {
	case "panic":
		panic("codec")
	case "bad":
		return nil, problem.Invalid("image", "expected an image")
	case "unencodable":
		return make(chan int), nil
	case "wrong name":
		_, err := model.Run(ctx, []infer.Tensor{infer.NewTensor("pixels", []int64{1, 2}, []float32{1, 1})})
		return nil, err
	case "greedy":
		return nil, in.Reserve(ctx, 1<<40)
	}
	out := answer{ContentType: in.ContentType, Body: string(in.Body)}
	for range 2 {
		y, err := model.Run(ctx, []infer.Tensor{infer.NewTensor("x", []int64{1, 2}, []float32{float32(len(in.Body)), 1})})
		if err != nil {
			return nil, err
		}
		values, err := infer.Values[float32](&y[0])
		if err != nil {
			return nil, err
		}
		out.Sum += values[0]
	}
	return out, nil
}

// listening is a server on a loopback port.
type listening struct {
	*httptest.Server

	active sync.WaitGroup // its handlers
}

// wait closes the server and waits for its handlers, those of HTTP/2 too.
func (l *listening) wait() {
	l.Close()
	l.active.Wait()
}

// start serves cfg over HTTP/1 and h2c on a loopback port.
func start(t *testing.T, cfg serve.Config) *listening {
	t.Helper()
	server, err := serve.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	// What telemetry's middleware does.
	ts := &listening{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ts.active.Add(1)
		defer ts.active.Done()
		w.Header().Set(problem.RequestIDHeader, "request-1")
		server.ServeHTTP(w, r)
	})
	ts.Server = httptest.NewUnstartedServer(nil)
	ts.Config = lifecycle.NewServer(handler, lifecycle.DefaultLimits())
	ts.Listener = lifecycle.Listener(ts.Listener)
	ts.Start()
	t.Cleanup(ts.Close)
	return ts
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send sends a request and reads its answer. Headers are pairs.
func send(t *testing.T, method, url string, body []byte, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, got}
}

// errorBody is both forms of error.
type errorBody struct {
	Error     string          `json:"error"`
	Detail    string          `json:"detail"`
	Code      problem.Code    `json:"code"`
	RequestID string          `json:"request_id"`
	Errors    []problem.Field `json:"errors"`
}

// failed checks that a reply is an error of the code, and returns its body.
func (r reply) failed(t *testing.T, code problem.Code) errorBody {
	t.Helper()
	var e errorBody
	if err := json.Unmarshal(r.body, &e); err != nil {
		t.Fatalf("%v in %q", err, r.body)
	}
	if r.status != code.Row().Status || e.Code != code || e.RequestID != "request-1" {
		t.Errorf("status %d, %+v; want %s", r.status, e, code)
	}
	return e
}

// into checks that a reply is good and decodes it.
func (r reply) into(t *testing.T, v any) {
	t.Helper()
	if r.status != http.StatusOK {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		t.Fatalf("%v in %q", err, r.body)
	}
}
