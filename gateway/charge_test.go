package gateway_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/model"
)

// waking is a transport whose requests wait for an instance as those of a platform do,
// until their ends: reached has one when it waits.
type waking struct {
	reached chan<- struct{}
	failed  error // what it ends with instead
}

func (w waking) RoundTrip(r *http.Request) (*http.Response, error) {
	w.reached <- struct{}{}
	if w.failed == nil {
		<-r.Context().Done()
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	if w.failed != nil {
		return nil, w.failed
	}
	return nil, context.Cause(r.Context())
}

// posted is a call by HTTP that is cancelled by its context.
func posted(ctx context.Context, t *testing.T, w *world, host, path, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	req.Host = host
	req.Header.Set("X-Api-Key", w.admin)
	if res, err := w.server.Client().Do(req); err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

// ways are calls by each way in of a model's inference, and of a native payload.
func ways() map[string]func(ctx context.Context, t *testing.T, w *world) {
	in := &inferpb.ModelInferRequest{ModelName: "iris", Inputs: []*inferpb.ModelInferRequest_InferInputTensor{{Name: "x", Shape: []int64{7, 3}}}}
	return map[string]func(ctx context.Context, t *testing.T, w *world){
		"an inference": func(ctx context.Context, t *testing.T, w *world) {
			t.Helper()
			posted(ctx, t, w, "", "/v2/models/iris/infer", `{"inputs":[{"name":"x","shape":[7,3]}]}`)
		},
		"native": func(ctx context.Context, t *testing.T, w *world) {
			t.Helper()
			posted(ctx, t, w, "ocr.default.localhost", "/", "")
		},
		"gRPC": func(ctx context.Context, t *testing.T, w *world) {
			t.Helper()
			_ = w.dial("").Invoke(keyed(ctx, w.admin), service+"ModelInfer", in, &inferpb.ModelInferResponse{})
		},
		"a message of a stream": func(ctx context.Context, t *testing.T, w *world) {
			t.Helper()
			stream, err := w.dial("").NewStream(keyed(ctx, w.admin), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
			if err != nil {
				t.Error(err)
				return
			}
			_ = stream.SendMsg(in)
			_ = stream.CloseSend()
			_ = stream.RecvMsg(&inferpb.ModelStreamInferResponse{})
		},
	}
}

// keyed is a context of gRPC calls by a key.
func keyed(ctx context.Context, key string) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.Pairs("x-api-key", key))
}

// TestWhatComesToNoFunctionIsChargedNothing holds it of calls that wait for an instance,
// by each way in, whatever ends them.
func TestWhatComesToNoFunctionIsChargedNothing(t *testing.T) {
	t.Parallel()
	all := ways()
	all["an inference with a timeout"] = func(ctx context.Context, t *testing.T, w *world) {
		t.Helper()
		posted(ctx, t, w, "", "/v2/models/iris/infer", `{"parameters":{"timeout":1000},"inputs":[{"name":"x","shape":[7,3]}]}`)
	}
	for way, do := range all {
		for name, tc := range map[string]struct {
			timeout time.Duration // of the gateway
			leaves  bool          // the caller, once the call waits
			failed  error
		}{
			"its caller leaves":      {leaves: true},
			"its deadline passes":    {timeout: 300 * time.Millisecond},
			"its function is broken": {failed: problem.New(problem.Unavailable, "it cannot start")},
			"the platform stops":     {failed: fmt.Errorf("wait for pool: %w", context.Canceled)},
		} {
			t.Run(way+" and "+name, func(t *testing.T) {
				t.Parallel()
				l := &ledger{left: 1, ended: make(chan infer.Usage, 1)}
				reached := make(chan struct{}, 10)
				w := newWorld(t, l.limits, func(c *gateway.Config, d *gateway.Deps) {
					c.Timeout, d.Transport = cmp.Or(tc.timeout, time.Minute), waking{reached, tc.failed}
				})
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				var calls sync.WaitGroup
				defer calls.Wait()
				calls.Go(func() { do(ctx, t, w) })
				<-reached
				if tc.leaves {
					leave()
				}
				if used := <-l.ended; used != (infer.Usage{}) {
					t.Errorf("charged %+v", used)
				}
			})
		}
	}
}

// TestAStartIsNotCharged holds that a call which waited for an instance is charged from
// when that has it.
func TestAStartIsNotCharged(t *testing.T) {
	t.Parallel()
	for way, do := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			l := &ledger{left: 1, ended: make(chan infer.Usage, 1)}
			let, reached := make(chan struct{}), make(chan struct{}, 2)
			w := newWorld(t, l.limits, func(c *gateway.Config, d *gateway.Deps) {
				d.Transport = starting{d.Transport, let}
			})
			answers := func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				reached <- struct{}{}
				<-r.Context().Done()
			}
			w.serve("pool", answers)
			w.serve("ocr", answers)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			var calls sync.WaitGroup
			defer calls.Wait()
			began := time.Now()
			calls.Go(func() { do(ctx, t, w) })
			const start = 50 * time.Millisecond
			time.AfterFunc(start, func() { close(let) })
			<-reached
			leave()
			used := <-l.ended
			if took := time.Since(began); used.Compute <= 0 || used.Compute > took-start || used.Rows == 0 {
				t.Errorf("charged %+v of a call that took %v, of which %v were the start", used, took, start)
			}
		})
	}
}

// TestWhateverAFunctionAnswersItRan holds that anybody's function is paid for whatever
// its answer says, and ours not for what they refuse.
func TestWhateverAFunctionAnswersItRan(t *testing.T) {
	t.Parallel()
	const problemJSON = `{"code":"%s","detail":"no"}`
	for name, tc := range map[string]struct {
		status int
		body   string
		ours   bool // it has models
		free   bool
	}{
		"200":                   {status: 200, body: "{}"},
		"400":                   {status: 400, body: "no"},
		"404":                   {status: 404, body: "no"},
		"422":                   {status: 422, body: "no"},
		"429":                   {status: 429, body: "no"},
		"500":                   {status: 500, body: "no"},
		"503":                   {status: 503, body: "no"},
		"400 as our functions":  {status: 400, body: fmt.Sprintf(problemJSON, problem.InvalidArgument)},
		"429 as our functions":  {status: 429, body: fmt.Sprintf(problemJSON, problem.RateLimited)},
		"503 as our functions":  {status: 503, body: fmt.Sprintf(problemJSON, problem.ModelUnavailable)},
		"ours answers":          {status: 200, body: "{}", ours: true},
		"ours refuses":          {status: 400, body: fmt.Sprintf(problemJSON, problem.InvalidArgument), ours: true, free: true},
		"ours is full":          {status: 503, body: fmt.Sprintf(problemJSON, problem.Overloaded), ours: true, free: true},
		"ours breaks":           {status: 500, body: fmt.Sprintf(problemJSON, problem.Internal), ours: true},
		"ours failed in a run":  {status: 500, body: fmt.Sprintf(problemJSON, problem.ModelFailed), ours: true},
		"ours without a reason": {status: 404, body: "{}", ours: true, free: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &ledger{left: 1, ended: make(chan infer.Usage, 1)}
			w := newWorld(t, l.limits)
			f := route.Function{Name: "ocr", Namespace: "default", URL: "http://ocr.default.svc.cluster.local"}
			if tc.ours {
				f.Models = []model.Ref{{Name: "text-recognize", Version: 2}}
			}
			if err := w.routes.Replace([]route.Function{f}); err != nil {
				t.Fatal(err)
			}
			w.serve("ocr", func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(tc.status)
				_, _ = io.WriteString(rw, tc.body)
			})
			if got := w.do(request{method: "POST", host: "ocr.default.localhost", path: "/", key: w.admin, body: "x"}); got.status != tc.status {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if used := <-l.ended; (used.Compute <= 0) != tc.free || (used.Rows == 0) != tc.free {
				t.Errorf("charged %+v, free: %v", used, tc.free)
			}
		})
	}
}
