package gateway_test

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestWhatAFunctionMayNotSay holds that a function's answer reaches its caller
// without what only the platform says, and with what the gateway says of it.
func TestWhatAFunctionMayNotSay(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		function http.HandlerFunc
		status   int
	}{
		"headers of the platform's": {func(rw http.ResponseWriter, _ *http.Request) {
			for _, header := range []string{"Modelserve-Anything", "Modelserve-Tenant", infer.CostHeader, "RateLimit", "RateLimit-Policy"} {
				rw.Header().Set(header, "evil")
			}
		}, http.StatusOK},
		"an informational answer": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set(infer.CostHeader, cost)
			rw.WriteHeader(http.StatusEarlyHints)
			rw.WriteHeader(http.StatusOK)
		}, http.StatusOK},
		"another protocol": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Upgrade", "x")
			rw.Header().Set("Connection", "Upgrade")
			rw.WriteHeader(http.StatusSwitchingProtocols)
		}, http.StatusBadGateway},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.serve("ocr", tc.function)
			conn := w.raw()
			conn.send("GET / HTTP/1.1\r\nHost: ocr.default.localhost\r\nX-Api-Key: %s\r\n\r\n", w.admin)
			got := conn.receive()
			if got.status != tc.status || got.header.Get("X-Request-Id") == "" || got.header.Get("Traceparent") == "" {
				t.Errorf("%d %v", got.status, got.header)
			}
			for header := range got.header {
				if strings.HasPrefix(header, "Modelserve-") || strings.HasPrefix(header, "Ratelimit") {
					t.Errorf("the caller gets %s", header)
				}
			}
		})
	}
}

// TestAFunctionsOwn502IsItsOwn holds that an answer of a function which a proxy before
// it did not write is not run again for long, and is handed on as it is where there is
// no such proxy or its errors may be text.
func TestAFunctionsOwn502IsItsOwn(t *testing.T) {
	t.Parallel()
	const own, ofQueueProxy = "dial tcp 10.0.0.1:80: connect: connection refused", "dial tcp 127.0.0.1:8080: connect: connection refused"
	own502 := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, ofQueueProxy)
	}
	for name, tc := range map[string]struct {
		models bool // it has them
		direct bool // there is no proxy before it
		answer http.HandlerFunc
		status int
		runs   int64
	}{
		"without models":                    {false, false, before(own), http.StatusBadGateway, 1},
		"with models, of another address":   {true, false, before(own), http.StatusServiceUnavailable, 2},
		"with models, of no connection":     {true, false, before("dial tcp 127.0.0.1:8080: no words of the system"), http.StatusServiceUnavailable, 2},
		"with models, within other words":   {true, false, before("call: " + ofQueueProxy), http.StatusServiceUnavailable, 2},
		"with models, of more than a line":  {true, false, before(ofQueueProxy + "\nmore"), http.StatusServiceUnavailable, 2},
		"with models, not as http.Error":    {true, false, own502, http.StatusServiceUnavailable, 2},
		"with models, where is no proxy":    {true, true, before(ofQueueProxy), http.StatusBadGateway, 1},
		"without models, where is no proxy": {false, true, before(ofQueueProxy), http.StatusBadGateway, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) { d.Direct = tc.direct })
			if !tc.models {
				w.ocrIs(route.Function{})
			}
			calls := w.failing("ocr", tc.answer)
			got := w.do(request{host: ocrHost, path: "/", key: w.admin})
			if got.status != tc.status || calls.Load() != tc.runs || tc.runs == 1 && !strings.Contains(got.body, "dial tcp") {
				t.Errorf("%d %q after %d runs, want %d after %d", got.status, got.body, calls.Load(), tc.status, tc.runs)
			}
		})
	}
}

// TestAFunctionsTrailersAreCleaned holds that no trailer, announced or not, and no
// header's twin, says what only the platform does, and that others go on.
func TestAFunctionsTrailersAreCleaned(t *testing.T) {
	t.Parallel()
	names := []string{
		"Ratelimit", "Ratelimit-Policy", "X-Request-Id", "X_request_id", "Modelserve-Secret", "Modelserve-Model", "Modelserve_cost", "Traceparent", "X-Own",
	}
	for name, announced := range map[string]bool{"announced": true, "not announced": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.serve("ocr", func(rw http.ResponseWriter, _ *http.Request) {
				for _, twin := range []string{"Modelserve_cost", "Ratelimit_policy", "X_request_id"} {
					rw.Header().Set(twin, "evil")
				}
				prefix := http.TrailerPrefix
				if announced {
					rw.Header().Set("Trailer", strings.Join(names, ", "))
					prefix = ""
				}
				_, _ = io.WriteString(rw, "whole")
				_ = http.NewResponseController(rw).Flush()
				for _, name := range names {
					rw.Header().Set(prefix+name, "evil")
				}
			})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = ocrHost
			req.Header.Set("X-Api-Key", w.admin)
			res, err := w.server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "whole" {
				t.Errorf("%q, %v", body, err)
			}
			for name, values := range res.Header {
				if slices.Contains(values, "evil") {
					t.Errorf("the caller gets the header %s", name)
				}
			}
			if got := slices.Sorted(maps.Keys(res.Trailer)); !slices.Equal(got, []string{"X-Own"}) {
				t.Errorf("the caller gets the trailers %v", got)
			}
		})
	}
}

// TestWhatIsNoPOSTIsNoGRPC holds that such a request is answered as HTTP.
func TestWhatIsNoPOSTIsNoGRPC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grpc := http.Header{"Content-Type": {"application/grpc"}}
	for _, tc := range []struct {
		method, key string
		status      int
	}{{"GET", w.admin, 200}, {"GET", "", 401}, {"PUT", w.admin, 405}} {
		got := w.do(request{method: tc.method, path: "/v2/models/iris", key: tc.key, header: grpc})
		if got.status != tc.status || tc.status != 200 && got.code() == "" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s with key %q: %d %v %s", tc.method, tc.key, got.status, got.header, got.body)
		}
	}
}

// TestGRPCOverHTTP1IsRefusedAsHTTP holds that such a request, and one with several
// types, gets an error that its client can read, with HTTP's status.
func TestGRPCOverHTTP1IsRefusedAsHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve("ocr", func(http.ResponseWriter, *http.Request) { t.Error("the function was reached") })
	for name, types := range map[string][]string{
		"gRPC":            {"application/grpc"},
		"gRPC, any kind":  {"application/grpc-web+proto"},
		"gRPC, then JSON": {"application/grpc", "application/json"},
		"JSON, then gRPC": {"application/json", "application/grpc"},
	} {
		for path, host := range map[string]string{service + "ModelInfer": "", "/v2/models/iris/infer": "", "/v1/keys": "", "/": "ocr.default.localhost"} {
			for key, status := range map[string]int{w.admin: http.StatusUnsupportedMediaType, "": http.StatusUnauthorized} {
				got := w.do(request{method: http.MethodPost, host: host, path: path, key: key, body: "\x00\x00\x00\x00\x00", header: http.Header{"Content-Type": types}})
				if got.status != status || got.code() == "" {
					t.Errorf("%s to %s: %d %q, want %d", name, path, got.status, got.body, status)
				}
			}
		}
	}
}

// TestProceduresAreComparedAsTheyAre holds that a path which another reader would
// read differently is no procedure.
func TestProceduresAreComparedAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, want := range map[string]string{
		service + "ServerLive":                          "0",
		"/inference.GRPCInferenceService%2FServerLive":  "12",
		"/inference.GRPCInferenceService/Server%4cive":  "12",
		service + "ServerLive?x=1":                      "12",
		"/inference.GRPCInferenceService/../ServerLive": "12",
	} {
		if got := w.grpcStatus(path); got != want {
			t.Errorf("%s: status %s, want %s", path, got, want)
		}
	}
}

// TestMethodsThatShowTheRequest holds that none reaches a function.
func TestMethodsThatShowTheRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.echo("ocr")
	for _, line := range []string{"TRACE /", "CONNECT ocr.default.localhost:80"} {
		conn := w.raw()
		conn.send("%s HTTP/1.1\r\nHost: ocr.default.localhost\r\nX-Api-Key: %s\r\n\r\n", line, w.admin)
		if got := conn.receive(); got.status < 400 || w.net.last() != nil {
			t.Errorf("%s: %d %s", line, got.status, got.body)
		}
	}
}

// TestTwinsOfReservedHeaders holds that no header that some servers read as one of
// the platform's reaches a function.
func TestTwinsOfReservedHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.echo("ocr")
	header := http.Header{"Modelserve_Tenant": {"x"}, "X_forwarded_for": {"1.2.3.4"}, "K_x": {"y"}}
	if got := w.do(request{host: "ocr.default.localhost", path: "/", key: w.admin, header: header}); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for name := range w.net.last().Header {
		if strings.Contains(name, "_") {
			t.Errorf("the function gets %s", name)
		}
	}
}

// TestCountsThatCannotBeRead holds that what a function answers in place of all models'
// counts is an error that the document has.
func TestCountsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"text-detect", "ocr", "pool"} {
		w.serve(name, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "no JSON") })
	}
	if got := w.do(request{path: "/v2/models/stats", key: w.admin}); got.status != http.StatusBadGateway || got.code() != "bad_gateway" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// grpcStatus calls a procedure with an empty message, by a path as it is.
func (w *world) grpcStatus(path string) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.server.URL, bytes.NewReader(make([]byte, 5)))
	if err != nil {
		w.t.Fatal(err)
	}
	req.URL.Opaque, req.URL.RawQuery, _ = strings.Cut(path, "?")
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "X-Api-Key": {w.admin}}
	res, err := w.h2c().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil {
		w.t.Fatal(err)
	}
	return res.Header.Get("Grpc-Status") + res.Trailer.Get("Grpc-Status")
}
