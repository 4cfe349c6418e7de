package gateway_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// ledger is a limiter that admits so many calls, and an audit.
type ledger struct {
	mu       sync.Mutex
	left     int
	open     int
	asked    []asked
	charged  infer.Usage
	refusals []audit.Entry
	ended    chan infer.Usage // has what each share was charged; nil is nothing
}

// asked is what of a call's subject differs from way to way.
type asked struct{ route, path, model string }

// Admit implements door.Limiter.
func (l *ledger) Admit(_ context.Context, s *limit.Subject) (door.Share, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Tenant == "" || s.Key == "" {
		return nil, problem.New(problem.Internal, "a call of nobody")
	}
	if l.left == 0 {
		return nil, problem.New(problem.RateLimited, "no more").WithRetryAfter(3 * time.Second)
	}
	l.left--
	l.open++
	l.asked = append(l.asked, asked{s.Route, s.Path, s.Model})
	return grant{l}, nil
}

// Refused implements control.Refusals.
func (l *ledger) Refused(e audit.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals = append(l.refusals, e)
}

type grant struct{ of *ledger }

// Header implements door.Share.
func (grant) Header() http.Header { return http.Header{"Ratelimit": {`"calls";r=1`}} }

// Measures implements door.Share.
func (grant) Measures() bool { return true }

// Done implements door.Share.
func (g grant) Done(used infer.Usage) {
	g.of.mu.Lock()
	defer g.of.mu.Unlock()
	g.of.open--
	g.of.charged.Add(used)
	if g.of.ended != nil {
		g.of.ended <- used
	}
}

func (l *ledger) limits(_ *gateway.Config, d *gateway.Deps) { d.Limiter, d.Refusals = l, l }

const inferRoute = "/v2/models/{model}/infer"

const cost = "rows=2, elements=8, compute_ms=1.500"

// TestEveryWayInIsLimitedAndCharged holds that a call is admitted once, before its
// function has it, and charged with what that reported, by every way in; and that
// the report reaches no caller.
func TestEveryWayInIsLimitedAndCharged(t *testing.T) {
	t.Parallel()
	header := func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set(infer.CostHeader, cost)
		_, _ = io.WriteString(rw, "{}")
	}
	trailer := func(announced bool) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			name := http.TrailerPrefix + infer.CostHeader
			if announced {
				name = infer.CostHeader
				rw.Header().Set("Trailer", name)
			}
			_, _ = io.WriteString(rw, "{}")
			_ = http.NewResponseController(rw).Flush()
			rw.Header().Set(name, cost)
		}
	}
	for name, tc := range map[string]struct {
		host, path string
		function   string
		serve      http.HandlerFunc
		want       asked
	}{
		"V2, a header":             {"", "/v2/models/iris/infer", "pool", header, asked{inferRoute, "/v2/models/iris/infer", "iris"}},
		"V2, a trailer":            {"", "/v2/models/iris/versions/2/infer", "pool", trailer(true), asked{inferRoute, "/v2/models/iris/infer", "iris"}},
		"V2, a trailer that comes": {"", "/v2/models/iris/infer", "pool", trailer(false), asked{inferRoute, "/v2/models/iris/infer", "iris"}},
		"native":                   {"ocr.default.localhost", "/", "ocr", header, asked{"/", "/", "ocr"}},
		"native, a trailer":        {"ocr.default.localhost", "/x", "ocr", trailer(true), asked{"/", "/x", "ocr"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &ledger{left: 1}
			w := newWorld(t, l.limits)
			w.serve(tc.function, tc.serve)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+tc.path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = tc.host
			req.Header.Set("X-Api-Key", w.admin)
			res, err := w.server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if _, err := io.ReadAll(res.Body); err != nil {
				t.Fatal(err)
			}
			if got := res.Header.Get("RateLimit"); got == "" {
				t.Error("the answer says nothing of the limit")
			}
			if res.Header.Get(infer.CostHeader) != "" || len(res.Trailer) > 0 {
				t.Errorf("the caller gets the report: %v, trailers %v", res.Header, res.Trailer)
			}
			w.server.Close() // waits for the call's end
			l.charges(t, []asked{tc.want}, 1)
			refused := l.left
			if refused != 0 {
				t.Errorf("%d are left of one", refused)
			}
		})
	}
}

// charges holds what was asked and charged of the ledger, and that nothing is open.
func (l *ledger) charges(t *testing.T, want []asked, times int64) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	cost := infer.Usage{Rows: 2 * times, Elements: 8 * times, Compute: time.Duration(times) * 1500 * time.Microsecond}
	if diff := cmp.Diff(cost, l.charged); diff != "" || l.open != 0 {
		t.Errorf("%d open; charged -want +got:\n%s", l.open, diff)
	}
	if diff := cmp.Diff(want, l.asked, cmp.AllowUnexported(asked{})); diff != "" {
		t.Errorf("asked -want +got:\n%s", diff)
	}
}

func TestGRPCIsLimitedAndCharged(t *testing.T) {
	t.Parallel()
	l := &ledger{left: 3}
	w := newWorld(t, l.limits)
	f := w.grpcFunction("pool")
	f.cost = cost
	conn := w.dial("")
	var got metadata.MD
	in := &inferpb.ModelInferRequest{ModelName: "iris"}
	if err := conn.Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer", in, &inferpb.ModelInferResponse{}, grpc.Header(&got)); err != nil {
		t.Fatal(err)
	}
	if len(got.Get(infer.CostHeader)) > 0 || len(got.Get("ratelimit")) == 0 {
		t.Errorf("metadata %v", got)
	}
	stream, err := conn.NewStream(with(t, "x-api-key", w.admin), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
	if err != nil {
		t.Fatal(err)
	}
	answers := []string{"", "", "no more"} // of a limit of three, the first of which is gone
	for _, want := range answers {
		if err := stream.SendMsg(in); err != nil {
			t.Fatal(err)
		}
		var out inferpb.ModelStreamInferResponse
		if err := stream.RecvMsg(&out); err != nil || out.GetErrorMessage() != want {
			t.Errorf("%q, %v; want %q", out.GetErrorMessage(), err, want)
		}
	}
	if err := conn.Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer", in, &inferpb.ModelInferResponse{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("beyond the limit: %v", err)
	}
	ask := asked{inferRoute, "/v2/models/iris/infer", "iris"}
	l.charges(t, []asked{ask, ask, ask}, 3)
}

// TestWhatIsRefusedIsChargedNothing holds that a refused call reaches no function,
// says when to come again, and that one which goes nowhere gives its share back.
func TestWhatIsRefusedIsChargedNothing(t *testing.T) {
	t.Parallel()
	l := &ledger{left: 2}
	w := newWorld(t, l.limits)
	for _, path := range []string{"/v2/models/none/infer", "/v2/models/iris/infer"} { // not published; no function listens
		if got := w.do(request{method: "POST", path: path, key: w.admin, body: "{}"}); got.status < 400 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	before := len(w.net.seen)
	got := w.do(request{method: "POST", path: "/v2/models/iris/infer", key: w.admin, body: "{}"})
	if got.status != http.StatusTooManyRequests || got.code() != "rate_limited" || got.header.Get("Retry-After") != "3" || len(w.net.seen) != before {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	for _, path := range []string{"/v2/models/iris", "/v2/models/iris/ready", "/v2/models/iris/stats"} {
		if got := w.do(request{path: path, key: w.admin}); got.status != http.StatusTooManyRequests {
			t.Errorf("%s, which asks of a model, beyond the limit: %d", path, got.status)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != 0 || l.charged != (infer.Usage{}) {
		t.Errorf("%d open, charged %v", l.open, l.charged)
	}
}

// TestRefusalsAreRecorded holds what the audit gets of them.
func TestRefusalsAreRecorded(t *testing.T) {
	t.Parallel()
	l := &ledger{left: 9}
	w := newWorld(t, l.limits)
	w.echo("pool")
	narrow := w.key(auth.Infer("iris"))
	for _, q := range []request{
		{method: "POST", path: "/v2/models/iris/infer", body: "{}"},
		{method: "POST", path: "/v2/models/secret-model/infer", key: narrow, body: "{}"},
		{method: "POST", path: "/", host: "ocr.default.localhost", key: narrow, body: "{}"},
		{method: "POST", path: "/v1/keys", key: narrow, body: "{}"},
		{path: "/v2/repository/index", key: narrow}, // leaves out what is not theirs
		{method: "POST", path: "/v2/models/iris/infer", key: narrow, body: "{}"},
	} {
		w.do(q)
	}
	w.server.Close()
	denied := func(action, resource string) audit.Entry {
		return audit.Entry{
			Tenant: "default", Action: action, Resource: resource, Outcome: audit.Refused, Reason: "permission_denied", Address: "127.0.0.1",
		}
	}
	want := []audit.Entry{
		{Action: "authenticate", Outcome: audit.Refused, Reason: "unauthenticated", Address: "127.0.0.1"},
		denied("infer", "model:secret-model"), denied("infer", "model:ocr"), denied("manage keys", ""),
	}
	for i := range l.refusals {
		e := &l.refusals[i]
		if e.At.IsZero() || e.RequestID == "" || e.Tenant != "" && !strings.HasPrefix(e.Actor, "key:") {
			t.Errorf("%+v", e)
		}
		e.At, e.RequestID, e.Actor = time.Time{}, "", ""
	}
	if diff := cmp.Diff(want, l.refusals); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// forwarder makes a Forwarder of a function.
type forwarder func(context.Context, *call.Call, *call.Target, *http.Request) (*http.Response, error)

// Forward implements forward.Forwarder.
func (f forwarder) Forward(ctx context.Context, c *call.Call, t *call.Target, r *http.Request) (*http.Response, error) {
	return f(ctx, c, t, r)
}

// TestAroundTheForwarder holds that a cache answers without the function, that a
// breaker sees each try that a rerun makes of a call that may run twice, and what
// they know of the call: over HTTP and gRPC.
func TestAroundTheForwarder(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	stored := map[string]string{}
	var tries []string
	cache := func(next forward.Forwarder) forward.Forwarder {
		return forwarder(func(ctx context.Context, c *call.Call, to *call.Target, r *http.Request) (*http.Response, error) {
			mu.Lock()
			text, ok := stored[to.Ref.String()]
			mu.Unlock()
			if ok && c.Tenant() == "default" {
				return &http.Response{
					StatusCode: http.StatusOK, ProtoMajor: 1, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r,
				}, nil
			}
			return next.Forward(ctx, c, to, r)
		})
	}
	breaker := func(next forward.Forwarder) forward.Forwarder {
		return forwarder(func(ctx context.Context, c *call.Call, to *call.Target, r *http.Request) (*http.Response, error) {
			mu.Lock()
			tries = append(tries, to.Function)
			mu.Unlock()
			return next.Forward(ctx, c, to, r)
		})
	}
	w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) {
		d.AroundCalls, d.AroundTries = []forward.Decorator{cache}, []forward.Decorator{breaker}
	})
	w.failing("pool", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "run") }, readThen)
	w.grpcFunction("ocr")
	infers := func() string {
		return w.do(request{method: "POST", path: "/v2/models/iris/infer", key: w.admin, body: "{}"}).body
	}
	if got := infers(); got != "run" {
		t.Errorf("%q", got)
	}
	mu.Lock()
	stored["iris@3"] = "stored"
	mu.Unlock()
	if got := infers(); got != "stored" {
		t.Errorf("%q", got)
	}
	in := &inferpb.ModelInferRequest{ModelName: "text-recognize"}
	if err := w.dial("").Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer", in, &inferpb.ModelInferResponse{}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"pool", "pool", "ocr"}, tries); diff != "" {
		t.Errorf("tries -want +got:\n%s", diff)
	}
}

// TestAMessageIsCheckedByWhatItsKeyMayNow holds that a stream's messages are those
// of the caller as they are when each comes.
func TestAMessageIsCheckedByWhatItsKeyMayNow(t *testing.T) {
	t.Parallel()
	demoted := &changing{scopes: []auth.Permission{auth.InferAll}}
	w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) { d.Authenticators = []auth.Authenticator{demoted} })
	w.grpcFunction("pool")
	stream, err := w.dial("").NewStream(with(t, "authorization", "Bearer token"), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"", "may not infer"} {
		if err := stream.SendMsg(&inferpb.ModelInferRequest{ModelName: "iris"}); err != nil {
			t.Fatal(err)
		}
		var out inferpb.ModelStreamInferResponse
		if err := stream.RecvMsg(&out); err != nil || !strings.Contains(out.GetErrorMessage(), want) || (want == "") != (out.GetErrorMessage() == "") {
			t.Errorf("%q, %v; want %q", out.GetErrorMessage(), err, want)
		}
		demoted.may(auth.ModelsRead)
	}
}

// changing authenticates everybody, with scopes that change.
type changing struct {
	mu     sync.Mutex
	scopes []auth.Permission
}

func (c *changing) may(scopes ...auth.Permission) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scopes = scopes
}

// Authenticate implements auth.Authenticator.
func (c *changing) Authenticate(context.Context, string) (*auth.Principal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &auth.Principal{ID: "token:1", Tenant: "default", Scopes: c.scopes}, nil
}

// TestANativeCallSaysWhetherItsModelLoads holds that native payloads are resolved
// as V2 calls are: what comes of one is known of the model, and logged with it.
func TestANativeCallSaysWhetherItsModelLoads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve("ocr", func(rw http.ResponseWriter, _ *http.Request) {
		problem.Write(rw, problem.New(problem.ModelUnavailable, "text-recognize@2: sha256 differs"))
	})
	ready := func() answer {
		return w.do(request{path: "/v2/models/text-recognize/ready", key: w.admin})
	}
	if got := ready(); got.status != http.StatusOK {
		t.Fatalf("before: %d %s", got.status, got.body)
	}
	if got := w.do(request{method: "POST", path: "/", host: "ocr.default.localhost", key: w.admin, body: "x"}); got.code() != "model_unavailable" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := ready(); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "sha256 differs") {
		t.Errorf("after: %d %s", got.status, got.body)
	}
}
