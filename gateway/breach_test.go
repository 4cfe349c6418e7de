package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/model"
)

// Ways in that were open once.

func TestNoContentTypeSlipsGRPCPastTheGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve("text-detect", func(http.ResponseWriter, *http.Request) {
		t.Error("the function was reached")
	})
	key := w.key(auth.Infer("text-detect"))
	for _, contentType := range []string{
		"application/grpc", "Application/grpc", "APPLICATION/GRPC", " application/GRPC+proto ", "application/Grpc;x=y", "application/grpc-web",
	} {
		for _, procedure := range []string{"RepositoryModelUnload", "RepositoryModelLoad", "ModelInfer"} {
			got := w.do(request{
				method: http.MethodPost, host: "text-detect.default.localhost", path: "/inference.GRPCInferenceService/" + procedure, key: key,
				header: http.Header{"Content-Type": {contentType}}, body: "\x00\x00\x00\x00\x0d\x12\x0btext-detect",
			})
			if status := got.header.Get("Grpc-Status"); status == "0" {
				t.Errorf("%s as %q: %d, gRPC status %q", procedure, contentType, got.status, status)
			}
		}
	}
}

func TestAnAnswerDoesNotWaitForABodyNobodyReads(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"public":     "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n",
		"no key":     "POST / HTTP/1.1\r\nHost: text-detect.default.localhost\r\nContent-Length: 1\r\n\r\n",
		"no such":    "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n",
		"in chunks":  "GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
		"drop by it": "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.BodyTimeout = 50 * time.Millisecond })
			conn := w.raw()
			conn.send("%s", head)
			// The server ends the connection by itself, with or without an answer.
			if _, err := io.Copy(io.Discard, conn.conn); err != nil {
				t.Errorf("the connection is held: %v", err)
			}
		})
	}
}

func TestAFunctionThatStartsSlowlyDoesNotMakeItsCallerSlow(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]func(*world) *http.Client{
		"HTTP/1.1": func(*world) *http.Client { return http.DefaultClient },
		"HTTP/2":   func(w *world) *http.Client { return w.h2c() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const timeout = 500 * time.Millisecond // a busy machine must not look like a slow client
			w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.BodyTimeout = timeout })
			w.serve("text-detect", func(rw http.ResponseWriter, r *http.Request) {
				<-time.After(2 * timeout) // the body lies unread meanwhile
				n, err := io.Copy(io.Discard, r.Body)
				if err != nil || n != 1<<20 {
					t.Errorf("%d bytes, %v", n, err)
				}
				rw.WriteHeader(http.StatusNoContent)
			})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/", strings.NewReader(strings.Repeat("x", 1<<20)))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "text-detect.default.localhost"
			req.Header.Set("X-Api-Key", w.admin)
			res, err := client(w).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusNoContent {
				t.Errorf("status %d", res.StatusCode)
			}
		})
	}
}

func TestAStreamEndsWithItsKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.grpcFunction("pool")
	text := w.key(auth.Infer("iris"))
	stream, err := w.dial("").NewStream(with(t, "x-api-key", text),
		&grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		if err := stream.SendMsg(&inferpb.ModelInferRequest{ModelName: "iris"}); err != nil {
			return err
		}
		return stream.RecvMsg(new(inferpb.ModelStreamInferResponse))
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	id, err := auth.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.do(request{method: http.MethodDelete, path: "/v1/keys/" + id.ID, key: w.admin}); got.status != http.StatusNoContent {
		t.Fatalf("revoke: %d %s", got.status, got.body)
	}
	for range 1000 { // the key's cache is fresh for a second at most; a revocation here forgets it
		if err = ask(); err != nil {
			break
		}
	}
	if got := reason(t, err); got != "unauthenticated" {
		t.Errorf("after the revocation: %v (%s)", err, got)
	}
}

func TestAFunctionThatCannotStartIsNotReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.routes.Replace([]route.Function{{
		Name: "text-detect", Namespace: "default", URL: "http://text-detect.default.svc.cluster.local",
		Models: []model.Ref{{Name: "text-detect", Version: 2}}, State: route.StateFailed, Reason: "model.ort: altered",
	}}); err != nil {
		t.Fatal(err)
	}
	if got := w.do(request{path: "/v2/models/text-detect/ready", key: w.admin}); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "altered") {
		t.Errorf("ready: %d %s", got.status, got.body)
	}
	if got := w.do(request{path: "/v2/repository/index", key: w.admin}); !strings.Contains(got.body, `"UNAVAILABLE","reason":"model.ort: altered"`) {
		t.Errorf("index: %d %s", got.status, got.body)
	}
}

// TestAFunctionThatStartsIsNotReady holds that a function that there is no way to
// yet is not ready, at its host; by path the pool has its model, if there is one.
func TestAFunctionThatStartsIsNotReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const host = "text-detect.default.localhost"
	young := route.Function{
		Name: "text-detect", Namespace: "default", URL: "http://text-detect.default.svc.cluster.local",
		Mixed: []model.Ref{{Name: "text-detect", Version: 2}}, State: "starting", Starting: "the function is starting: it waits for a node",
	}
	pool := route.Function{Name: "pool", Namespace: "default", URL: "http://pool.default.svc.cluster.local", Pool: true}
	put := func(functions ...route.Function) {
		if err := w.routes.Replace(functions); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(when, host string, ready bool) {
		t.Helper()
		status, state := http.StatusServiceUnavailable, `"UNAVAILABLE","reason":"the function is starting`
		if ready {
			status, state = http.StatusOK, `"READY"`
		}
		got := w.do(request{path: "/v2/models/text-detect/ready", host: host, key: w.admin})
		if got.status != status || !ready && (got.code() != "model_unavailable" || !strings.Contains(got.body, "is starting")) {
			t.Errorf("%s: ready: %d %s", when, got.status, got.body)
		}
		var out inferpb.ModelReadyResponse
		if err := w.dial(host).Invoke(with(t, "x-api-key", w.admin), service+"ModelReady", &inferpb.ModelReadyRequest{Name: "text-detect"}, &out); err != nil || out.GetReady() != ready {
			t.Errorf("%s: ready by gRPC: %v, %v", when, &out, err)
		}
		if got := w.do(request{path: "/v2/repository/index", host: host, key: w.admin}); !strings.Contains(got.body, `{"name":"text-detect","version":"2","state":`+state) {
			t.Errorf("%s: index: %s", when, got.body)
		}
	}
	put(young, pool)
	holds("at its host", host, false)
	holds("by path", "", true)
	w.echo("pool")
	if got := w.do(request{method: http.MethodPost, path: "/v2/models/text-detect/infer", key: w.admin, body: "hi"}); got.status != http.StatusOK {
		t.Errorf("the pool: %d %s", got.status, got.body)
	}
	pool.State, pool.Starting = "starting", "the function is starting"
	put(pool)
	holds("the pool starts", "", false)
	pool.Starting = "" // it wakes: calls wait for it
	put(pool)
	holds("the pool wakes", "", true)
}

func TestNobodyRevokesMoreThanTheyHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin, err := auth.ParseKey(w.admin)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.do(request{method: http.MethodDelete, path: "/v1/keys/" + admin.ID, key: w.key(auth.KeysAdmin)}); got.status != http.StatusForbidden {
		t.Errorf("%d %s", got.status, got.body)
	}
}
