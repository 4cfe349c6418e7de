package gateway_test

import (
	"net/http"
	"testing"
)

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
