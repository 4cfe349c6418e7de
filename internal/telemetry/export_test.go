package telemetry

import (
	"context"
	"io"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// NewForSpans is New with spans that go to a test.
func NewForSpans(ctx context.Context, cfg Config, w io.Writer, to sdktrace.SpanProcessor) (*Telemetry, error) {
	t, err := New(ctx, cfg, w)
	if err != nil {
		return nil, err
	}
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(to))
	t.Tracer, t.exports = t.provider.Tracer("test"), true
	return t, nil
}
