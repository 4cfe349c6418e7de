// Package telemetry gives each process its logger, its metrics registry and
// its tracer, and each request its id and trace.
//
// What is measured is decided where it happens; this package only carries it:
// slog to stderr, Prometheus on a port of its own, OpenTelemetry when an OTLP
// endpoint is set.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

// Config is the process's name and where its telemetry goes. Endpoints are OpenTelemetry's own
// variables, so that its documentation holds.
type Config struct {
	Service string `env:"OTEL_SERVICE_NAME"` // the name of the process in logs and traces, else its function's
	Version string

	Level  slog.Level `env:"MODELSERVE_LOG_LEVEL" envDefault:"info"`  // the least level that is logged
	Format string     `env:"MODELSERVE_LOG_FORMAT" envDefault:"json"` // the log's format, json or text

	// One machine may hold many processes, each with its metrics.
	MetricsAddress string `env:"MODELSERVE_METRICS_ADDRESS" envDefault:":9464"` // where /metrics is served, host:port
	MetricsTries   int    `env:"MODELSERVE_METRICS_TRIES" envDefault:"1"`       // how many ports from there on are tried

	Endpoint       string `env:"OTEL_EXPORTER_OTLP_ENDPOINT"`        // the URL of the collector that traces go to; without one there are none
	TracesEndpoint string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"` // the same for traces alone, whole, path included
	Disabled       string `env:"OTEL_SDK_DISABLED"`                  // "true" sends no traces
	Exporters      string `env:"OTEL_TRACES_EXPORTER"`               // the exporter of traces, otlp or none
	Protocol       string `env:"OTEL_EXPORTER_OTLP_PROTOCOL"`        // how traces are sent, by http/protobuf or grpc; "" is the first
	TracesProtocol string `env:"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"` // the same for traces alone
}

// Telemetry is a process's logger, registry and tracer.
type Telemetry struct {
	Logger   *slog.Logger
	Registry *prometheus.Registry
	Tracer   trace.Tracer

	drained  *drained
	refused  prometheus.Counter
	provider *sdktrace.TracerProvider
	exports  bool // spans; else requests have only their ids

	metricsHost string // the name that the metrics port is configured by; "" is none
}

// New starts telemetry, logging to w. Spans are exported only when an OTLP
// endpoint is set; without one every request still has a trace id.
func New(ctx context.Context, cfg Config, w io.Writer) (*Telemetry, error) {
	res, err := resource.Merge(resource.Default(), resource.NewSchemaless(
		semconv.ServiceName(cfg.Service), semconv.ServiceVersion(cfg.Version)))
	if err != nil {
		return nil, fmt.Errorf("describe the service to OpenTelemetry: %w", err)
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(res)}
	logger := NewLogger(cfg, w)
	exporter, err := newExporter(ctx, cfg, logger)
	if err != nil {
		return nil, err
	}
	if exporter != nil {
		options = append(options, sdktrace.WithBatcher(exporter))
	} else {
		options = append(options, sdktrace.WithSampler(sdktrace.NeverSample()))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	drained, refused := newDrained(), newRefused()
	registry.MustRegister(drained.bodies, drained.bytes, refused)
	provider := sdktrace.NewTracerProvider(options...)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		logger.Warn("cannot export telemetry", "error", err)
	}))
	name, _, _ := net.SplitHostPort(cfg.MetricsAddress) // ListenMetrics reports a wrong one
	return &Telemetry{
		Logger:   logger,
		Registry: registry,
		Tracer:   provider.Tracer("github.com/modelserveai/modelserve"),
		drained:  drained,
		refused:  refused,
		provider: provider,
		exports:  exporter != nil,

		metricsHost: strings.ToLower(name),
	}, nil
}

// Stop sends what is still to be sent, until ctx ends.
func (t *Telemetry) Stop(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("flush traces: %w", err)
	}
	return nil
}

// NewLogger makes a logger whose records carry the request id and trace id of
// their context.
func NewLogger(cfg Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Level, ReplaceAttr: spellDurations}
	var handler slog.Handler = slog.NewJSONHandler(w, options)
	if cfg.Format == "text" {
		handler = slog.NewTextHandler(w, options)
	}
	logger := slog.New(contextHandler{handler})
	if cfg.Service != "" {
		logger = logger.With("service", cfg.Service)
	}
	return logger
}

// spellDurations writes durations as people read them: JSON would have
// nanoseconds.
func spellDurations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// propagator carries W3C trace context and baggage.
func propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r.AddAttrs(slog.String("request_id", id))
	}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}
