package gateway_test

import (
	"net/http"
	"testing"
)

// TestGRPCOverHTTP1IsRefusedAsHTTP holds that an error is not hidden in trailers which
// clients of HTTP/1.1 do not read, and that nothing of gRPC reaches a function so.
func TestGRPCOverHTTP1IsRefusedAsHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.echo("ocr")
	for name, tc := range map[string]struct {
		host, path, key string
		types           []string
		status          int
	}{
		"the control API":    {"", "/v1/keys", w.admin, []string{"application/grpc"}, http.StatusUnsupportedMediaType},
		"a model":            {"", "/v2/models/iris/infer", w.admin, []string{"application/grpc+proto"}, http.StatusUnsupportedMediaType},
		"without a key":      {"", "/v2/models/iris/infer", "", []string{"application/grpc"}, http.StatusUnauthorized},
		"a procedure":        {"ocr.default.localhost", "/inference.GRPCInferenceService/ModelInfer", w.admin, []string{"application/grpc"}, http.StatusUnsupportedMediaType},
		"two types":          {"", "/v1/keys", w.admin, []string{"application/grpc", "application/json"}, http.StatusUnsupportedMediaType},
		"two, the other way": {"", "/v1/keys", w.admin, []string{"application/json", "application/grpc"}, http.StatusUnsupportedMediaType},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := w.do(request{method: http.MethodPost, host: tc.host, path: tc.path, key: tc.key, header: http.Header{"Content-Type": tc.types}, body: "{}"})
			if got.status != tc.status || got.code() == "" {
				t.Errorf("%d %s, want %d", got.status, got.body, tc.status)
			}
		})
	}
}

// TestTrailersOfFunctionsAreCleaned holds of trailers what holds of headers.
func TestTrailersOfFunctionsAreCleaned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve("ocr", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Trailer", "Ratelimit, X-Request-Id, Modelserve-Secret, X-Own")
		rw.Header()["Modelserve_secret"] = []string{"a"}
		_, _ = rw.Write([]byte("answer"))
		for _, name := range []string{"Ratelimit", "X-Request-Id", "Modelserve-Secret", "X-Own"} {
			rw.Header().Set(name, "of the function")
		}
		rw.Header().Set(http.TrailerPrefix+"Modelserve-More", "of the function")
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "ocr.default.localhost"
	req.Header.Set("X-API-Key", w.admin)
	res, err := w.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for buf := make([]byte, 64); err == nil; {
		_, err = res.Body.Read(buf)
	}
	if len(res.Trailer) != 1 || res.Trailer.Get("X-Own") == "" || res.Header["Modelserve_secret"] != nil {
		t.Errorf("trailers %v, header %v", res.Trailer, res.Header["Modelserve_secret"])
	}
}
