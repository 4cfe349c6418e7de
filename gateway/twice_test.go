package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// TestHeadersThatComeTwice holds for each header that decides what a request means that
// two readers of it cannot take two values.
func TestHeadersThatComeTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.echo("ocr")
	w.echo("pool")
	key := w.key(auth.InferAll)
	for name, tc := range map[string]struct {
		header string
		values []string
		code   problem.Code // "" is good
		path   string       // of V2; at the function's host where it is ""
	}{
		"a version":                  {"X-Model-Version", []string{"1", "2"}, problem.InvalidArgument, "/v2/models/iris/infer"},
		"a version, at a host":       {"X-Model-Version", []string{"1", "2"}, problem.InvalidArgument, ""},
		"a version, equal":           {"X-Model-Version", []string{"1", "1"}, problem.InvalidArgument, ""},
		"a length of JSON":           {"Inference-Header-Content-Length", []string{"2", "1"}, problem.InvalidArgument, "/v2/models/iris/infer"},
		"a length of JSON, turned":   {"Inference-Header-Content-Length", []string{"1", "2"}, problem.InvalidArgument, "/v2/models/iris/infer"},
		"a length of JSON, equal":    {"Inference-Header-Content-Length", []string{"2", "2"}, problem.InvalidArgument, ""},
		"a time":                     {"Grpc-Timeout", []string{"1S", "2S"}, problem.InvalidArgument, ""},
		"an encoding of messages":    {"Grpc-Encoding", []string{"gzip", "identity"}, problem.InvalidArgument, ""},
		"a type":                     {"Content-Type", []string{"application/json", "image/png"}, problem.UnsupportedMedia, ""},
		"a type, the second of text": {"Content-Type", []string{"application/json", "application/json; charset=utf-16"}, problem.UnsupportedMedia, ""},
		"a type, equal":              {"Content-Type", []string{"application/json", "Application/JSON;charset=UTF-8"}, "", ""},
		"a key":                      {"X-Api-Key", []string{key, w.admin}, problem.Unauthenticated, ""},
		"the platform's":             {"Modelserve-Tenant", []string{"a", "b"}, "", ""},
		"ids":                        {"X-Request-Id", []string{"first", "second"}, "", ""},
		"traces":                     {"Traceparent", []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "", ""},
		"encodings are functions'":   {"Content-Encoding", []string{"gzip", "deflate"}, "", ""},
		"attributes are functions'":  {"Ce-Id", []string{"1", "2"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := request{method: http.MethodPost, path: tc.path, body: "{}", header: http.Header{"X-Api-Key": {key}, tc.header: tc.values}}
			if tc.path == "" {
				q.host, q.path = "ocr.default.localhost", "/"
			}
			got := w.do(q)
			if got.code() != string(tc.code) || tc.code == "" && got.status != http.StatusOK {
				t.Errorf("%d %s, want the code %q", got.status, got.body, tc.code)
			}
			if tc.code == problem.InvalidArgument && !strings.Contains(got.body, tc.header) {
				t.Errorf("the error does not name the header: %s", got.body)
			}
		})
	}
}

// TestFunctionsGetOneValue holds that of what is not refused a function gets what the
// gateway goes by.
func TestFunctionsGetOneValue(t *testing.T) {
	t.Parallel()
	const first, second = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"
	w := newWorld(t)
	w.echo("ocr")
	w.do(request{method: http.MethodPost, host: "ocr.default.localhost", path: "/", key: w.admin, body: "x", header: http.Header{
		"Modelserve-Tenant": {"a", "b"}, "X-Request-Id": {"first", "second"},
		"Traceparent": {"00-" + first + "-b7ad6b7169203331-01", "00-" + second + "-b7ad6b7169203331-01"},
	}})
	h := w.net.last().Header
	for _, name := range []string{"Modelserve-Tenant", "X-Request-Id", "Traceparent"} {
		if len(h[name]) != 1 {
			t.Errorf("%s: %q", name, h[name])
		}
	}
	if trace := h.Get("Traceparent"); h.Get("X-Request-Id") != "first" || strings.Contains(trace, first) || strings.Contains(trace, second) {
		t.Errorf("%q", h)
	}
}

// TestUnderscoresAreNoOtherName holds that no function behind CGI or WSGI takes for a
// header of the platform or of HTTP what the gateway did not go by.
func TestUnderscoresAreNoOtherName(t *testing.T) {
	t.Parallel()
	dropped := []string{
		"X_Model_Version", "x-model_version", "Inference_Header_Content_Length", "Content_Type", "CONTENT_LENGTH", "Content_Encoding",
		"Transfer_Encoding", "Ce_Id", "ce_specversion", "Grpc_Timeout", "X_Request_Id", "X_API_Key", "Modelserve_Tenant", "X_Forwarded_For",
	}
	lines := ""
	for _, name := range dropped {
		lines += name + ": 9\r\n"
	}
	check := func(t *testing.T, h http.Header) {
		t.Helper()
		if h.Get("My_own") != "kept" {
			t.Errorf("another header is lost: %q", h)
		}
		for name := range h {
			if strings.Contains(name, "_") && name != "My_own" {
				t.Errorf("a function gets %s", name)
			}
		}
	}
	t.Run("HTTP/1.1", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.echo("ocr")
		conn := w.raw()
		conn.send("POST / HTTP/1.1\r\nHost: ocr.default.localhost\r\nX-API-Key: %s\r\n%sMy_own: kept\r\nContent-Length: 1\r\n\r\nx", w.admin, lines)
		if got := conn.receive(); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
		check(t, w.net.last().Header)
	})
	t.Run("HTTP/2", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.echo("ocr")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "ocr.default.localhost"
		req.Header = http.Header{"X-Api-Key": {w.admin}, "My_own": {"kept"}}
		for _, name := range dropped {
			req.Header[name] = []string{"9"}
		}
		res, err := w.h2c().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
			t.Fatalf("%d over %s", res.StatusCode, res.Proto)
		}
		check(t, w.net.last().Header)
	})
}

// TestNoErrorOfAThirdProtocol holds that what looks like gRPC and is none gets HTTP's
// errors, and all of gRPC its own.
func TestNoErrorOfAThirdProtocol(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for contentType, grpc := range map[string]bool{
		"application/grpc": true, "application/grpc+json": true, "application/grpc; =": true, "application/grpc;a=b": true,
		"application/grpcfoo": false, "application/grpc,application/json": false, "application/grpc-web+proto": false,
		"application/grpc json": false, "application/json": false, "application/connect+json": false, "": false,
	} {
		for _, path := range []string{service + "Nothing", "/v1/nothing", "/v2/nothing"} {
			for _, key := range []string{w.admin, ""} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+path, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header = http.Header{"Content-Type": {contentType}, "Connect-Protocol-Version": {"1"}}
				if key != "" {
					req.Header.Set("X-Api-Key", key)
				}
				res, err := w.h2c().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				if grpc {
					status := res.Trailer.Get("Grpc-Status")
					if res.StatusCode != http.StatusOK || status == "" || status == "0" || len(body) > 0 || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/grpc") {
						t.Errorf("%s as %q: %d %q %s", path, contentType, res.StatusCode, res.Header, body)
					}
					continue
				}
				if got := (answer{body: string(body)}); res.StatusCode < 400 || res.StatusCode == http.StatusNotImplemented || got.code() == "" || !strings.Contains(string(body), "request_id") {
					t.Errorf("%s as %q: %d %q %s", path, contentType, res.StatusCode, res.Header, body)
				}
			}
		}
	}
}
