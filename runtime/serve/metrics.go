package serve

import (
	"context"
	"math/bits"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// maxModels bounds the model versions that get label values of their own; the
// others share one.
const maxModels = 1000

// leastBucket is the first bucket of durations, each next being twice as long.
const leastBucket = 500 * time.Microsecond

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

	mu     sync.Mutex
	known  map[[2]string]struct{}
	series map[seriesKey]*series
}

// seriesKey is whose series they are.
type seriesKey struct{ model, version, protocol string }

// series are what a call that was answered counts in, looked up once.
type series struct {
	requests, received, sent prometheus.Counter
	duration                 prometheus.Observer
	parts                    [alwaysReported]prometheus.Observer
	exemplars                [exemplarKinds]atomic.Int64 // when each kind last had one, in ns
}

func newMetrics(registerer prometheus.Registerer, account *memory.Account) (*metrics, error) {
	buckets := prometheus.ExponentialBuckets(leastBucket.Seconds(), 2, 18) // to 65 s
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
		known:  map[[2]string]struct{}{},
		series: map[seriesKey]*series{},
	}
	if registerer == nil {
		return m, nil
	}
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "modelserve_requests_memory_bytes", Help: "Bytes of memory that are charged to requests: their bodies, what is decoded of them, and answers until they are written.",
	}, func() float64 { return float64(account.Used()) })
	most := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "modelserve_requests_memory_limit_bytes", Help: "Bytes of memory that requests may hold at once; one tenant may hold half of them.",
	}, func() float64 { return float64(account.Size()) })
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.parts, m.inflight, m.received, m.sent, held, most} {
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

// of finds the series of a call that was answered.
func (m *metrics) of(c *call) *series {
	model, version := m.labels(c.info)
	key := seriesKey{model, version, c.protocol}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.series[key]
	if s == nil {
		s = &series{
			requests: m.requests.WithLabelValues(model, version, c.protocol, codeOK),
			received: m.received.WithLabelValues(model, c.protocol),
			sent:     m.sent.WithLabelValues(model, c.protocol),
			duration: m.duration.WithLabelValues(model, c.protocol),
		}
		all := parts(&c.timing)
		for i := range s.parts {
			s.parts[i] = m.parts.WithLabelValues(model, all[i].name)
		}
		m.series[key] = s
	}
	return s
}

// codeOK is the code of a call that was answered.
const codeOK = "ok"

// call is what is measured of one inference.
type call struct {
	protocol string
	start    time.Time
	info     *ModelInfo // nil while no model was leased
	alias    string     // that decided on the version; "" when none did
	timing   infer.Timing
	usage    infer.Usage
	received int64
	sent     int64
}

func (m *metrics) begin(protocol string) *call {
	m.inflight.WithLabelValues(protocol).Inc()
	return &call{protocol: protocol, start: time.Now()}
}

// end counts the call with its outcome. A trace's id goes with its duration as
// an exemplar.
func (m *metrics) end(ctx context.Context, c *call, err error) {
	m.inflight.WithLabelValues(c.protocol).Dec()
	if err == nil && c.info != nil {
		m.answered(ctx, c)
		return
	}
	model, version := m.labels(c.info)
	code := codeOK
	if err != nil {
		code = string(problem.CodeOf(err))
	}
	m.requests.WithLabelValues(model, version, c.protocol, code).Inc()
	m.received.WithLabelValues(model, c.protocol).Add(float64(c.received))
	m.sent.WithLabelValues(model, c.protocol).Add(float64(c.sent))
	observe(ctx, m.duration.WithLabelValues(model, c.protocol), time.Since(c.start))
}

// answered counts a call that a model answered.
func (m *metrics) answered(ctx context.Context, c *call) {
	s := m.of(c)
	s.requests.Inc()
	s.received.Add(float64(c.received))
	s.sent.Add(float64(c.sent))
	if now := time.Now(); s.wantsExemplar(now, now.Sub(c.start)) {
		observe(ctx, s.duration, now.Sub(c.start))
	} else {
		s.duration.Observe(now.Sub(c.start).Seconds())
	}
	for i, p := range parts(&c.timing) {
		switch {
		case i < alwaysReported:
			s.parts[i].Observe(p.time.Seconds())
		case p.time > 0:
			model, _ := m.labels(c.info)
			m.parts.WithLabelValues(model, p.name).Observe(p.time.Seconds())
		}
	}
}

// A bucket of the durations holds one exemplar, the last: one that would be
// replaced before anybody reads it is not made. Durations of a kind lie in one
// bucket.
const (
	exemplarKinds = 20
	exemplarEvery = 100 * time.Millisecond
)

// wantsExemplar reports whether a call that took so long gives an exemplar.
func (s *series) wantsExemplar(now time.Time, took time.Duration) bool {
	kind := bits.Len64(uint64(max(took, 0) / leastBucket))
	last, at := &s.exemplars[min(kind, exemplarKinds-1)], now.UnixNano()
	before := last.Load()
	return at-before >= int64(exemplarEvery) && last.CompareAndSwap(before, at)
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

// alwaysReported is how many parts are reported even when they took no time; the
// others are only when a cold model was waited for.
const alwaysReported = 3

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
	var scratch [128]byte
	b := scratch[:0]
	for i, p := range parts(&c.timing) {
		if i >= alwaysReported && p.time == 0 {
			continue
		}
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, p.name...)
		b = append(b, ";dur="...)
		b = strconv.AppendFloat(b, float64(p.time)/float64(time.Millisecond), 'f', 3, 64)
	}
	values := make([]string, 0, 5) // of all, in one piece of memory
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set(infer.TimingHeader, string(b))
	set(infer.CostHeader, c.usage.String())
	if c.info != nil {
		set(infer.ModelHeader, c.info.Name+"@"+c.info.Version+";digest="+c.info.Digest)
		set(infer.DeviceHeader, c.info.Device)
	}
	if c.alias != "" {
		set(infer.AliasHeader, c.alias)
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
