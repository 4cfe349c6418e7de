package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// noRoute is the route of a request that came to no endpoint.
const noRoute = "none"

// ServeHTTP makes a call of a request, logs and counts it, once, and turns a panic
// into its 500.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := &call.Call{
		Protocol: protocolOf(r), Source: r.RemoteAddr, Host: r.Host, Path: r.URL.Path, Header: r.Header, Log: &call.Entry{Route: noRoute},
	}
	rec := &recorder{ResponseWriter: w, call: c}
	g.metrics.inFlight.Inc()
	defer func() {
		g.metrics.inFlight.Dec()
		if cause := recover(); cause != nil {
			g.recovered(c, rec, r, cause)
		}
		took := time.Since(began)
		if !c.Log.Aborted && rec.Header().Get("Content-Length") != "" {
			rec.Flush() // the answer is whole: its caller need not wait for the log
		}
		g.logAndCount(c, rec, r, took)
		g.meterRequest(c, rec)
		if c.Log.Aborted {
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
	}()
	if err := g.door.Refuse(r.Context(), c, g.enter(c, rec, r)); err != nil {
		g.fail(c, rec, r, err)
	}
}

func (g *gateway) recovered(c *call.Call, rec *recorder, r *http.Request, cause any) {
	o := c.Log
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		o.Aborted = true
		if o.Err = r.Context().Err(); o.Err == nil {
			o.Err = problem.New(problem.BadGateway, "the function's answer broke off")
		}
		return
	}
	err := fmt.Errorf("panic: %v", cause)
	g.deps.Telemetry.Logger.ErrorContext(r.Context(), "panic", "error", err, "stack", string(debug.Stack()))
	if rec.status != 0 {
		o.Aborted, o.Err = true, err
		return
	}
	g.fail(c, rec, r, err)
}

// logAndCount writes the access log's line and counts. Neither has a path, a query or
// a header in it, but for a model's name and version: those are the caller's, and
// may hold a secret. What an error repeats of them, and of the body, is written
// without credentials.
func (g *gateway) logAndCount(c *call.Call, rec *recorder, r *http.Request, took time.Duration) {
	o := c.Log
	status := statusLabel(rec.status)
	if o.GRPC != "" {
		status = o.GRPC
	}
	if o.Route != noRoute {
		telemetry.SetRoute(r.Context(), o.Route)
	}
	if o.Err != nil {
		telemetry.SetError(r.Context(), problemgrpc.CodeOf(o.Err), textOf(o.Err))
	}
	g.metrics.requests.WithLabelValues(o.Route, o.Function, status).Inc()
	g.metrics.seconds.WithLabelValues(o.Route, o.Function).Observe(took.Seconds())
	level := levelOf(o.Err)
	if o.Err == nil {
		level = levelOfStatus(rec.status)
	}
	g.metrics.byTenant.WithLabelValues(g.metrics.tenants.label(c.Principal), o.Route, outcomeOf(level)).Inc()

	if o.Err == nil && isProbe(o.Route) {
		return
	}
	g.line(r.Context(), level, "request", o,
		slog.String("method", r.Method), slog.String("route", o.Route), slog.String("status", status),
		slog.Int64("bytes", rec.bytes), slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("timing", strings.Join(rec.Header().Values(infer.TimingHeader), ", ")))
}

// messageEnded counts a stream's message, and writes the line of one that was answered
// with an error: the stream's own has those alone that end it.
func (g *gateway) messageEnded(ctx context.Context, c *call.Call, in, out int64) {
	o := c.Log
	g.meter(c, statusOf(o.Err), in, out)
	if o.Err == nil || ctx.Err() != nil { // the stream has ended, and says why
		return
	}
	g.line(ctx, levelOf(o.Err), "message", o, slog.String("route", o.Route), slog.String("status", o.GRPC))
}

// line writes a line of the access log, where it may: attrs, and what there is of an
// entry.
func (g *gateway) line(ctx context.Context, level slog.Level, what string, o *call.Entry, attrs ...slog.Attr) {
	logger := g.deps.Telemetry.Logger
	if !logger.Enabled(ctx, level) {
		return
	}
	ok, leftOut := g.lines.take(level, time.Now())
	if !ok {
		return
	}
	attrs = append(attrs,
		slog.String("tenant", o.Tenant), slog.String("principal", o.Principal), slog.String("function", o.Function),
		slog.String("model", o.Model), slog.String("version", o.Version))
	attrs = slices.DeleteFunc(attrs, func(a slog.Attr) bool { return a.Value.String() == "" })
	if telemetry.RequestIDIsGiven(ctx) {
		attrs = append(attrs, slog.Bool("request_id_given", true)) // by the caller: another's may be the same
	}
	if leftOut > 0 {
		attrs = append(attrs, slog.Int("left_out", leftOut)) // lines of this kind, before this one
	}
	if o.Err != nil {
		attrs = append(attrs, slog.String("code", string(problemgrpc.CodeOf(o.Err))), slog.String("error", textOf(o.Err)))
	}
	logger.LogAttrs(ctx, level, what, attrs...)
}

// textOf is an error's text for a line.
func textOf(err error) string { return withoutCredentials(chain(err)) }

// levelOf is the level of a request's line: what went well is information, what
// the caller did wrong a warning, what we did wrong an error.
func levelOf(err error) slog.Level {
	switch {
	case err == nil:
		return slog.LevelInfo
	case problemgrpc.CodeOf(err).Ours():
		return slog.LevelError
	default:
		return slog.LevelWarn
	}
}

// outcomeOf is how a call ended, by the level of its line.
func outcomeOf(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "failed"
	case level >= slog.LevelWarn:
		return "refused"
	default:
		return "good"
	}
}

// chain is an error with its causes, which a problem's own text may leave out.
func chain(err error) string {
	text := err.Error()
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(cause) {
		if inner := cause.Error(); !strings.Contains(text, inner) {
			text += ": " + inner
		}
	}
	return text
}

func statusLabel(status int) string {
	switch {
	case status == 0:
		return strconv.Itoa(problem.StatusClientClosedRequest)
	case http.StatusText(status) == "" && status != problem.StatusClientClosedRequest:
		return "other"
	default:
		return strconv.Itoa(status)
	}
}

// recorder counts what is asked and answered, and adds what is known of the call to the
// answer.
type recorder struct {
	http.ResponseWriter
	call   *call.Call
	status int
	bytes  int64
	body   *body // of the request; nil where it is not looked at
}

// begin notes the answer's status, before its headers are sent.
func (r *recorder) begin(status int) {
	if r.status != 0 {
		return
	}
	r.status = status
	maps.Copy(r.Header(), r.call.Answer)
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if status >= http.StatusOK {
		r.begin(status)
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (r *recorder) Write(p []byte) (int, error) {
	r.begin(http.StatusOK)
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Flush implements http.Flusher, which connect asks for.
func (r *recorder) Flush() {
	r.begin(http.StatusOK)
	_ = http.NewResponseController(r.ResponseWriter).Flush() // one that cannot has nothing to flush
}

// Unwrap lets http.ResponseController reach the server's writer.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// metrics are the gateway's. Labels are endpoints, functions in the table, statuses
// and some tenants: all bounded, whatever callers send.
type metrics struct {
	tenants  *tenants
	requests *prometheus.CounterVec
	byTenant *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	refused  *prometheus.CounterVec
	messages *prometheus.CounterVec
	reruns   *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		tenants: newTenants(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_gateway_requests_total", Help: "Requests answered, by endpoint, function and HTTP or gRPC status.",
		}, []string{"route", "function", "status"}),
		byTenant: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_gateway_tenant_requests_total", Help: "Requests answered, by tenant, endpoint and outcome: good, refused (the caller's fault) or failed (ours).",
		}, []string{"tenant", "route", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelserve_gateway_request_seconds", Help: "Time from a request's headers to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18), // 0.5 ms to 65 s
		}, []string{"route", "function"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "modelserve_gateway_in_flight", Help: "Requests being answered.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_gateway_refused_total", Help: "Requests refused before they were routed, by code.",
		}, []string{"code"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_gateway_stream_messages_total", Help: "Messages of gRPC streams answered, by function and code.",
		}, []string{"function", "code"}),
		reruns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_gateway_reruns_total", Help: "Inferences run again since their function broke off before any of its answer came, by function.",
		}, []string{"function"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.byTenant, m.seconds, m.inFlight, m.refused, m.messages, m.reruns} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the gateway's metrics: %w", err)
		}
	}
	return m, nil
}
