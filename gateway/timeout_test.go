package gateway_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
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
	"github.com/modelserveai/modelserve/problem"
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

// packed is text in an encoding of HTTP's.
func packed(t *testing.T, encoding, text string) string {
	t.Helper()
	var out bytes.Buffer
	var in io.WriteCloser = gzip.NewWriter(&out)
	if encoding == "deflate" {
		in = zlib.NewWriter(&out)
	}
	if _, err := io.WriteString(in, text); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestATimeoutIsKeptWhileTheFunctionStarts holds that a request which says how
// long there is for it is answered by then.
func TestATimeoutIsKeptWhileTheFunctionStarts(t *testing.T) {
	t.Parallel()
	const head = `{"parameters": {"timeout": 30000}, "inputs": []}`
	large := head + strings.Repeat("x", 3<<20)
	last := `{"inputs": [` + strings.Repeat("1,", 100000) + `1], "parameters": {"timeout": 30000}}`
	inChunks := func(s string) io.Reader { return io.MultiReader(strings.NewReader(s)) }
	for _, tc := range []struct {
		name, body string
		head       int
		encoding   string
		reader     func(string) io.Reader
	}{
		{"JSON", head, 0, "", nil},
		{"JSON in chunks", head, 0, "", inChunks},
		{"JSON that ends with it", last, 0, "", nil},
		{"much JSON that begins with it", head[:len(head)-1] + `, "more": "` + strings.Repeat("x", 3<<20) + `"}`, 0, "", nil},
		{"much JSON that ends with it", `{"id": "` + strings.Repeat("x", 3<<20) + `",` + last[1:], 0, "", nil},
		{"much JSON that ends with it, in chunks", `{"id": "` + strings.Repeat("x", 3<<20) + `",` + last[1:], 0, "", inChunks},
		{"gzip", packed(t, "gzip", last), 0, "gzip", nil},
		{"gzip in capitals", packed(t, "gzip", last), 0, "X-GZIP ", nil},
		{"gzip of much", packed(t, "gzip", `{"id": "`+strings.Repeat("x", 3<<20)+`",`+last[1:]), 0, "gzip", inChunks},
		{"gzip of binary", packed(t, "gzip", large), len(head), "gzip", nil},
		{"deflate", packed(t, "deflate", last), 0, "deflate", nil},
		{"identity", head, 0, "identity", nil},
		{"binary", large, len(head), "", nil},
		{"binary in chunks", large, len(head), "", inChunks},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) { d.Transport = starting{d.Transport, nil} })
			q := request{method: "POST", path: "/v2/models/iris/infer", key: w.admin, body: tc.body}
			if tc.reader != nil {
				q.reader = tc.reader(tc.body)
			}
			q.header = http.Header{}
			if tc.head > 0 {
				q.header.Set("Inference-Header-Content-Length", strconv.Itoa(tc.head))
			}
			if tc.encoding != "" {
				q.header.Set("Content-Encoding", tc.encoding)
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
		"none in much":     `{"inputs": [], "id": "` + strings.Repeat("x", 3<<20) + `"}`,
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
