package telemetry

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/modelserveai/modelserve/problem"
)

// outcome is what those who answer a request know of it for its span.
type outcome struct {
	url   *url.URL
	route string
	code  problem.Code // of the error; "" is none
	text  string
}

type outcomeKey struct{}

// outcomeOf is the request's outcome; one nobody reads where there is none.
func outcomeOf(ctx context.Context) *outcome {
	if o, ok := ctx.Value(outcomeKey{}).(*outcome); ok {
		return o
	}
	return &outcome{}
}

// SetRoute names the endpoint that a request came to, by its pattern. Without
// it the pattern is the ServeMux's; a handler of what is no endpoint empties it.
func SetRoute(ctx context.Context, route string) {
	outcomeOf(ctx).route = route
}

// SetError notes the error that a request was answered with: its code, and a text
// that may be exported.
func SetError(ctx context.Context, code problem.Code, text string) {
	o := outcomeOf(ctx)
	o.code, o.text = code, text
}

// isProbe reports whether a path is asked over and over by what watches a
// process, and is of nobody's request.
func isProbe(path string) bool {
	switch path {
	case "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready":
		return true
	}
	return strings.HasPrefix(path, "/grpc.health.v1.Health/")
}

// traced runs next in the span that otelhttp makes of a request (OpenTelemetry's
// semantic conventions for HTTP servers), and adds what that does not know: the
// route, which is the span's name, the request's id, gRPC's status and the error.
// The span has no path but the route: a caller's may hold a secret.
func (t *Telemetry) traced(next http.Handler) http.Handler {
	spans := otelhttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		span := trace.SpanFromContext(r.Context())
		propagation.TraceContext{}.Inject(r.Context(), propagation.HeaderCarrier(w.Header()))
		o := outcomeOf(r.Context())
		r.URL = o.url
		defer func() {
			cause := recover()
			finish(span, r, w.Header(), o, cause != nil)
			if cause != nil {
				panic(cause) // whoever is above knows what to do
			}
		}()
		next.ServeHTTP(w, r)
	}), "", otelhttp.WithTracerProvider(t.provider), otelhttp.WithMeterProvider(noop.NewMeterProvider()),
		otelhttp.WithPropagators(propagator()), otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return spanName(r) }))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), outcomeKey{}, &outcome{url: r.URL}))
		r.URL = &url.URL{}
		spans.ServeHTTP(w, r)
	})
}

// spanName is the method and the route, as far as it is known.
func spanName(r *http.Request) string {
	method := r.Method
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace:
	default:
		method = "HTTP" // a caller's own word is no name (semantic conventions)
	}
	if route := outcomeOf(r.Context()).route; route != "" {
		return method + " " + route
	}
	return method
}

// finish writes down how a request ended; its HTTP status otelhttp does.
func finish(span trace.Span, r *http.Request, answer http.Header, o *outcome, panicked bool) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("modelserve.request_id", RequestID(r.Context())))
	if o.route == "" {
		o.route = routeOf(r.Pattern)
	}
	if o.route != "" {
		span.SetAttributes(attribute.String("http.route", o.route))
		span.SetName(spanName(r))
	}
	kind, failed := string(o.code), panicked
	if o.code != "" {
		span.AddEvent(semconv.ExceptionEventName, trace.WithAttributes(semconv.ExceptionType(kind), semconv.ExceptionMessage(o.text)))
	}
	if code, ok := grpcStatus(answer); ok {
		span.SetAttributes(attribute.String("rpc.system", "grpc"), attribute.Int("rpc.grpc.status_code", code))
		if failed = failed || serverFault(code); code != 0 {
			kind = strconv.Itoa(code)
		}
	}
	if panicked {
		kind = "panic"
	}
	if kind != "" {
		span.SetAttributes(attribute.String("error.type", kind))
	}
	if failed { // a caller's own fault is no error of a server's span
		span.SetStatus(codes.Error, "")
	}
}

// routeOf is the path of a ServeMux's pattern ("POST /x/{$}").
func routeOf(pattern string) string {
	if _, path, ok := strings.Cut(pattern, " "); ok {
		pattern = path
	}
	return strings.TrimSuffix(pattern, "{$}")
}

// grpcStatus is the status of a gRPC answer, as connect-go sets it.
func grpcStatus(h http.Header) (code int, ok bool) {
	for _, name := range []string{http.TrailerPrefix + "Grpc-Status", "Grpc-Status"} {
		if code, err := strconv.Atoi(h.Get(name)); err == nil {
			return code, true
		}
	}
	return 0, false
}

// serverFault reports whether a gRPC status is an error of the server's span, by
// the conventions: Unknown, DeadlineExceeded, Unimplemented, Internal,
// Unavailable and DataLoss.
func serverFault(code int) bool {
	switch code {
	case 2, 4, 12, 13, 14, 15:
		return true
	}
	return false
}
