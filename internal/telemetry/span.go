package telemetry

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// outcome is what those who answer a request know of it for its span.
type outcome struct {
	route string
	err   error
}

type outcomeKey struct{}

// SetRoute names the endpoint that a request came to, by its pattern. Without
// it the pattern is the ServeMux's; a handler of what is no endpoint empties it.
func SetRoute(ctx context.Context, route string) {
	if o, ok := ctx.Value(outcomeKey{}).(*outcome); ok {
		o.route = route
	}
}

// SetError tells what a request was answered with.
func SetError(ctx context.Context, err error) {
	if o, ok := ctx.Value(outcomeKey{}).(*outcome); ok {
		o.err = err
	}
}

// isProbe reports whether a path is asked over and over by what watches a
// process, and tells of nobody's request.
func isProbe(path string) bool {
	switch path {
	case "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready":
		return true
	}
	return strings.HasPrefix(path, "/grpc.health.v1.Health/")
}

// traced runs next in a span with its route, its status and its error
// (OpenTelemetry's semantic conventions for HTTP and RPC servers).
func (t *Telemetry) traced(ctx context.Context, w http.ResponseWriter, r *http.Request, id string, next http.Handler) {
	ctx, span := t.Tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	o := &outcome{}
	r = r.WithContext(context.WithValue(ctx, outcomeKey{}, o))
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(w.Header()))
	if !span.IsRecording() {
		next.ServeHTTP(w, r)
		return
	}
	span.SetAttributes(
		attribute.String("http.request.method", r.Method),
		attribute.String("url.path", r.URL.Path),
		attribute.String("modelserve.request_id", id))
	recorder := &statusRecorder{ResponseWriter: w}
	defer func() {
		cause := recover()
		finish(span, r, recorder, o, cause != nil)
		if cause != nil {
			panic(cause) // whoever is above knows what to do
		}
	}()
	next.ServeHTTP(recorder, r)
}

// finish writes down how a request ended.
func finish(span trace.Span, r *http.Request, w *statusRecorder, o *outcome, panicked bool) {
	if o.route == "" {
		o.route = routeOf(r.Pattern)
	}
	if o.route != "" {
		span.SetAttributes(attribute.String("http.route", o.route))
		span.SetName(r.Method + " " + o.route)
	}
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	refused, failed, kind := status >= http.StatusBadRequest, status >= http.StatusInternalServerError, strconv.Itoa(status)
	if code, ok := grpcStatus(w.Header()); ok {
		span.SetAttributes(attribute.String("rpc.system", "grpc"), attribute.Int("rpc.grpc.status_code", code))
		refused, failed, kind = code != 0, serverFault(code), strconv.Itoa(code)
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	// An answer of another process that is passed on has a status, and no error.
	if !refused && !panicked && o.err == nil {
		return
	}
	span.SetAttributes(attribute.String("error.type", kind))
	if o.err != nil {
		span.RecordError(o.err)
	}
	if failed || panicked { // a caller's own fault is no error of a server's span
		description := ""
		if o.err != nil {
			description = o.err.Error()
		}
		span.SetStatus(codes.Error, description)
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

// statusRecorder remembers the status that was answered.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusRecorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *statusRecorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Flush passes on; those who stream look for it.
func (w *statusRecorder) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush() // one that cannot has nothing to flush
}

// Unwrap lets http.ResponseController find what is below.
func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
