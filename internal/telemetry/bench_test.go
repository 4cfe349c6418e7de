package telemetry_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/modelserveai/modelserve/internal/telemetry"
)

// BenchmarkMiddleware is what an id and a trace cost a request, where spans are
// exported and where they are not, beside the handler by itself.
func BenchmarkMiddleware(b *testing.B) {
	off, err := telemetry.New(b.Context(), telemetry.Config{Service: "test"}, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	on, err := telemetry.NewForSpans(b.Context(), telemetry.Config{Service: "test"}, io.Discard, sdktrace.NewSimpleSpanProcessor(tracetest.NewNoopExporter()))
	if err != nil {
		b.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a")) })
	for name, h := range map[string]http.Handler{"alone": handler, "no-export": off.Middleware(handler), "export": on.Middleware(handler)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v2/models/iris/infer", nil)
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
