package telemetry_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modelserveai/modelserve/internal/telemetry"
)

// TestMetricsOnLoopbackAreThisMachines holds that a web page which has a name of its own
// lead to loopback reads no metrics.
func TestMetricsOnLoopbackAreThisMachines(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Level: slog.LevelError, MetricsAddress: "Gauge.example:9464"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	metrics := tel.MetricsServer().Handler
	for host, good := range map[string]bool{
		"localhost": true, "localhost:9464": true, "LOCALHOST:1": true, "localhost.:9464": true, "a.localhost:9464": true,
		"127.0.0.1:9464": true, "127.0.0.1": true, "[::1]:9464": true, "[::1]": true, "10.1.2.3:9464": true,
		"gauge.example:9464": true, "gauge.example": true,
		"evil.example": false, "evil.example:9464": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "notlocalhost": false, "": false,
	} {
		for address, loopback := range map[string]bool{"127.0.0.1": true, "::1": true, "10.1.2.3": false} {
			r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
			r.Host = host
			w := httptest.NewRecorder()
			metrics.ServeHTTP(w, r.WithContext(contextAt(r, address)))
			if want := good || !loopback; (w.Code == http.StatusOK) != want || !want && w.Code != http.StatusMisdirectedRequest {
				t.Errorf("%q at %s: %d", host, address, w.Code)
			}
		}
	}
}

// contextAt is a request's context where it came to an address of this machine.
func contextAt(r *http.Request, address string) context.Context {
	return context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(address), Port: 9464})
}

func TestWhoseChoiceARequestIDIsIsKnown(t *testing.T) {
	t.Parallel()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Level: slog.LevelError}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for id, given := range map[string]bool{"": false, "somebody-elses": true, "a b": false, "ü": false} {
		got := false
		handler := tel.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = telemetry.RequestIDIsGiven(r.Context()) }))
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("X-Request-Id", id)
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if got != given {
			t.Errorf("%q: given is %v", id, got)
		}
	}
}
