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
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/model"
)

// meter implements gateway.Usage.
type meter struct {
	mu   sync.Mutex
	sums map[string]usage.Counts // by tenant and model
}

// Add implements gateway.Usage.
func (m *meter) Add(tenant, model string, at time.Time, c usage.Counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.IsZero() {
		tenant = "at no time"
	}
	sums := m.sums[tenant+" "+model]
	sums.Add(c)
	m.sums[tenant+" "+model] = sums
}

// Usage implements control.Usage.
func (*meter) Usage(context.Context, *usage.Query) ([]usage.Row, error) { return nil, nil }

// meteredWorld is a gateway that counts.
func meteredWorld(t *testing.T, options ...option) (*world, *meter) {
	t.Helper()
	m := &meter{sums: map[string]usage.Counts{}}
	return newWorld(t, append(options, func(_ *gateway.Config, d *gateway.Deps) { d.Usage = m })...), m
}

// counted holds what was counted, once all calls have ended.
func (m *meter) counted(t *testing.T, w *world, want map[string]usage.Counts) {
	t.Helper()
	w.server.Close() // waits for calls' ends
	m.mu.Lock()
	defer m.mu.Unlock()
	if diff := cmp.Diff(want, m.sums); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestWhatIsCountedOfACall holds the usage of one of each kind.
func TestWhatIsCountedOfACall(t *testing.T) {
	t.Parallel()
	answer := func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.Header().Set(infer.CostHeader, cost)
		_, _ = io.WriteString(rw, `{"a":1}`)
	}
	trailer := func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(rw, `{"a":1}`)
		_ = http.NewResponseController(rw).Flush()
		rw.Header().Set(http.TrailerPrefix+infer.CostHeader, cost)
	}
	fails := func(status int) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			rw.Header().Set(infer.CostHeader, cost)
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, "bad")
		}
	}
	const body = `{"inputs":[]}`
	good := usage.Counts{Requests: 1, Rows: 2, Compute: 1500, BytesIn: int64(len(body)), BytesOut: 7}
	bad := usage.Counts{Requests: 1, Errors: 1, Rows: 2, Compute: 1500, BytesIn: int64(len(body)), BytesOut: 3}
	failed := usage.Counts{Requests: 1, Errors: 1}
	asked := usage.Counts{Requests: 1}
	host := "ocr.default.localhost"
	for name, tc := range map[string]struct {
		ask     request
		serve   http.HandlerFunc
		of      string // tenant and model; "" is nothing
		want    usage.Counts
		loosely bool // without bytes
	}{
		"an inference":              {ask: request{method: "POST", path: "/v2/models/iris/infer", body: body}, serve: answer, of: "acme iris", want: good},
		"a version's":               {ask: request{method: "POST", path: "/v2/models/iris/versions/2/infer", body: body}, serve: answer, of: "acme iris", want: good},
		"reported in a trailer":     {ask: request{method: "POST", path: "/v2/models/iris/infer", body: body}, serve: trailer, of: "acme iris", want: good},
		"native":                    {ask: request{method: "POST", host: host, path: "/x", body: body}, serve: answer, of: "acme text-recognize", want: good},
		"by a function's host":      {ask: request{method: "POST", host: host, path: "/v2/models/text-recognize/infer", body: body}, serve: answer, of: "acme text-recognize", want: good},
		"a function fails":          {ask: request{method: "POST", host: host, path: "/x", body: body}, serve: fails(500), of: "acme text-recognize", want: bad},
		"a function's bad input":    {ask: request{method: "POST", host: host, path: "/x", body: body}, serve: fails(422), of: "acme text-recognize", want: bad},
		"a function's 401":          {ask: request{method: "POST", host: host, path: "/x", body: body}, serve: fails(401)},
		"a function's 403":          {ask: request{method: "POST", host: host, path: "/x", body: body}, serve: fails(403)},
		"a function's 429":          {ask: request{method: "POST", host: host, path: "/x", body: body}, serve: fails(429)},
		"of nobody":                 {ask: request{method: "POST", path: "/v2/models/iris/infer", key: "none"}, serve: answer},
		"of a wrong key":            {ask: request{method: "POST", path: "/v2/models/iris/infer", key: "ms_a_b"}, serve: answer},
		"of a model that is not":    {ask: request{method: "POST", path: "/v2/models/made-up/infer", body: body}, of: "acme ", want: failed, loosely: true},
		"of a version that is not":  {ask: request{method: "POST", path: "/v2/models/iris/versions/9/infer", body: body}, of: "acme ", want: failed, loosely: true},
		"of another's model":        {ask: request{method: "POST", path: "/v2/models/secret-model/infer", body: body}},
		"of a model of no function": {ask: request{method: "POST", host: host, path: "/v2/models/iris/infer", body: body}, of: "acme ", want: failed, loosely: true},
		"that no function takes":    {ask: request{method: "POST", path: "/v2/models/text-detect/infer", body: body}, of: "acme text-detect", want: failed, loosely: true},
		"at a host that is not":     {ask: request{host: "none.default.localhost", path: "/"}, of: "acme ", want: failed, loosely: true},
		"of a URL that is not":      {ask: request{path: "/v3"}, of: "acme ", want: failed, loosely: true},
		"that is too large":         {ask: request{method: "POST", path: "/v2/models/iris/infer", body: strings.Repeat("x", 2048)}},
		"metadata":                  {ask: request{path: "/v2/models/iris"}, of: "acme iris", want: asked, loosely: true},
		"readiness":                 {ask: request{path: "/v2/models/iris/ready"}, of: "acme iris", want: asked, loosely: true},
		"the index":                 {ask: request{path: "/v2/repository/index"}, of: "acme ", want: asked, loosely: true},
		"of the control API":        {ask: request{path: "/v1/access?action=infer&resource=iris"}, of: "acme ", want: asked, loosely: true},
		"denied by that":            {ask: request{path: "/v1/keys"}},
		"refused by that":           {ask: request{path: "/v1/access?action=x"}, of: "acme ", want: failed, loosely: true},
		"health without a key":      {ask: request{path: "/healthz", key: "none"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := meteredWorld(t, func(c *gateway.Config, d *gateway.Deps) { c.MaxBody, d.Direct = 1024, true })
			if tc.serve != nil {
				w.serve("pool", tc.serve)
				w.serve("ocr", tc.serve)
			}
			switch tc.ask.key {
			case "":
				tc.ask.key = w.keyOf("acme", auth.Infer("iris"), auth.Infer("made-up"), auth.Infer("ocr"), auth.Infer("text-*"))
			case "none":
				tc.ask.key = ""
			}
			w.do(tc.ask)
			want := map[string]usage.Counts{}
			if tc.of != "" {
				want[tc.of] = tc.want
			}
			w.server.Close()
			if got, ok := m.sums[tc.of]; ok && tc.loosely {
				got.BytesIn, got.BytesOut = 0, 0
				m.sums[tc.of] = got
			}
			m.counted(t, w, want)
		})
	}
}

// TestNativeCallsAreCountedByFunction holds it where the function has no model, or several.
func TestNativeCallsAreCountedByFunction(t *testing.T) {
	t.Parallel()
	w, m := meteredWorld(t)
	url := "http://ocr.default.svc.cluster.local"
	if err := w.routes.Replace([]route.Function{
		{Name: "plain", Namespace: "default", URL: url},
		{Name: "several", Namespace: "default", URL: url, Models: []model.Ref{{Name: "a", Version: 1}, {Name: "b", Version: 1}}},
		{Name: "one", Namespace: "default", URL: url, Models: []model.Ref{{Name: "a", Version: 1}}, Mixed: []model.Ref{{Name: "a", Version: 2}}},
	}); err != nil {
		t.Fatal(err)
	}
	w.serve("ocr", func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set(infer.CostHeader, "rows=3") })
	for _, name := range []string{"plain", "several", "one"} {
		if got := w.do(request{host: name + ".default.localhost", path: "/", key: w.admin}); got.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	one := usage.Counts{Requests: 1, Rows: 3}
	m.counted(t, w, map[string]usage.Counts{"default plain": one, "default several": one, "default a": one})
}

// TestCallsWithoutAReportAreCounted holds what is counted of one whose function reports
// nothing, whose answer breaks off, or whose caller leaves.
func TestCallsWithoutAReportAreCounted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		serve  func(rw http.ResponseWriter, r *http.Request, leave func())
		errors int64
		rows   int64
	}{
		"nothing is reported": {func(rw http.ResponseWriter, _ *http.Request, _ func()) { _, _ = io.WriteString(rw, "{}") }, 0, 1},
		"what is no report":   {func(rw http.ResponseWriter, _ *http.Request, _ func()) { rw.Header().Set(infer.CostHeader, "rows=-5") }, 0, 1},
		"the caller leaves":   {func(_ http.ResponseWriter, r *http.Request, leave func()) { leave(); <-r.Context().Done() }, 1, 1},
		"the answer breaks off": {func(rw http.ResponseWriter, _ *http.Request, _ func()) {
			rw.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(rw, "{}")
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		}, 1, 1},
		"the answer breaks off behind its report": {func(rw http.ResponseWriter, _ *http.Request, _ func()) {
			rw.Header().Set(infer.CostHeader, "rows=7")
			rw.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(rw, "{}")
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		}, 1, 7},
		"there is no answer": {func(http.ResponseWriter, *http.Request, func()) { panic(http.ErrAbortHandler) }, 1, 1}, // nobody ends functions for nothing
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := meteredWorld(t)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				tc.serve(rw, r, leave)
			})
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server.URL+"/v2/models/iris/infer", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Api-Key", w.admin)
			if res, err := w.server.Client().Do(r); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			w.server.Close()
			got := m.sums["default iris"]
			if (got.Compute > 0) != (tc.rows == 1) {
				t.Errorf("it took %d µs", got.Compute)
			}
			got.Compute, got.BytesOut = 0, 0
			m.sums["default iris"] = got
			m.counted(t, w, map[string]usage.Counts{"default iris": {Requests: 1, Errors: tc.errors, Rows: tc.rows, BytesIn: 2}})
		})
	}
}

// TestEachMessageOfAStreamIsCounted holds that it is a request of its own, and that the
// stream is none.
func TestEachMessageOfAStreamIsCounted(t *testing.T) {
	t.Parallel()
	w, m := meteredWorld(t)
	f := w.grpcFunction("pool")
	f.cost = cost
	conn := w.dial("")
	in := &inferpb.ModelInferRequest{ModelName: "iris", Id: "1"}
	key := w.keyOf("acme", auth.Infer("iris"), auth.Infer("made-up"))
	if err := conn.Invoke(with(t, "x-api-key", key), service+"ModelInfer", in, &inferpb.ModelInferResponse{}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Invoke(with(t, "x-api-key", key), service+"ModelMetadata", &inferpb.ModelMetadataRequest{Name: "iris"}, &inferpb.ModelMetadataResponse{}); err != nil {
		t.Fatal(err)
	}
	stream, err := conn.NewStream(with(t, "x-api-key", key), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
	if err != nil {
		t.Fatal(err)
	}
	bytesIn := map[string]int64{}
	for _, model := range []string{"iris", "made-up", "secret-model", "iris"} {
		message := &inferpb.ModelInferRequest{ModelName: model, Id: "1"}
		bytesIn[model] += int64(5 + proto.Size(message))
		if err := stream.SendMsg(message); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&inferpb.ModelStreamInferResponse{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&inferpb.ModelStreamInferResponse{}); err != io.EOF { //nolint:errorlint // the library's own
		t.Fatal(err)
	}
	w.server.Close()
	for _, of := range []string{"acme iris", "acme "} {
		got := m.sums[of]
		if got.BytesOut == 0 {
			t.Errorf("%q: nothing came back", of)
		}
		got.BytesOut = 0
		m.sums[of] = got
	}
	m.counted(t, w, map[string]usage.Counts{
		"acme iris": {Requests: 4, Rows: 6, Compute: 4500, BytesIn: bytesIn["iris"]/2*3 + int64(5+proto.Size(&inferpb.ModelMetadataRequest{Name: "iris"}))},
		"acme ":     {Requests: 1, Errors: 1, BytesIn: bytesIn["made-up"]},
	})
}

// TestWhatALimiterRefusesIsNotCounted holds it of every way in.
func TestWhatALimiterRefusesIsNotCounted(t *testing.T) {
	t.Parallel()
	w, m := meteredWorld(t, (&ledger{}).limits)
	if got := w.do(request{method: "POST", path: "/v2/models/iris/infer", key: w.admin, body: "{}"}); got.code() != string(problem.RateLimited) {
		t.Fatalf("%d %s", got.status, got.body)
	}
	conn := w.dial("")
	in := &inferpb.ModelInferRequest{ModelName: "iris"}
	if err := conn.Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer", in, &inferpb.ModelInferResponse{}); err == nil {
		t.Fatal("admitted")
	}
	stream, err := conn.NewStream(with(t, "x-api-key", w.admin), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(in); err != nil {
		t.Fatal(err)
	}
	var out inferpb.ModelStreamInferResponse
	if err := stream.RecvMsg(&out); err != nil || out.GetErrorMessage() == "" {
		t.Fatalf("%v, %v", &out, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	_ = stream.RecvMsg(&out) // its end
	m.counted(t, w, map[string]usage.Counts{})
}
