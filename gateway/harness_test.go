package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/rights/rightstest"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// world is a gateway on a port, with functions behind it.
type world struct {
	t       testing.TB
	store   *rightstest.Store
	rights  *rights.Mirror
	catalog *fakeCatalog
	routes  *route.Routes
	net     *network
	handler http.Handler
	server  *httptest.Server
	log     *logtest.Log
	tel     *telemetry.Telemetry
	admin   string // a key's text
}

type option func(*gateway.Config, *gateway.Deps)

// newWorld has the functions text-detect (version 1 of its model, tag canary),
// ocr (its own name is no model; serves text-recognize 2) and the pool.
func newWorld(t testing.TB, options ...option) *world {
	t.Helper()
	w := &world{t: t, store: &rightstest.Store{}, log: &logtest.Log{}, net: &network{handlers: map[string]http.Handler{}}}
	w.catalog = &fakeCatalog{models: map[string][]int{
		"text-detect": {2, 1}, "text-recognize": {2, 1}, "iris": {3, 2, 1}, "secret-model": {1},
	}}
	var err error
	if w.routes, err = route.New("{function}.{namespace}.localhost", "{function}.{namespace}.models.test"); err != nil {
		t.Fatal(err)
	}
	if err := w.routes.Replace([]route.Function{
		{
			Name: "text-detect", Namespace: "default", URL: "http://text-detect.default.svc.cluster.local",
			Models: []model.Ref{{Name: "text-detect", Version: 1}}, Tags: []string{"canary"}, State: "idle",
		},
		{
			Name: "ocr", Namespace: "default", URL: "http://ocr.default.svc.cluster.local",
			Models: []model.Ref{{Name: "text-recognize", Version: 2}},
		},
		{Name: "pool", Namespace: "default", URL: "http://pool.default.svc.cluster.local", Pool: true},
	}); err != nil {
		t.Fatal(err)
	}
	w.tel, err = telemetry.New(t.Context(), telemetry.Config{Service: "gateway", Level: slog.LevelInfo, Format: "json"}, w.log)
	if err != nil {
		t.Fatal(err)
	}
	w.rights = rightstest.Mirror(t, w.store)
	config := gateway.Config{Version: "test"}
	deps := gateway.Deps{Rights: w.rights, Hasher: rightstest.Hasher(t), Keys: w.store, Audit: w.store, Catalog: w.catalog, Routes: w.routes, Transport: w.net, Telemetry: w.tel}
	for _, o := range options {
		o(&config, &deps)
	}
	handler, err := gateway.New(config, deps)
	if err != nil {
		t.Fatal(err)
	}
	w.handler = handler
	limits := lifecycle.DefaultLimits()
	w.server = httptest.NewUnstartedServer(nil)
	w.server.Config = lifecycle.NewServer(w.handler, limits)
	w.server.Listener = lifecycle.Listener(w.server.Listener)
	w.server.Start()
	t.Cleanup(w.server.Close)
	w.admin = w.key(auth.Admin)
	return w
}

// key makes a key with scopes and returns its text.
func (w *world) key(scopes ...auth.Permission) string {
	w.t.Helper()
	return w.keyOf("default", scopes...)
}

// keyOf makes a tenant's.
func (w *world) keyOf(tenant string, scopes ...auth.Permission) string {
	w.t.Helper()
	text, _ := rightstest.Key(w.t, w.rights, auth.KeySpec{Name: "test", Tenant: tenant, Scopes: scopes})
	return text
}

// request is one call of a test; zero fields are left out.
type request struct {
	method, host, path string
	key                string
	header             http.Header
	body               string
	reader             io.Reader
}

type answer struct {
	status int
	header http.Header
	body   string
}

// code is the error code of either error format.
func (a answer) code() string {
	var body struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal([]byte(a.body), &body)
	return body.Code
}

func (w *world) do(q request) answer {
	w.t.Helper()
	if q.method == "" {
		q.method = http.MethodGet
	}
	var body io.Reader = http.NoBody
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	if q.reader != nil {
		body = q.reader
	}
	// The path goes out as it is written: url.Parse would refuse some of them.
	req, err := http.NewRequestWithContext(w.t.Context(), q.method, w.server.URL, body)
	if err != nil {
		w.t.Fatal(err)
	}
	path, query, _ := strings.Cut(q.path, "?")
	req.URL.Opaque, req.URL.RawQuery = path, query
	req.Host = q.host
	maps.Copy(req.Header, q.header)
	if q.key != "" {
		req.Header.Set("X-API-Key", q.key)
	}
	res, err := w.server.Client().Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	got := answer{res.StatusCode, res.Header, string(data)}
	if q.host == "" {
		documented(w.t, req.Method, path, got)
	}
	return got
}

// serve puts a function behind a host of the cluster.
func (w *world) serve(name string, h http.HandlerFunc) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	w.net.handlers[name+".default.svc.cluster.local"] = h
}

// echo answers with what it got, as text.
func (w *world) echo(name string) {
	w.serve(name, func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		rw.Header().Set("Modelserve-Model", name+"@1;digest=sha256:00")
		rw.Header().Set("X-Request-Id", "the function's own")
		_, _ = fmt.Fprintf(rw, "%s %s %s %q", name, r.Method, r.URL.RequestURI(), body)
	})
}

// network reaches functions over loopback, HTTP/1 or h2c, by their hosts.
type network struct {
	mu       sync.Mutex
	handlers map[string]http.Handler
	servers  map[string]*httptest.Server
	atZero   map[string]bool
	seen     []*http.Request
	http1    http.Transport
	http2    *http.Transport
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	handler, ok := n.handlers[r.URL.Host]
	n.seen = append(n.seen, r.Clone(context.WithoutCancel(r.Context())))
	switch {
	case n.atZero[r.URL.Host] && r.Header.Get(infer.WakeHeader) == infer.WakeNever:
		return nil, route.ErrAtZero
	case !ok:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("no such host %s", r.URL.Host)}
	}
	server := n.servers[r.URL.Host]
	if server == nil {
		server = httptest.NewUnstartedServer(nil)
		server.Config = lifecycle.NewServer(handler, lifecycle.DefaultLimits())
		server.Listener = lifecycle.Listener(server.Listener)
		server.Start()
		if n.servers == nil {
			n.servers = map[string]*httptest.Server{}
		}
		n.servers[r.URL.Host] = server
	}
	out := r.Clone(r.Context())
	out.URL.Host = server.Listener.Addr().String()
	out.Host = r.URL.Host
	transport := &n.http1
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		if n.http2 == nil {
			n.http2 = &http.Transport{Protocols: new(http.Protocols)}
			n.http2.Protocols.SetUnencryptedHTTP2(true)
		}
		transport = n.http2
	}
	n.mu.Unlock()
	defer n.mu.Lock()
	return transport.RoundTrip(out)
}

// last is the last request that a function got.
func (n *network) last() *http.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.seen) == 0 {
		return nil
	}
	return n.seen[len(n.seen)-1]
}

// calls is how many requests functions got.
func (n *network) calls() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.seen)
}

func (n *network) sleep(names ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.atZero = map[string]bool{}
	for _, name := range names {
		n.atZero[name+".default.svc.cluster.local"] = true
	}
}

// fakeCatalog publishes models with one input and one output.
type fakeCatalog struct {
	mu       sync.Mutex
	models   map[string][]int
	policies map[string]model.Policy
	coming   map[string][]int // what Renew finds published
	err      error
	fault    error
}

func (c *fakeCatalog) Fault(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault
}

func (c *fakeCatalog) Renew(context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(c.models, c.coming)
}

func (c *fakeCatalog) Policy(_ context.Context, name string) (*model.Policy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.policies[name]
	return &p, c.err
}

func (c *fakeCatalog) Names(context.Context) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.models)), c.err
}

func (c *fakeCatalog) Versions(_ context.Context, name string) ([]int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.models[name], c.err
}

func (c *fakeCatalog) Model(_ context.Context, name string, version int) (*model.Summary, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.models[name], version) {
		return nil, problem.New(problem.ModelNotFound, "no such version")
	}
	return &model.Summary{
		Ref: model.Ref{Name: name, Version: version}, Platform: "onnxruntime_onnx",
		Signature: infer.Signature{
			Inputs:  []infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{-1, 4}}},
			Outputs: []infer.TensorSpec{{Name: "y", DataType: infer.Int64, Shape: []int64{-1}}},
		},
	}, c.err
}
