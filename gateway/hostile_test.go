package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
)

func TestHeadersForThePlatformAreNotCallers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.echo("text-detect")
	smuggled := http.Header{
		"Modelserve-Tenant":    {"somebody-else"},
		"modelserve-wake":      {"never"},
		"MODELSERVE-Timeout":   {"999999999"},
		"Modelserve-Anything":  {"x"},
		"X-Forwarded-For":      {"10.0.0.1"},
		"X-Forwarded-Host":     {"ocr.default.localhost"},
		"Forwarded":            {"for=10.0.0.1"},
		"K-Proxy-Request":      {"activator"},
		"Knative-Serving-Tag":  {"canary"},
		"Connection":           {"Modelserve-Tenant, X-Request-Id, Traceparent"},
		"Upgrade":              {"websocket"},
		"X-Request-Id":         {"mine-1"},
		"Traceparent":          {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"Authorization":        {"Bearer " + w.admin},
		"X-Custom":             {"kept"},
		"Content-Type":         {"image/png"},
		"Modelserve-Model":     {"x"},
		"Modelserve-Principal": {"admin"},
	}
	got := w.do(request{method: "POST", host: "text-detect.default.localhost", path: "/", header: smuggled, body: "x"})
	if got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	h := w.net.last().Header
	for name, want := range map[string]string{
		"Modelserve-Tenant": "default", "Modelserve-Wake": "", "Modelserve-Anything": "", "X-Forwarded-For": "", "X-Forwarded-Host": "",
		"Forwarded": "", "K-Proxy-Request": "", "Knative-Serving-Tag": "", "Upgrade": "", "Authorization": "", "X-Api-Key": "",
		"X-Request-Id": "mine-1", "X-Custom": "kept", "Content-Type": "image/png", "Modelserve-Model": "", "Modelserve-Principal": "",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
	if !strings.Contains(h.Get("Traceparent"), "0af7651916cd43dd8448eb211c80319c") {
		t.Errorf("the trace is lost: %q", h.Get("Traceparent"))
	}
	if ms := h.Get("Modelserve-Timeout"); len(ms) != len("300000") && len(ms) != len("299999") {
		t.Errorf("budget %q", ms)
	}
	if got.header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("request id %q", got.header.Get("X-Request-Id"))
	}
}

func TestForwardedHostCountsOnlyFromATrustedProxy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		trusted []netip.Prefix
		hosts   []string
		want    int
	}{
		"nobody is trusted":    {nil, []string{"ocr.default.localhost"}, http.StatusNotFound},
		"another is":           {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"ocr.default.localhost"}, http.StatusNotFound},
		"this one":             {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []string{"ocr.default.localhost"}, http.StatusOK},
		"two hosts are a lie":  {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []string{"ocr.default.localhost", "x"}, http.StatusNotFound},
		"and so is a function": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []string{"nope.default.localhost"}, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.TrustedProxies = tc.trusted })
			w.echo("ocr")
			got := w.do(request{method: "POST", path: "/", key: w.admin, body: "x", header: http.Header{"X-Forwarded-Host": tc.hosts}})
			if got.status != tc.want {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

func TestPathsThatTwoReadersWouldReadDifferently(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"text-detect", "ocr", "pool"} {
		w.serve(name, func(_ http.ResponseWriter, r *http.Request) {
			t.Errorf("a function was asked for %q", r.URL.RequestURI())
		})
	}
	key := w.key(auth.InferAll)
	for name, tc := range map[string]struct {
		host, path string
		names      string // what the error names
	}{
		"dots in a model's name":        {"", "/v2/models/../../v1/keys/infer", "../../v1/keys"},
		"encoded dots":                  {"", "/v2/models/%2e%2e/infer", `".."`},
		"encoded slash":                 {"", "/v2/models/a%2Fb/infer", "a/b"},
		"encoded twice":                 {"", "/v2/models/a%252Fb/infer", "a%2Fb"},
		"a path for a model":            {"", "/v2/models/etc/passwd/infer", "etc/passwd"},
		"a path with a version":         {"", "/v2/models/a/b/versions/1/infer", "a/b"},
		"backslash":                     {"", `/v2/models/a%5Cb/infer`, `a\\b`},
		"semicolon":                     {"", "/v2/models/iris;x=1/infer", "iris;x=1"},
		"NUL":                           {"", "/v2/models/iris%00/infer", `iris\x00`},
		"capitals":                      {"", "/v2/models/Iris/infer", "Iris"},
		"empty name":                    {"", "/v2/models//infer", `""`},
		"a long name":                   {"", "/v2/models/" + strings.Repeat("a", 5000) + "/infer", "model_name"},
		"load of a path":                {"", "/v2/repository/models/..%2Fx/load", "../x"},
		"version with a path":           {"", "/v2/models/iris/versions/..%2F1/infer", "..%2F1"},
		"dots on a function's host":     {"ocr.default.localhost", "/a/../b", ".."},
		"encoded dots on its host":      {"ocr.default.localhost", "/%2e%2e/healthz", "%2e%2e"},
		"encoded slash on its host":     {"ocr.default.localhost", "/a%2fb", "a%2fb"},
		"newline in a role's name":      {"", "/v1/roles/%0aX", "%0aX\": expected one without control characters"},
		"empty segment on its host":     {"ocr.default.localhost", "/a//b", "//"},
		"V2 behind dots on its host":    {"ocr.default.localhost", "/x/../v2/models/iris/infer", ".."},
		"V2 behind slashes on its host": {"ocr.default.localhost", "/./v2/models/iris/infer", "."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := w.do(request{method: "POST", host: tc.host, path: tc.path, key: key, body: "x"})
			if got.status != http.StatusBadRequest || got.code() != "invalid_argument" {
				t.Fatalf("%d %s", got.status, got.body)
			}
			var body struct{ Error, Detail string }
			if err := json.Unmarshal([]byte(got.body), &body); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(body.Error+body.Detail, tc.names) {
				t.Errorf("%q does not name %q", body.Error+body.Detail, tc.names)
			}
		})
	}
}

func TestV2BySlashesOnAFunctionsHostIsNotNative(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve("ocr", func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the function was asked for %q", r.URL.Path) })
	for _, path := range []string{"//v2/models/iris/infer", "/v2/models/iris/infer/", "/v2//models/iris/infer", "/v2/", "/v2/anything", "/v2/models/iris/unknown", "/%76%32/models/iris/infer"} {
		conn := w.raw()
		conn.send("POST %s HTTP/1.1\r\nHost: ocr.default.localhost\r\nX-API-Key: %s\r\nContent-Length: 0\r\n\r\n", path, w.admin)
		if res := conn.receive(); res.status < 400 || res.status >= 500 {
			t.Errorf("%s: %d", path, res.status)
		}
	}
}

// wire is a connection that sends exactly what a test wants.
type wire struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func (w *world) raw() *wire {
	w.t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(w.t.Context(), "tcp", w.server.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return &wire{w.t, conn, bufio.NewReader(conn)}
}

func (c *wire) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.conn, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads an answer whole.
func (c *wire) receive() answer {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		c.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	const head = "POST / HTTP/1.1\r\nHost: text-detect.default.localhost\r\nX-API-Key: "
	for name, tc := range map[string]struct {
		send  string // after the key
		close bool   // the client sends no more
		want  int
		code  string
	}{
		"as large as allowed":  {"Content-Length: 1000\r\n\r\n" + strings.Repeat("x", 1000), false, 200, ""},
		"announced too large":  {"Content-Length: 1001\r\n\r\n", false, 413, "payload_too_large"},
		"chunked too large":    {"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat("x", 1001) + "\r\n0\r\n\r\n", false, 413, "payload_too_large"},
		"chunked as large":     {"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + strings.Repeat("x", 1000) + "\r\n0\r\n\r\n", false, 200, ""},
		"too slow":             {"Content-Length: 10\r\n\r\nxxx", false, 408, "request_timeout"},
		"slow in chunks":       {"Transfer-Encoding: chunked\r\n\r\n3\r\nxxx\r\n", false, 408, "request_timeout"},
		"shorter":              {"Content-Length: 10\r\n\r\nxxx", true, 400, "malformed_body"},
		"chunks that are none": {"Transfer-Encoding: chunked\r\n\r\nzz\r\nxxx\r\n", false, 400, "malformed_body"},
		"headers too large":    {"X-Much: " + strings.Repeat("x", 40<<10) + "\r\n\r\n", false, 431, "headers_too_large"},
		"negative length":      {"Content-Length: -1\r\n\r\n", false, 400, ""},
		"two lengths":          {"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", false, 400, ""},
		// RFC 9112, 6.3: a length beside chunks is not believed; what follows is no request.
		"length and chunks": {"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxxx\r\n0\r\n\r\n", false, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) {
				c.MaxBody, c.BodyTimeout = 1000, 100*time.Millisecond
			})
			w.echo("text-detect")
			conn := w.raw()
			conn.send("%s%s\r\n%s", head, w.admin, tc.send)
			if tc.close {
				if tcp, ok := conn.conn.(*net.TCPConn); !ok || tcp.CloseWrite() != nil {
					t.Fatal("cannot close for writing")
				}
			}
			if got := conn.receive(); got.status != tc.want || got.code() != tc.code {
				t.Errorf("%d %s, want %d %q", got.status, got.body, tc.want, tc.code)
			}
		})
	}
}

func TestConnectionLivesOnAfterASlowBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.BodyTimeout = 50 * time.Millisecond })
	w.serve("text-detect", func(rw http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		// Longer than the body's deadline: it must not end the wait for the answer.
		select {
		case <-time.After(150 * time.Millisecond):
			rw.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
			t.Error("the request was cancelled")
		}
	})
	conn := w.raw()
	for range 2 {
		conn.send("POST / HTTP/1.1\r\nHost: text-detect.default.localhost\r\nX-API-Key: %s\r\nContent-Length: 2\r\n\r\nhi", w.admin)
		if got := conn.receive(); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
}

func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	arrived, ended := make(chan struct{}), make(chan error, 1)
	w.serve("pool", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	conn := w.raw()
	conn.send("POST /v2/models/iris/infer HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\nContent-Length: 2\r\n\r\nhi", w.admin)
	<-arrived
	if err := conn.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the function's context ended with %v", err)
	}
}

func TestWhatGoesWrongBehind(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		host, path string
		serve      http.HandlerFunc
		transport  http.RoundTripper
		status     int
		code       string
		mediaType  string
	}{
		"not there":         {"", "/v2/models/iris/infer", nil, nil, 503, "unavailable", "application/json"},
		"not there, native": {"ocr.default.localhost", "/", nil, nil, 503, "unavailable", "application/problem+json"},
		"breaks off":        {"", "/v2/models/iris/infer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, 502, "bad_gateway", "application/json"},
		"too late": {"", "/v2/models/iris/infer", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, nil, 504, "deadline_exceeded", "application/json"},
		"its own error": {"", "/v2/models/iris/infer", func(w http.ResponseWriter, _ *http.Request) {
			problem.WriteV2(w, problem.Invalid("inputs[0].shape", "expected [1,4]"))
		}, nil, 400, "invalid_argument", "application/json"},
		"the ingress knows no way yet": {"", "/v2/models/iris/infer", plain("404 page not found", 404), nil, 503, "unavailable", "application/json"},
		"queue-proxy is full":          {"ocr.default.localhost", "/", plain("pending request queue full", 503), nil, 503, "unavailable", "application/problem+json"},
		"queue-proxy waited enough":    {"ocr.default.localhost", "/", plain("request timeout", 504), nil, 504, "deadline_exceeded", "application/problem+json"},
		"the ingress refuses it":       {"ocr.default.localhost", "/", plain("bad request", 400), nil, 502, "bad_gateway", "application/problem+json"},
		"overloaded":                   {"", "/v2/models/iris/infer", nil, failing{problem.New(problem.Overloaded, "the queue is full").WithRetryAfter(time.Second)}, 429, "overloaded", "application/json"},
		"at zero though it was asked":  {"", "/v2/models/iris/infer", nil, failing{route.ErrAtZero}, 503, "unavailable", "application/json"},
		"an error with an address":     {"", "/v2/models/iris/infer", nil, failing{errors.New("read tcp 10.1.2.3:80: reset")}, 502, "bad_gateway", "application/json"},
		"a transport that panics":      {"", "/v2/models/iris/infer", nil, failing{nil}, 500, "internal", "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *gateway.Config, d *gateway.Deps) {
				c.Timeout = 300 * time.Millisecond
				if tc.transport != nil {
					d.Transport = tc.transport
				}
			})
			if tc.serve != nil {
				w.serve("pool", tc.serve)
				w.serve("ocr", tc.serve)
			}
			got := w.do(request{method: "POST", host: tc.host, path: tc.path, key: w.admin, body: "x"})
			if got.status != tc.status || got.code() != tc.code || got.header.Get("Content-Type") != tc.mediaType {
				t.Errorf("%d %v %s", got.status, got.header, got.body)
			}
			if strings.Contains(got.body, "10.1.2.3") || strings.Contains(got.body, "svc.cluster.local") {
				t.Errorf("an address leaks: %s", got.body)
			}
			if id := got.header.Get("X-Request-Id"); tc.code != "invalid_argument" && !strings.Contains(got.body, id) {
				t.Errorf("no request id %q in %s", id, got.body)
			}
		})
	}
}

// TestAFunctionWithoutARevisionSaysWhy holds that a function that serves nothing any
// more, because it failed, is not reported as a model that is not there.
func TestAFunctionWithoutARevisionSaysWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.routes.Replace([]route.Function{{
		Name: "ocr", Namespace: "default", URL: "http://ocr.default.svc.cluster.local", State: route.StateFailed, Reason: "RevisionMissing",
	}}); err != nil {
		t.Fatal(err)
	}
	got := w.do(request{method: "POST", host: "ocr.default.localhost", path: "/v2/models/text-recognize/infer", key: w.admin, body: "{}"})
	if got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "RevisionMissing") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestWhyAFunctionFailsIsReportedWithoutItsPaths holds that what a function's last
// line has of its node's files and addresses, which Knative passes on, reaches no
// caller by any way that gives the reason.
func TestWhyAFunctionFailsIsReportedWithoutItsPaths(t *testing.T) {
	t.Parallel()
	const reason = "ocr: MODELSERVE_CACHE_DIR: mkdir /var/cache/modelserve: permission denied; dial tcp 10.1.2.3:9000: connect: connection refused"
	const public = "mkdir modelserve: permission denied"
	for name, f := range map[string]route.Function{
		"failed":   {State: route.StateFailed, Reason: reason},
		"starting": {Starting: "the function is starting: " + reason, Reason: reason},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f.Name, f.Namespace, f.URL = "ocr", "default", "http://ocr.default.svc.cluster.local"
			if err := w.routes.Replace([]route.Function{f}); err != nil {
				t.Fatal(err)
			}
			for _, r := range []request{
				{method: "POST", host: "ocr.default.localhost", path: "/v2/models/text-recognize/infer", body: "{}"},
				{host: "ocr.default.localhost", path: "/v2/models/text-recognize/ready"},
				{path: "/v1/functions"},
			} {
				r.key = w.admin
				got := w.do(r)
				if strings.Contains(got.body, "/var") || strings.Contains(got.body, "10.1.2.3") || !strings.Contains(got.body, public) {
					t.Errorf("%s: %d %s", r.path, got.status, got.body)
				}
			}
		})
	}
}

// plain answers as net/http's own errors are.
func plain(text string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, status) }
}

// failing fails, or panics when it has no error.
type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) {
	if f.err == nil {
		panic("a bug")
	}
	return nil, f.err
}

func TestLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.echo("text-detect")
	w.do(request{method: "POST", host: "text-detect.default.localhost", path: "/?token=hush-1", key: w.admin, body: "hush-2"})
	w.do(request{method: "POST", host: "text-detect.default.localhost", path: "/", key: "ms_abc_hush-3" + strings.Repeat("x", 50), body: "x"})
	w.do(request{path: "/hush-4", header: http.Header{"Authorization": {"Bearer hush-5"}, "X-Request-Id": {"hush;6"}}})
	w.server.Close() // an answer does not wait for its line
	log := w.log.String()
	if n := strings.Count(log, `"msg":"request"`); n != 3 {
		t.Errorf("%d lines for 3 requests:\n%s", n, log)
	}
	if strings.Contains(log, "hush") || strings.Contains(log, w.admin) || strings.Contains(log, w.admin[20:]) {
		t.Errorf("the log holds a secret:\n%s", log)
	}
	for _, want := range []string{`"route":"/"`, `"function":"text-detect"`, `"principal":"key:`, `"code":"unauthenticated"`, `"request_id"`} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in\n%s", want, log)
		}
	}
}
