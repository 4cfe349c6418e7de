package serve

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// maxModels bounds the model versions that get label values of their own; the
// others share one.
const maxModels = 1000

// The protocols a call may come by, as metrics label them.
const (
	protocolREST       = "rest"
	protocolGRPC       = "grpc"
	protocolStream     = "grpc-stream"
	protocolNative     = "native"
	protocolCloudEvent = "cloudevent"
)

// metrics are the server's measures. Only models that were leased become label
// values: a client cannot make any by asking.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	parts    *prometheus.HistogramVec
	inflight *prometheus.GaugeVec
	received *prometheus.CounterVec
	sent     *prometheus.CounterVec

	mu    sync.Mutex
	known map[[2]string]struct{}
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 18) // 0.5 ms to 65 s
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_requests_total", Help: "Inference requests answered, by the code of their outcome.",
		}, []string{"model", "version", "protocol", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelserve_request_duration_seconds", Help: "Time from a request's head to the end of its answer.", Buckets: buckets,
		}, []string{"model", "protocol"}),
		parts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelserve_request_part_seconds", Help: "Where a request's time went: queue, batch, infer, and on a cold one fetch, verify, load, warm.", Buckets: buckets,
		}, []string{"model", "part"}),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "modelserve_requests_in_flight", Help: "Inference requests begun and not answered.",
		}, []string{"protocol"}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_request_bytes_total", Help: "Bytes of inference requests, decompressed.",
		}, []string{"model", "protocol"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_response_bytes_total", Help: "Bytes of inference answers, before compression.",
		}, []string{"model", "protocol"}),
		known: map[[2]string]struct{}{},
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.parts, m.inflight, m.received, m.sent} {
		if err := registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// labels are the label values for what a call leased.
func (m *metrics) labels(info *ModelInfo) (model, version string) {
	if info == nil {
		return "", ""
	}
	key := [2]string{info.Name, info.Version}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.known[key]; !ok {
		if len(m.known) >= maxModels {
			return "other", "other"
		}
		m.known[key] = struct{}{}
	}
	return info.Name, info.Version
}

// call is what is measured of one inference.
type call struct {
	protocol string
	start    time.Time
	info     *ModelInfo // nil while no model was leased
	alias    string     // that decided on the version; "" when none did
	timing   infer.Timing
	received int64
	sent     int64
}

func (m *metrics) begin(protocol string) *call {
	m.inflight.WithLabelValues(protocol).Inc()
	return &call{protocol: protocol, start: time.Now()}
}

// end counts the call with its outcome. A sampled trace's id goes with its
// duration as an exemplar.
func (m *metrics) end(ctx context.Context, c *call, err error) {
	m.inflight.WithLabelValues(c.protocol).Dec()
	model, version := m.labels(c.info)
	code := "ok"
	if err != nil {
		code = string(problem.CodeOf(err))
	}
	m.requests.WithLabelValues(model, version, c.protocol, code).Inc()
	m.received.WithLabelValues(model, c.protocol).Add(float64(c.received))
	m.sent.WithLabelValues(model, c.protocol).Add(float64(c.sent))
	observe(ctx, m.duration.WithLabelValues(model, c.protocol), time.Since(c.start))
	if err != nil || c.info == nil {
		return
	}
	for i, p := range parts(&c.timing) {
		if i >= alwaysTold && p.time == 0 {
			continue
		}
		m.parts.WithLabelValues(model, p.name).Observe(p.time.Seconds())
	}
}

func observe(ctx context.Context, o prometheus.Observer, d time.Duration) {
	span := trace.SpanContextFromContext(ctx)
	if e, ok := o.(prometheus.ExemplarObserver); ok && span.HasTraceID() {
		e.ObserveWithExemplar(d.Seconds(), prometheus.Labels{"trace_id": span.TraceID().String()})
		return
	}
	o.Observe(d.Seconds())
}

// part is one entry of Server-Timing.
type part struct {
	name string
	time time.Duration
}

// alwaysTold is how many parts are told even when they took no time; the others
// only when a cold model was waited for.
const alwaysTold = 3

// parts are where a request's time went.
func parts(t *infer.Timing) [7]part {
	return [...]part{
		{"queue", t.Queue},
		{"batch", t.Input + t.Output},
		{"infer", t.Infer},
		{"fetch", t.Fetch},
		{"verify", t.Verify},
		{"load", t.Load},
		{"warm", t.Warm},
	}
}

// writeTiming sets the headers every answered inference carries.
func (c *call) writeTiming(h http.Header) {
	b := make([]byte, 0, 64)
	for i, p := range parts(&c.timing) {
		if i >= alwaysTold && p.time == 0 {
			continue
		}
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, p.name...)
		b = append(b, ";dur="...)
		b = strconv.AppendFloat(b, float64(p.time)/float64(time.Millisecond), 'f', 3, 64)
	}
	h.Set("Server-Timing", string(b))
	if c.info != nil {
		h.Set(ModelHeader, c.info.Name+"@"+c.info.Version+";digest="+c.info.Digest)
		h.Set(DeviceHeader, c.info.Device)
	}
	if c.alias != "" {
		h.Set(AliasHeader, c.alias)
	}
}

// add sums the timings of several runs.
func add(sum *infer.Timing, t infer.Timing) {
	sum.Queue += t.Queue
	sum.Input += t.Input
	sum.Infer += t.Infer
	sum.Output += t.Output
	sum.BatchSize += t.BatchSize
	sum.Fetch += t.Fetch
	sum.Verify += t.Verify
	sum.Load += t.Load
	sum.Warm += t.Warm
}
