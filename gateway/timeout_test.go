package gateway_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// starting is a transport whose function starts until it is let, or for ever:
// nothing reads a request's body meanwhile.
type starting struct {
	http.RoundTripper
	let <-chan struct{}
}

func (s starting) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-s.let:
		return s.RoundTripper.RoundTrip(r)
	case <-r.Context().Done():
		_ = r.Body.Close()
		return nil, context.Cause(r.Context())
	}
}

// TestATimeoutIsKeptWhileTheFunctionStarts holds that a request which says how
// long there is for it is answered by then.
func TestATimeoutIsKeptWhileTheFunctionStarts(t *testing.T) {
	t.Parallel()
	const head = `{"parameters": {"timeout": 30000}, "inputs": []}`
	large := head + strings.Repeat("x", 3<<20)
	for _, tc := range []struct {
		name, body string
		head       int
		reader     func(string) io.Reader
	}{
		{"JSON", head, 0, nil},
		{"JSON in chunks", head, 0, func(s string) io.Reader { return io.MultiReader(strings.NewReader(s)) }},
		{"JSON that ends with it", `{"inputs": [` + strings.Repeat("1,", 100000) + `1], "parameters": {"timeout": 30000}}`, 0, nil},
		{"binary", large, len(head), nil},
		{"binary in chunks", large, len(head), func(s string) io.Reader { return io.MultiReader(strings.NewReader(s)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) { d.Transport = starting{d.Transport, nil} })
			q := request{method: "POST", path: "/v2/models/iris/infer", key: w.admin, body: tc.body}
			if tc.reader != nil {
				q.reader = tc.reader(tc.body)
			}
			if tc.head > 0 {
				q.header = http.Header{"Inference-Header-Content-Length": {strconv.Itoa(tc.head)}}
			}
			if got := w.do(q); got.status != http.StatusGatewayTimeout || got.code() != string(problem.DeadlineExceeded) || !strings.Contains(got.body, "30ms") {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	for name, parameter := range map[string]*inferpb.InferParameter{
		"gRPC":           {ParameterChoice: &inferpb.InferParameter_Int64Param{Int64Param: 30000}},
		"gRPC, unsigned": {ParameterChoice: &inferpb.InferParameter_Uint64Param{Uint64Param: 30000}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) { d.Transport = starting{d.Transport, nil} })
			in := &inferpb.ModelInferRequest{ModelName: "iris", Parameters: map[string]*inferpb.InferParameter{"timeout": parameter}}
			err := w.dial("").Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer", in, &inferpb.ModelInferResponse{})
			if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "30ms") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestWhatHasTimeIsAnsweredWhole holds that a call whose timeout has not passed,
// or that has none, is answered, and that its function gets all of its body,
// though it was looked into.
func TestWhatHasTimeIsAnsweredWhole(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"a long one":       `{"parameters": {"timeout": 60000000}, "inputs": []}`,
		"none":             `{"inputs": []}`,
		"nothing readable": `{"parameters": {"timeout": 1`,
		"of a large body":  `{"parameters": {"timeout": 60000000}}` + strings.Repeat("x", 3<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			let := make(chan struct{})
			w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) { d.Transport = starting{d.Transport, let} })
			w.serve("pool", mirror)
			looked := time.AfterFunc(100*time.Millisecond, func() { close(let) })
			defer looked.Stop()
			q := request{method: "POST", path: "/v2/models/iris/infer", key: w.admin, body: body}
			if name == "of a large body" {
				q.header = http.Header{"Inference-Header-Content-Length": {"37"}}
			}
			if got := w.do(q); got.status != http.StatusOK || got.body != body {
				t.Errorf("%d with %d bytes", got.status, len(got.body))
			}
		})
	}
}
