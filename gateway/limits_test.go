package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// TestEveryCallIsLimitedOnce holds that each URL and procedure is, whatever is answered,
// by what is done; and that nobody who is refused before is.
func TestEveryCallIsLimitedOnce(t *testing.T) {
	t.Parallel()
	l := &ledger{left: 1000}
	w := newWorld(t, l.limits)
	w.echo("pool")
	w.echo("ocr")
	narrow := w.key(auth.Infer("iris"))
	const one, all = "/v2/models/", "/v2/repository/models/"
	for name, tc := range map[string]struct {
		q    request
		want []asked
	}{
		"the control API":        {request{path: "/v1/keys", key: w.admin}, []asked{{"/v1/keys", "/v1/keys", ""}}},
		"what is not there":      {request{path: "/v1/nothing", key: w.admin}, []asked{{"none", "/v1/nothing", ""}}},
		"another method":         {request{method: "DELETE", path: "/v1/keys", key: w.admin}, []asked{{"none", "/v1/keys", ""}}},
		"the server":             {request{path: "/v2", key: w.admin}, []asked{{"/v2", "/v2", ""}}},
		"its health":             {request{path: "/v2/health/ready", key: w.admin}, []asked{{"/v2/health/ready", "/v2/health/ready", ""}}},
		"the index":              {request{method: "POST", path: "/v2/repository/index", key: w.admin}, []asked{{"/v2/repository/index", "/v2/repository/index", ""}}},
		"all counts":             {request{path: "/v2/models/stats", key: w.admin}, []asked{{"/v2/models/stats", "/v2/models/stats", ""}}},
		"a model's counts":       {request{path: "/v2/models/iris/stats", key: w.admin}, []asked{{one + "{model}/stats", one + "iris/stats", "iris"}}},
		"a model":                {request{path: "/v2/models/iris/versions/2", key: w.admin}, []asked{{one + "{model}", one + "iris", "iris"}}},
		"a model that is not":    {request{path: "/v2/models/made-up", key: w.admin}, []asked{{one + "{model}", one + "made-up", "made-up"}}},
		"its configuration":      {request{path: "/v2/models/iris/config", key: w.admin}, []asked{{one + "{model}/config", one + "iris/config", "iris"}}},
		"its readiness":          {request{path: "/v2/models/iris/ready", key: w.admin}, []asked{{one + "{model}/ready", one + "iris/ready", "iris"}}},
		"an inference":           {request{method: "POST", path: "/v2/models/iris/infer", key: w.admin, body: "{}"}, []asked{{inferRoute, one + "iris/infer", "iris"}}},
		"in other letters":       {request{method: "POST", path: "/v2/models/%69ris/versions/3/infer", key: w.admin, body: "{}"}, []asked{{inferRoute, one + "iris/infer", "iris"}}},
		"a load":                 {request{method: "POST", path: "/v2/repository/models/iris/load", key: w.admin}, []asked{{all + "{model}/load", all + "iris/load", "iris"}}},
		"an unload":              {request{method: "POST", path: "/v2/repository/models/iris/unload", key: w.admin, body: "{}"}, []asked{{all + "{model}/unload", all + "iris/unload", "iris"}}},
		"a native payload":       {request{method: "POST", host: "ocr.default.localhost", path: "/any", key: w.admin, body: "x"}, []asked{{"/", "/any", "ocr"}}},
		"a model at its host":    {request{method: "POST", host: "ocr.default.localhost", path: "/v2/models/text-recognize/infer", key: w.admin, body: "{}"}, []asked{{inferRoute, one + "text-recognize/infer", "text-recognize"}}},
		"probes":                 {request{path: "/healthz", key: w.admin}, nil},
		"nobody":                 {request{path: "/v1/keys"}, nil},
		"who may not":            {request{method: "POST", path: "/v2/models/secret-model/infer", key: narrow, body: "{}"}, nil},
		"who may not at a host":  {request{method: "POST", host: "ocr.default.localhost", path: "/", key: narrow, body: "x"}, []asked{{"none", "/", ""}}},
		"a host of no function":  {request{method: "POST", host: "none.default.localhost", path: "/", key: narrow, body: "x"}, []asked{{"none", "/", ""}}},
		"what two read as two":   {request{path: "/v1/../v1/keys", key: w.admin}, []asked{{"none", "/v1/../v1/keys", ""}}},
		"two slashes":            {request{path: "/v2//models", key: w.admin}, []asked{{"none", "/v2//models", ""}}},
		"a name that is none":    {request{method: "POST", path: "/v2/models/IRIS/infer", key: w.admin, body: "{}"}, []asked{{"none", "/v2/models/IRIS/infer", ""}}},
		"gRPC over HTTP/1":       {request{method: "POST", path: "/v2", key: w.admin, header: http.Header{"Content-Type": {"application/grpc"}}}, []asked{{"none", "/v2", ""}}},
		"a wrong version":        {request{method: "POST", path: "/v2/models/iris/infer", key: w.admin, header: http.Header{infer.VersionHeader: {"0"}}, body: "{}"}, []asked{{inferRoute, one + "iris/infer", ""}}},
		"an unload of no JSON":   {request{method: "POST", path: "/v2/repository/models/iris/unload", key: w.admin, body: "x"}, []asked{{all + "{model}/unload", all + "iris/unload", ""}}},
		"a key that is not good": {request{path: "/v1/keys", key: w.admin + "x"}, nil},
	} {
		l.mu.Lock()
		l.asked = nil
		l.mu.Unlock()
		got := w.do(tc.q)
		l.mu.Lock()
		if diff := cmp.Diff(tc.want, l.asked, cmp.AllowUnexported(asked{})); diff != "" {
			t.Errorf("%s (%d): -want +got:\n%s", name, got.status, diff)
		}
		l.mu.Unlock()
		if tc.want != nil { // and is refused by it, whatever it would be answered
			l.mu.Lock()
			l.left = 0
			l.mu.Unlock()
			if refused := w.do(tc.q); refused.code() != string(problem.RateLimited) || !strings.Contains(refused.body, "no more") {
				t.Errorf("%s: %d %s when there is no more", name, refused.status, refused.body)
			}
			l.mu.Lock()
			l.left = 1000
			l.mu.Unlock()
		}
		if (got.header.Get("RateLimit") != "") != (tc.want != nil) {
			t.Errorf("%s (%d): RateLimit %q", name, got.status, got.header.Get("RateLimit"))
		}
	}
	w.server.Close()
	if l.open != 0 {
		t.Errorf("%d shares are open", l.open)
	}
}

// TestMessagesThatAreNoneAreLimited holds that what is refused before its model is known
// is limited as what is called, once, alone and in a stream.
func TestMessagesThatAreNoneAreLimited(t *testing.T) {
	t.Parallel()
	malformed, nameless := raw{0x0a, 0x7f, 1}, raw{}
	wrong, err := proto.Marshal(&inferpb.ModelInferRequest{ModelName: "iris", ModelVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	for name, message := range map[string]raw{"malformed": malformed, "without a name": nameless, "of a wrong version": wrong} {
		for _, way := range []string{"ModelInfer", "ModelMetadata", "ModelStreamInfer"} {
			t.Run(name+" by "+way, func(t *testing.T) {
				t.Parallel()
				l := &ledger{left: 1}
				w := newWorld(t, l.limits)
				conn := w.dial("")
				ask := func() string {
					stream, err := conn.NewStream(with(t, "x-api-key", w.admin), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+way, grpc.ForceCodec(rawCodec{}))
					if err != nil {
						t.Fatal(err)
					}
					if err := stream.SendMsg(&message); err != nil {
						t.Fatal(err)
					}
					if err := stream.CloseSend(); err != nil {
						t.Fatal(err)
					}
					var out, more inferpb.ModelStreamInferResponse
					if err := stream.RecvMsg(&out); err != nil {
						return err.Error()
					}
					if err := stream.RecvMsg(&more); err != io.EOF { //nolint:errorlint // the library's own
						t.Errorf("behind the answer: %v", err)
					}
					return out.GetErrorMessage()
				}
				if got := ask(); got == "" || strings.Contains(got, "no more") {
					t.Errorf("answered %q", got)
				}
				if got := ask(); !strings.Contains(got, "no more") {
					t.Errorf("answered %q when there is no more", got)
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				if len(l.asked) != 1 || l.open != 0 {
					t.Errorf("asked %v, %d are open", l.asked, l.open)
				}
			})
		}
	}
}

// limited is a world whose calls are limited by rules, over a Redis in process.
func limited(t *testing.T, rules ...limit.Rule) *world {
	t.Helper()
	m := miniredis.RunT(t)
	counters, err := redislimit.Open("redis://"+m.Addr(), "test", "r1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = counters.Close() })
	var made *limit.Limiter
	w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) {
		if made, err = limit.New(counters, noLedger{}, "r1", d.Telemetry.Registry, d.Telemetry.Logger); err != nil {
			t.Fatal(err)
		}
		d.Limiter = admits(func(ctx context.Context, s *limit.Subject) (door.Share, error) {
			g, err := made.Admit(ctx, s)
			if g == nil {
				return nil, err
			}
			return g, err
		})
	})
	made.Use(rules, limit.Closed)
	return w
}

type admits func(context.Context, *limit.Subject) (door.Share, error)

func (a admits) Admit(ctx context.Context, s *limit.Subject) (door.Share, error) { return a(ctx, s) }

// noLedger has no count.
type noLedger struct{}

func (noLedger) Count(context.Context, string, string, string) (int64, error) { return 0, nil }
func (noLedger) Add(string, string, string, int64)                            {}

// TestRefusalsNameTheirLimit holds what a caller who has too much sees: of REST, V2,
// gRPC and a message of a stream.
func TestRefusalsNameTheirLimit(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rule limit.Rule
		code string
	}{
		"a rate":  {limit.Rule{Name: "slow", Rate: 0.01, Burst: 1, Cost: limit.Requests}, "rate_limited"},
		"a quota": {limit.Rule{Name: "slow", Quota: 1, Period: limit.Month, Cost: limit.Requests}, "quota_exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := limited(t, tc.rule)
			w.grpcFunction("pool")
			if got := w.do(request{path: "/v2/models/iris", key: w.admin}); got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("RateLimit"), `"slow";r=0;t=`) {
				t.Fatalf("%d %v", got.status, got.header)
			}
			for _, path := range []string{"/v1/keys", "/v2/models/iris", "/v2", "/nothing"} {
				got := w.do(request{path: path, key: w.admin})
				var body struct{ Limit, Code string }
				if err := json.Unmarshal([]byte(got.body), &body); err != nil {
					t.Fatal(err)
				}
				if got.status != http.StatusTooManyRequests || body.Limit != "slow" || body.Code != tc.code || got.header.Get("Retry-After") == "" ||
					!strings.HasPrefix(got.header.Get("RateLimit"), `"slow";r=0;t=`) || !strings.HasPrefix(got.header.Get("RateLimit-Policy"), `"slow";q=1`) {
					t.Errorf("%s: %d %s %v", path, got.status, got.body, got.header)
				}
			}
			in := &inferpb.ModelInferRequest{ModelName: "iris"}
			var md metadata.MD
			conn := w.dial("")
			err := conn.Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer", in, &inferpb.ModelInferResponse{}, grpc.Header(&md), grpc.Trailer(&md))
			if status.Code(err) != codes.ResourceExhausted || reason(t, err) != tc.code {
				t.Errorf("gRPC: %v", err)
			}
			stream, err := conn.NewStream(with(t, "x-api-key", w.admin), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := stream.SendMsg(in); err != nil {
					t.Fatal(err)
				}
				var out inferpb.ModelStreamInferResponse
				if err := stream.RecvMsg(&out); err != nil || !strings.Contains(out.GetErrorMessage(), `the limit "slow"`) {
					t.Errorf("a message: %q, %v", out.GetErrorMessage(), err)
				}
			}
		})
	}
}

// TestWhatLeavesIsCharged holds that a caller who leaves before the answer pays for the
// time and what the request names, and no more than came of it.
func TestWhatLeavesIsCharged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body           string
		rows, elements int64
	}{
		"shapes":               {`{"inputs":[{"name":"x","shape":[7,3],"datatype":"FP32","data":[1,2,3]},{"name":"y","shape":[7],"datatype":"FP32"}]}`, 7, 28},
		"more than came":       {`{"inputs":[{"name":"x","shape":[9000000000000000,2]}]}`, 54, 54},
		"no inputs":            {`{}`, 1, 0},
		"no JSON":              {`x`, 1, 0},
		"a shape that is none": {`{"inputs":[{"shape":[-3,"x"]}]}`, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &ledger{left: 1}
			w := newWorld(t, l.limits)
			reached := make(chan struct{})
			w.serve("pool", func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				close(reached)
				<-r.Context().Done()
			})
			ctx, leave := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server.URL+"/v2/models/iris/infer", strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Api-Key", w.admin)
			go func() {
				<-reached
				time.Sleep(20 * time.Millisecond) // of the time that is charged
				leave()
			}()
			res, err := w.server.Client().Do(req)
			if err == nil {
				_ = res.Body.Close()
			}
			w.server.Close()
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.charged.Compute < 20*time.Millisecond {
				t.Errorf("charged %v", l.charged.Compute)
			}
			l.charged.Compute = 0
			if diff := cmp.Diff(infer.Usage{Rows: tc.rows, Elements: tc.elements}, l.charged); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
