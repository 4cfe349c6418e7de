package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/model"
)

// How a function that is killed looks from here.
func unread(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func readThen(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
}

func withinTheAnswer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "half")
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// before is queue-proxy, or the ingress, with the text that it answers.
func before(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, text, http.StatusBadGateway)
	}
}

func inJSON(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadGateway)
	_, _ = io.WriteString(w, `{"error": "its own", "code": "bad_gateway"}`)
}

// failing serves a function whose first calls fail so. It counts them.
func (w *world) failing(name string, then http.HandlerFunc, first ...http.HandlerFunc) *atomic.Int64 {
	calls := new(atomic.Int64)
	w.serve(name, func(rw http.ResponseWriter, r *http.Request) {
		if n := int(calls.Add(1)) - 1; n < len(first) {
			first[n](rw, r)
			return
		}
		then(rw, r)
	})
	return calls
}

func mirror(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(w, r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// reruns is the metric of all functions.
func (w *world) reruns() (n float64) {
	w.t.Helper()
	families, err := w.tel.Registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "modelserve_gateway_reruns_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

const modelHost, otherHost = "text-detect.default.localhost", "hello.default.localhost"

// TestAnInferenceThatBrokeOffIsRunAgainOnce holds when a call is sent to a
// function a second time, and that it comes there whole.
func TestAnInferenceThatBrokeOffIsRunAgainOnce(t *testing.T) {
	t.Parallel()
	const refused, gone = "dial tcp 127.0.0.1:8080: connect: connection refused", "dial tcp 10.244.0.7:8012: i/o timeout"
	most := strings.Repeat("x", 8<<20)
	for _, tc := range []struct {
		name, host, method, path, body string
		chunked                        bool
		room                           env.Size // 0: the default
		first                          []http.HandlerFunc
		calls, reruns, status          int
	}{
		{name: "it breaks off at once", first: []http.HandlerFunc{unread}, calls: 2, reruns: 1, status: 200},
		{name: "it breaks off having read", first: []http.HandlerFunc{readThen}, calls: 2, reruns: 1, status: 200},
		{name: "the largest body there is", body: most, first: []http.HandlerFunc{readThen}, calls: 2, reruns: 1, status: 200},
		{name: "the largest, in chunks", body: most, chunked: true, first: []http.HandlerFunc{readThen}, calls: 2, reruns: 1, status: 200},
		{name: "queue-proxy reports it", first: []http.HandlerFunc{before("EOF")}, calls: 2, reruns: 1, status: 200},
		{name: "the ingress reports it", first: []http.HandlerFunc{before("Bad Gateway")}, calls: 2, reruns: 1, status: 200},
		{name: "it is not there yet", first: []http.HandlerFunc{before(refused), before(refused), before(refused)}, calls: 4, status: 200},
		{name: "its pod is gone", first: []http.HandlerFunc{before(gone), before(gone), before(gone)}, calls: 4, status: 200},
		{name: "it broke off and is not there yet", first: []http.HandlerFunc{readThen, before(refused), before(refused)}, calls: 4, reruns: 1, status: 200},
		{name: "at its own host", host: modelHost, path: "/v2/models/text-detect/infer", first: []http.HandlerFunc{readThen}, calls: 2, reruns: 1, status: 200},
		{name: "its native payload", host: modelHost, path: "/", first: []http.HandlerFunc{readThen}, calls: 2, reruns: 1, status: 200},
		{name: "a question to anybody's function", host: otherHost, method: "GET", path: "/", first: []http.HandlerFunc{unread}, calls: 2, reruns: 1, status: 200},

		{name: "twice", first: []http.HandlerFunc{readThen, unread}, calls: 2, reruns: 1, status: 502},
		{name: "twice, as queue-proxy reports", first: []http.HandlerFunc{before("EOF"), before("EOF")}, calls: 2, reruns: 1, status: 503},
		{name: "within its answer", first: []http.HandlerFunc{withinTheAnswer}, calls: 1},
		{name: "an error of its own", first: []http.HandlerFunc{inJSON}, calls: 1, status: 502},
		{name: "more than there is room for", room: 4 * env.MiB, body: most, first: []http.HandlerFunc{readThen}, calls: 1, status: 502},
		{name: "more than there is room for, in chunks", room: 4 * env.MiB, body: most, chunked: true, first: []http.HandlerFunc{readThen}, calls: 1, status: 502},
		{name: "anybody's function", host: otherHost, path: "/", first: []http.HandlerFunc{readThen}, calls: 1, status: 502},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxBody, c.MaxKept = 8*env.MiB, tc.room })
			if err := w.routes.Replace([]route.Function{
				{
					Name: "text-detect", Namespace: "default", URL: "http://text-detect.default.svc.cluster.local",
					Models: []model.Ref{{Name: "text-detect", Version: 1}},
				},
				{Name: "hello", Namespace: "default", URL: "http://hello.default.svc.cluster.local"},
				{Name: "pool", Namespace: "default", URL: "http://pool.default.svc.cluster.local", Pool: true},
			}); err != nil {
				t.Fatal(err)
			}
			function := "pool"
			if tc.host != "" {
				function, _, _ = strings.Cut(tc.host, ".")
			}
			calls := w.failing(function, mirror, tc.first...)
			q := request{method: "POST", host: tc.host, path: "/v2/models/iris/infer", key: w.admin, body: "{}"}
			if tc.method != "" {
				q.method, q.body = tc.method, ""
			}
			if tc.path != "" {
				q.path = tc.path
			}
			if tc.body != "" {
				q.body = tc.body
			}
			if tc.chunked {
				q.reader = io.MultiReader(strings.NewReader(q.body))
			}
			if tc.status == 0 { // the connection breaks
				req, err := http.NewRequestWithContext(t.Context(), q.method, w.server.URL+q.path, strings.NewReader(q.body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("X-Api-Key", w.admin)
				if res, err := w.server.Client().Do(req); err == nil {
					if _, err = io.Copy(io.Discard, res.Body); err == nil {
						t.Error("half an answer looks whole")
					}
					res.Body.Close()
				}
			} else if got := w.do(q); got.status != tc.status || got.status == 200 && got.body != q.body {
				t.Errorf("%d with %d bytes, want %d", got.status, len(got.body), tc.status)
			}
			if n := int(calls.Load()); n != tc.calls || int(w.reruns()) != tc.reruns {
				t.Errorf("%d calls and %v counted as run again, want %d and %d", n, w.reruns(), tc.calls, tc.reruns)
			}
		})
	}
}

// TestAMessageThatBrokeOffIsRunAgainOnce holds the same of gRPC, whose small messages are
// kept by themselves.
func TestAMessageThatBrokeOffIsRunAgainOnce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		size  int
		room  env.Size // 0: the default
		first []http.HandlerFunc
		calls int64
		code  codes.Code
	}{
		{"at once", 100, 1, []http.HandlerFunc{unread}, 2, codes.OK},
		{"having read", 10000, 1, []http.HandlerFunc{readThen}, 2, codes.OK},
		{"as queue-proxy reports", 100, 1, []http.HandlerFunc{before("EOF")}, 2, codes.OK},
		{"twice", 100, 1, []http.HandlerFunc{readThen, readThen}, 2, codes.Unavailable},
		{"one that passes", 100000, 0, []http.HandlerFunc{readThen}, 2, codes.OK},
		{"a large one", 3 << 20, 0, []http.HandlerFunc{readThen}, 2, codes.OK},
		{"a large one, unread", 3 << 20, 0, []http.HandlerFunc{unread}, 2, codes.OK},
		{"a large one, twice", 3 << 20, 0, []http.HandlerFunc{readThen, readThen}, 2, codes.Unavailable},
		{"more than there is room for", 3 << 20, env.MiB, []http.HandlerFunc{readThen}, 1, codes.Unavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxKept = tc.room })
			w.grpcFunction("pool")
			calls := w.failing("pool", w.net.handlers["pool.default.svc.cluster.local"].ServeHTTP, tc.first...)
			in := &inferpb.ModelInferRequest{ModelName: "iris", RawInputContents: [][]byte{make([]byte, tc.size)}}
			var out inferpb.ModelInferResponse
			err := w.dial("").Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer", in, &out)
			if status.Code(err) != tc.code || err == nil && len(out.GetRawOutputContents()[0]) != tc.size {
				t.Errorf("%v, want %v", err, tc.code)
			}
			if calls.Load() != tc.calls {
				t.Errorf("%d calls, want %d", calls.Load(), tc.calls)
			}
		})
	}
}

// TestWhatIsKeptIsBounded holds that bodies are kept while MaxKept has room for
// them, that nothing fails without, and that it comes back.
func TestWhatIsKeptIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxKept = 124 * env.KiB })
	body := strings.Repeat("x", 60<<10) // of the half that one tenant may have
	hold, held := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		switch calls.Add(1) {
		case 1:
			close(held)
			<-hold
		case 2, 3: // without room, and then with it
			panic(http.ErrAbortHandler)
		}
		_, _ = rw.Write(got)
	})
	infer := func() answer {
		return w.do(request{method: "POST", path: "/v2/models/iris/infer", key: w.admin, body: body})
	}
	first := make(chan error, 1)
	go func() {
		if got := infer(); got.body != body {
			first <- fmt.Errorf("%d with %d bytes", got.status, len(got.body))
			return
		}
		first <- nil
	}()
	<-held
	if got := infer(); got.status != http.StatusBadGateway {
		t.Errorf("without room: %d", got.status)
	}
	close(hold)
	if err := <-first; err != nil {
		t.Errorf("the one that is kept: %v", err)
	}
	if got := infer(); got.body != body || calls.Load() != 4 {
		t.Errorf("with room again: %d after %d calls", got.status, calls.Load())
	}
}

// TestAClientThatBreaksOffIsNotRunAgain holds that only the function's side of a
// call makes it run again.
func TestAClientThatBreaksOffIsNotRunAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	saw := make(chan error, 2)
	calls := w.failing("pool", func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		saw <- err
	})
	conn := w.raw()
	conn.send("POST /v2/models/iris/infer HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\nContent-Length: 100\r\n\r\nhalf", w.admin)
	conn.conn.Close()
	if err := <-saw; err == nil || errors.Is(err, io.EOF) || calls.Load() != 1 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}
