package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/rights/rightstest"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/gateway/usage/usagetest"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
)

// api is a control API as a gateway would serve it, whose every answer is held to
// its document.
type api struct {
	t        testing.TB
	store    *rightstest.Store
	usage    *usagetest.Store
	mirror   *rights.Mirror
	hasher   *auth.Hasher
	mux      *http.ServeMux
	caller   *auth.Principal
	compiler *jsonschema.Compiler
	refused  []audit.Entry
	err      error // that was returned last

	described struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Ref     string                          `json:"$ref"`
				Content map[string]struct{ Schema any } `json:"content"`
			}
		}
	}

	mu *sync.Mutex // of err, and of the compiler
}

// Refused implements control.Refusals.
func (a *api) Refused(e audit.Entry) { a.refused = append(a.refused, e) }

type option func(*control.Deps)

func newAPI(t testing.TB, options ...option) *api {
	t.Helper()
	routes, err := route.New("{function}.{namespace}.localhost")
	if err != nil {
		t.Fatal(err)
	}
	if err := routes.Replace([]route.Function{
		{
			Name: "ocr", Namespace: "default", URL: "http://ocr.default.svc", State: "idle", Tags: []string{"canary"},
			Models: []model.Ref{{Name: "text-recognize", Version: 2}}, Mixed: []model.Ref{{Name: "text-recognize", Version: 3}},
		},
		{Name: "pool", Namespace: "default", URL: "http://pool.default.svc", Pool: true},
	}); err != nil {
		t.Fatal(err)
	}
	a := &api{t: t, mu: &sync.Mutex{}, mux: http.NewServeMux(), store: &rightstest.Store{}, usage: &usagetest.Store{}}
	if a.mirror, err = rights.NewMirror(a.store, time.Minute, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if a.hasher, err = auth.NewHasher(auth.NewHashKey()); err != nil {
		t.Fatal(err)
	}
	a.as("default", auth.Admin)
	deps := control.Deps{
		Rights: a.mirror, Keys: a.store, Audit: a.store, Hasher: a.hasher, Bounds: access.Bounds{Keys: 500, Roles: 300, Grants: 300},
		Routes: routes, Door: door.New(door.Config{Authorizer: a.mirror}), Refusals: a, Usage: a.usage,
	}
	for _, o := range options {
		o(&deps)
	}
	made, err := control.New(deps)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range made.Endpoints() {
		a.mux.HandleFunc(e.Method+" "+e.Pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(problem.RequestIDHeader, "r1")
			err := e.Serve(&call.Call{Host: r.Host, Source: "192.0.2.7:4711", Principal: a.caller}, w, r)
			a.mu.Lock()
			a.err = err
			a.mu.Unlock()
			if err != nil {
				problem.Write(w, err)
			}
		})
	}
	if err := json.Unmarshal(made.Document(), &a.described); err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(made.Document()))
	if err != nil {
		t.Fatal(err)
	}
	a.compiler = jsonschema.NewCompiler()
	a.compiler.DefaultDraft(jsonschema.Draft2020)
	a.compiler.AssertFormat()
	if err := a.compiler.AddResource("openapi.json", parsed); err != nil {
		t.Fatal(err)
	}
	return a
}

// request is one call of a test; zero fields are left out.
type request struct {
	method, path, body string
	header             http.Header
	reader             io.Reader
}

type answer struct {
	status int
	header http.Header
	body   string
}

// problem is the answer's error.
func (a answer) problem(t *testing.T) (p problem.Error) {
	t.Helper()
	var body struct {
		Code   problem.Code
		Detail string
		Errors []problem.Field
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return problem.Error{Code: body.Code, Detail: body.Detail, Fields: body.Errors}
}

func (a *api) do(q request) answer {
	a.t.Helper()
	if q.method == "" {
		q.method = http.MethodGet
	}
	body := q.reader
	if body == nil {
		body = strings.NewReader(q.body)
	}
	r := httptest.NewRequestWithContext(telemetry.WithRequestID(context.Background(), "r1"), q.method, q.path, body)
	r.Header = q.header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	w := httptest.NewRecorder()
	a.mux.ServeHTTP(w, r)
	got := answer{w.Code, w.Header(), w.Body.String()}
	_, pattern := a.mux.Handler(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.documented(q.method, pattern, got)
	return got
}

// documented holds an answer to what the document says of its operation.
func (a *api) documented(method, pattern string, got answer) {
	a.t.Helper()
	if method == http.MethodHead {
		method = http.MethodGet
	}
	_, path, _ := strings.Cut(pattern, " ")
	status := strconv.Itoa(got.status)
	response, ok := a.described.Paths[path][strings.ToLower(method)].Responses[status]
	if !ok {
		a.t.Errorf("%s: the document has no answer %s: %s", pattern, status, got.body)
		return
	}
	media := got.header.Get("Content-Type")
	at := response.Ref
	if at == "" {
		if len(response.Content) == 0 {
			if got.body != "" {
				a.t.Errorf("%s: a body where the document has none: %s", pattern, got.body)
			}
			return
		}
		at = "#/paths/" + strings.NewReplacer("/", "~1", "{", "%7B", "}", "%7D").Replace(path) + "/" + strings.ToLower(method) + "/responses/" + status
	}
	schema, err := a.compiler.Compile("openapi.json" + at + "/content/" + strings.ReplaceAll(media, "/", "~1") + "/schema")
	if err != nil {
		a.t.Fatalf("%s %s %s: %v", pattern, status, media, err)
	}
	if got.body == "" { // of HEAD
		return
	}
	if media == "application/jsonl" {
		got.body = strconv.Quote(got.body)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(got.body))
	if err != nil {
		a.t.Fatalf("%s: %s: %v", pattern, got.body, err)
	}
	if err := schema.Validate(value); err != nil {
		a.t.Errorf("%s: the answer is not as documented: %s: %v", pattern, got.body, err)
	}
}

// as makes the caller a new key with scopes.
func (a *api) as(tenant string, scopes ...auth.Permission) *auth.Key {
	a.t.Helper()
	k := a.stored(auth.KeySpec{Name: "caller", Tenant: tenant, Scopes: scopes})
	a.caller = k.Principal()
	return k
}

// stored stores a key.
func (a *api) stored(spec auth.KeySpec) *auth.Key {
	a.t.Helper()
	_, key, err := a.hasher.NewKey(spec, time.Now())
	if err != nil {
		a.t.Fatal(err)
	}
	a.changed(access.Change{Keys: []*auth.Key{key}})
	return key
}

// changed stores a change, whoever may make it.
func (a *api) changed(change access.Change) {
	a.t.Helper()
	if err := a.mirror.Update(context.Background(), func(*access.State) (*rights.Stored, error) {
		return &rights.Stored{Change: change}, nil
	}); err != nil {
		a.t.Fatal(err)
	}
}

// names are the fields of a problem.
func names(p problem.Error) (fields []string) {
	for _, f := range p.Fields {
		fields = append(fields, f.Field)
	}
	slices.Sort(fields)
	return fields
}
