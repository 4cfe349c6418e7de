package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/local/channel"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/dispatch"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/service"
	"github.com/modelserveai/modelserve/pipelines/sqlite"
	"github.com/modelserveai/modelserve/pipelines/values/valuestest"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
	"github.com/modelserveai/modelserve/runtime/sign"

	"github.com/modelserveai/modelserve/pipelines/definition"
)

const (
	tenant = "acme"
	bucket = "bucket"
)

// platform is executions on Knative's own dispatcher, with functions that answer by
// runtime/serve, over a SQLite file.
type platform struct {
	t         *testing.T
	path      string
	objects   *valuestest.Objects
	signer    *ticket.Signer
	tickets   *ticket.Verifier // of functions and services that are made from now on
	functions *functions
	hub       *channel.Hub
	store     record.Store
	channels  dispatch.Channels
	calls     http.RoundTripper // of services that are made from now on
	seen      *sinks
	registry  *prometheus.Registry // of the service that runs now
	charged   charged

	mu      sync.Mutex
	service *service.Service
}

// sinks leads what comes back to the service that runs now, and keeps it.
type sinks struct {
	p      *platform
	mu     sync.Mutex
	came   sync.Cond
	events []received
}

// received is an event as it came.
type received struct {
	path   string
	header http.Header
	data   []byte
	status int
}

func (s *sinks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	answer := httptest.NewRecorder()
	s.p.now().Handler().ServeHTTP(answer, r)
	s.mu.Lock()
	s.events = append(s.events, received{r.URL.Path, r.Header.Clone(), data, answer.Code})
	s.came.Broadcast()
	s.mu.Unlock()
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func (s *sinks) of(path string) []received { return s.wait(path, 0) }

// wait waits for so many events of a path.
func (s *sinks) wait(path string, n int) []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var all []received
		for _, e := range s.events {
			if e.path == path {
				all = append(all, e)
			}
		}
		if len(all) >= n {
			return all
		}
		s.came.Wait()
	}
}

func newPlatform(t *testing.T) *platform {
	t.Helper()
	dir := t.TempDir()
	key, err := sign.CreateKeys(filepath.Join(dir, "key"), filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	p := &platform{t: t, path: filepath.Join(dir, "pipelines.db"), objects: valuestest.New(), signer: ticket.NewSigner(key)}
	p.channels, p.tickets = p, p.signer.Verifier()
	p.seen = &sinks{p: p}
	p.seen.came.L = &p.seen.mu
	p.functions = &functions{p: p, servers: map[string]http.Handler{}}
	p.hub, err = channel.Open(t.Context(), channel.Config{
		Namespace: "default", Functions: p.functions, Service: "modelserve-pipelines", Sinks: p.seen, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if err := p.hub.Close(); err != nil {
			t.Error(err)
		}
		if err := p.store.Close(); err != nil {
			t.Error(err)
		}
	})
	p.open()
	p.run(service.Config{})
	return p
}

// open opens the file.
func (p *platform) open() {
	p.t.Helper()
	store, err := sqlite.Open(p.t.Context(), p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.store = store
}

// run starts a service over the file.
func (p *platform) run(cfg service.Config) {
	p.t.Helper()
	cfg.Dispatch.Void = true
	cfg.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	p.registry = prometheus.NewRegistry()
	s, err := service.New(cfg, service.Deps{
		Store: p.store, Objects: p.objects, Bucket: bucket, Channels: p.channels, Signer: p.signer, Tickets: p.tickets,
		Functions: p.calls, Charges: &p.charged, Registry: p.registry, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.service = s
	p.mu.Unlock()
	if err := s.Start(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *platform) now() *service.Service {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.service
}

// stop stops the service at once: what is on its way is cut off.
func (p *platform) stop() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.now().Stop(ctx); err != nil {
		p.t.Error(err)
	}
}

// First implements dispatch.Channels.
func (p *platform) First(_ context.Context, owner, pipeline string, version, segment, step int) (url, host string, err error) {
	return p.hub.URL(compile.Channel(compile.Sequence(owner, pipeline, version, segment), step)), "", nil
}

var _ dispatch.Channels = (*platform)(nil)

// register makes a pipeline of a text's steps and output.
func (p *platform) register(name, spec string) *decide.Version {
	p.t.Helper()
	d, err := definition.Parse([]byte("apiVersion: modelserve.dev/v1\nkind: Pipeline\nmetadata: {name: " + name + "}\nspec:\n" + spec))
	if err != nil {
		p.t.Fatal(err)
	}
	stored, _, err := p.store.Register(p.t.Context(), record.Registration{Tenant: tenant, Name: name, Canonical: d.Canonical(), Digest: d.Digest()})
	if err != nil {
		p.t.Fatal(err)
	}
	v, err := p.now().Decider().Version(p.t.Context(), stored.VersionID)
	if err != nil {
		p.t.Fatal(err)
	}
	p.apply(v)
	return v
}

// apply has the objects of a version, signed with the key that is in use now.
func (p *platform) apply(v *decide.Version) {
	p.t.Helper()
	d, name := v.Definition, v.ID.Name
	target := compile.Target{
		Namespace: "default", Functions: map[string]compile.Function{},
		Service: duckv1.KReference{APIVersion: "v1", Kind: "Service", Name: "modelserve-pipelines"},
	}
	for _, s := range d.Steps {
		if s.Function != "" {
			target.Functions[s.Function] = compile.Function{Service: s.Function}
		}
	}
	made, err := compile.Of(v.Plan, compile.Version{Tenant: tenant, Pipeline: name, Number: v.ID.Number, Digest: v.Digest}, target, p.signer)
	if err != nil {
		p.t.Fatal(err)
	}
	err = p.hub.Apply(p.t.Context(), name, channel.Objects{Sequences: made.Sequences, Parallels: made.Parallels, Subscriptions: made.Subscriptions})
	if err != nil {
		p.t.Fatal(err)
	}
}

// begin accepts an execution.
func (p *platform) begin(v *decide.Version, id, input string) {
	p.t.Helper()
	s := p.now()
	value, err := s.Values().Keep(p.t.Context(), tenant, id, "input", json.RawMessage(input))
	if err != nil {
		p.t.Fatal(err)
	}
	x := &execution.Execution{
		ID: id, Tenant: tenant, Pipeline: v.ID.Name, Version: v.ID.Number, Digest: v.Digest, Priority: v.Definition.Priority,
		Input: value, Headers: map[string]string{"X-Case-Id": "case 7"},
	}
	change := v.Machine.Accept(x, time.Now())
	accepted := func() error {
		_, err := p.store.Accept(p.t.Context(), &record.Acceptance{
			Execution: x, Change: change, Owner: v.ID.Owner, Concurrency: v.Definition.Concurrency, Retention: v.Definition.Retention,
			Key: &record.Key{Text: id},
		})
		return err
	}
	for err = accepted(); errors.Is(err, record.ErrUnavailable); { // a busy machine's file keeps writers waiting
		err = accepted()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	s.Accepted(id)
}

// ended waits for an execution to end.
func (p *platform) ended(id string) *execution.Execution {
	p.t.Helper()
	return p.until(id, func(x *execution.Execution) bool { return x.Status.Ended() })
}

// until waits for an execution to be as it is asked for.
func (p *platform) until(id string, is func(*execution.Execution) bool) *execution.Execution {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Minute)
	defer cancel()
	var x *execution.Execution
	done, err := p.now().Live().Await(ctx, tenant, id, func(ctx context.Context) (bool, error) {
		loaded, err := p.store.Load(ctx, id)
		if errors.Is(err, record.ErrUnavailable) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		x = loaded.Execution
		return is(x), nil
	})
	if err != nil || !done {
		p.t.Fatalf("execution %s: %v; it is %+v", id, err, x)
	}
	return x
}

// output is the JSON of an execution's output.
func (p *platform) output(x *execution.Execution) string {
	p.t.Helper()
	if x.Output == nil {
		p.t.Fatalf("execution %s is %s, and has no output: %+v", x.ID, x.Status, x.Error)
	}
	text, err := p.now().Values().Fetch(p.t.Context(), tenant, x.ID, *x.Output)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// events are what happened to an execution, in short.
func (p *platform) events(id string) string {
	p.t.Helper()
	all, err := p.store.Events(p.t.Context(), tenant, id, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	var text []string
	for _, e := range all {
		name := e.Step
		if name == "" {
			name = "execution"
		}
		text = append(text, name+" "+string(e.Status))
	}
	return strings.Join(text, ", ")
}

// functions are those that channels reach, by name.
type functions struct {
	p       *platform
	mu      sync.Mutex
	servers map[string]http.Handler
	headers []http.Header // of what they were asked
}

// RoundTrip implements http.RoundTripper.
func (f *functions) RoundTrip(r *http.Request) (*http.Response, error) {
	name, _, _ := strings.Cut(r.URL.Host, ".")
	f.mu.Lock()
	server := f.servers[name]
	f.headers = append(f.headers, r.Header.Clone())
	f.mu.Unlock()
	if server == nil {
		return nil, fmt.Errorf("dial %s: no such function", name)
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	r = r.Clone(r.Context())
	r.Body, r.RequestURI = io.NopCloser(bytes.NewReader(data)), r.URL.RequestURI()
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// answer is what a function answers to a JSON input.
type answer func(ctx context.Context, input json.RawMessage) (any, error)

// function makes a function, or replaces it.
func (p *platform) function(name string, of answer) {
	p.t.Helper()
	p.codec(name, of)
}

// codec makes a function of what may run its model, or replaces it.
func (p *platform) codec(name string, of serve.Codec) {
	p.t.Helper()
	server, err := serve.New(serve.Config{
		Backend: models{}, Repository: models{}, Function: name, Model: name, Codec: of, Tickets: p.tickets,
		Open: func(ctx context.Context, _, _, ref string) (io.ReadCloser, error) {
			body, _, err := p.objects.Open(ctx, strings.TrimPrefix(ref, "s3://"+bucket+"/"))
			return body, err
		},
		Store: func(ctx context.Context, key, contentType string, data []byte) (string, error) {
			return "s3://" + bucket + "/" + key, p.objects.Put(ctx, key, contentType, data)
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.functions.mu.Lock()
	defer p.functions.mu.Unlock()
	p.functions.servers[name] = server
}

// raw makes a function that is no server of ours.
func (p *platform) raw(name string, h http.HandlerFunc) {
	p.functions.mu.Lock()
	defer p.functions.mu.Unlock()
	p.functions.servers[name] = h
}

// Answer implements serve.Codec.
func (a answer) Answer(ctx context.Context, in serve.Payload, _ serve.Runner) (any, error) {
	return a(ctx, bytes.Clone(in.Body))
}

// echo answers {"NAME": input}.
func echo(name string) answer {
	return func(_ context.Context, input json.RawMessage) (any, error) {
		return map[string]json.RawMessage{name: input}, nil
	}
}

// models is a model whose runs are of two rows and take 3 ms, and answer nothing.
type models struct{}

func (models) Acquire(_ context.Context, name, _ string) (serve.Lease, error) {
	return lease{&serve.ModelInfo{ModelStatus: serve.ModelStatus{Name: name, Version: "1", State: serve.Ready}, Versions: []string{"1"}, Digest: "sha256:0", Device: "cpu"}}, nil
}

func (models) Model(context.Context, string, string) (*serve.ModelInfo, error) {
	return nil, problem.New(problem.ModelNotFound, "none")
}

func (models) Index(context.Context) ([]serve.ModelStatus, error) { return nil, nil }
func (models) Load(context.Context, string) error                 { return nil }
func (models) Unload(context.Context, string) error               { return nil }

func (models) Stats(context.Context, string, string) ([]serve.ModelStats, error) { return nil, nil }

type lease struct{ info *serve.ModelInfo }

func (l lease) Info() *serve.ModelInfo { return l.info }
func (lease) Release()                 {}

func (lease) Run(context.Context, *infer.Request) (*infer.Response, error) {
	return &infer.Response{Timing: infer.Timing{Infer: 3 * time.Millisecond, Rows: 2, BatchSize: 2}}, nil
}

// counted is a counter without labels, of the service that runs now.
func (p *platform) counted(name string) float64 {
	p.t.Helper()
	all, err := p.registry.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, family := range all {
		if family.GetName() == "modelserve_pipelines_"+name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	p.t.Fatalf("there is no metric %s", name)
	return 0
}

// large is JSON text of so many bytes.
func large(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }

// post sends an event to the service, past the channels.
func (p *platform) post(path string, h http.Header, data []byte) int {
	p.t.Helper()
	r := httptest.NewRequestWithContext(p.t.Context(), http.MethodPost, path, bytes.NewReader(data))
	r.Header = h.Clone()
	w := httptest.NewRecorder()
	p.now().Handler().ServeHTTP(w, r)
	return w.Code
}

// stamped is a header with the stamp of data.
func stamped(h http.Header, data []byte) http.Header {
	h = h.Clone()
	length, sum := envelope.Stamp(data)
	h.Set("Ce-"+envelope.DataLength, length)
	h.Set("Ce-"+envelope.DataSHA256, sum)
	return h
}
