package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The values that OpenTelemetry's variables may have here.
const (
	exporterOTLP = "otlp"
	exporterNone = "none"
	protocolHTTP = "http/protobuf"
	protocolGRPC = "grpc"
)

// newExporter makes what spans are sent with; nil where none are. Endpoints,
// headers, timeouts and certificates are read by the exporters themselves. A
// value that is not known is logged and ignored, as OpenTelemetry asks of every
// SDK.
func newExporter(ctx context.Context, cfg Config, logger *slog.Logger) (sdktrace.SpanExporter, error) {
	if !wanted(cfg, logger) {
		return nil, nil //nolint:nilnil // no spans are sent
	}
	protocol, variable := cfg.TracesProtocol, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	if protocol == "" {
		protocol, variable = cfg.Protocol, "OTEL_EXPORTER_OTLP_PROTOCOL"
	}
	switch protocol {
	case "", protocolHTTP, protocolGRPC:
	default:
		logger.Warn("unknown value: "+protocolHTTP+" is used", "variable", variable, "value", protocol, "known", protocolHTTP+", "+protocolGRPC)
	}
	var exporter sdktrace.SpanExporter
	var err error
	if protocol == protocolGRPC {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("start the OTLP exporter: %w", err)
	}
	return exporter, nil
}

// wanted reports whether spans are to be sent: where an endpoint is set, or
// OTLP is asked for by name, and nothing disables it.
func wanted(cfg Config, logger *slog.Logger) bool {
	if strings.EqualFold(strings.TrimSpace(cfg.Disabled), "true") {
		return false
	}
	if cfg.Exporters == "" {
		return cfg.Endpoint != "" || cfg.TracesEndpoint != ""
	}
	otlp := false
	for name := range strings.SplitSeq(cfg.Exporters, ",") {
		switch name = strings.TrimSpace(name); name {
		case exporterNone:
			return false
		case exporterOTLP:
			otlp = true
		default:
			logger.Warn("unknown value: ignored", "variable", "OTEL_TRACES_EXPORTER", "value", name, "known", exporterOTLP+", "+exporterNone)
		}
	}
	return otlp
}
