package batch

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxModels bounds the models that get label values of their own; the others
// share one.
const maxModels = 1000

// Metrics are the measures of schedulers. A nil one counts nothing.
type Metrics struct {
	queue   *prometheus.GaugeVec
	wait    *prometheus.HistogramVec
	rows    *prometheus.HistogramVec
	runs    *prometheus.HistogramVec
	refuse  *prometheus.CounterVec
	padding *prometheus.CounterVec
	misfits *prometheus.CounterVec

	mu    sync.Mutex
	known map[string]*queueMetrics
}

// NewMetrics makes and registers them.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	times := prometheus.ExponentialBuckets(0.00005, 2, 21) // 50 µs to 52 s
	m := &Metrics{
		queue: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "modelserve_batch_queue_length", Help: "Requests that wait for a run.",
		}, []string{"model"}),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelserve_batch_wait_seconds", Help: "Time from a request's arrival to the start of its run.", Buckets: times,
		}, []string{"model"}),
		rows: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelserve_batch_rows", Help: "Rows of each run.", Buckets: prometheus.ExponentialBuckets(1, 2, knots),
		}, []string{"model"}),
		runs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelserve_batch_run_seconds", Help: "Time of each run in the model.", Buckets: times,
		}, []string{"model"}),
		refuse: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_batch_refused_total", Help: "Requests that were not run: queue_full, pushed_out (by a tenant with less in a full queue), deadline, cancelled.",
		}, []string{"model", "reason"}),
		padding: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_batch_ragged_elements_total", Help: "Elements of inputs with a ragged axis that were joined, by kind: own or padding.",
		}, []string{"model", "kind"}),
		misfits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_batch_misfits_total", Help: "Joined, split or padded runs whose outputs were not what was proven of the model, by rule: rows (nothing is joined any more) or ragged (only equal lengths are). They ran again one by one.",
		}, []string{"model", "rule"}),
		known: map[string]*queueMetrics{},
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.queue, m.wait, m.rows, m.runs, m.refuse, m.padding, m.misfits} {
		if err := registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// queueMetrics are those of one model, looked up once.
type queueMetrics struct {
	queue            prometheus.Gauge
	wait, rows, runs prometheus.Observer
	reasons          map[string]prometheus.Counter
	own, padding     prometheus.Counter
	misfits          map[string]prometheus.Counter // by rule
}

// of finds the metrics of a model; nil when there are none.
func (m *Metrics) of(model string) *queueMetrics {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if q := m.known[model]; q != nil {
		return q
	}
	if len(m.known) >= maxModels {
		model = "other"
	}
	q := &queueMetrics{
		queue: m.queue.WithLabelValues(model), wait: m.wait.WithLabelValues(model),
		rows: m.rows.WithLabelValues(model), runs: m.runs.WithLabelValues(model),
		reasons: map[string]prometheus.Counter{},
		own:     m.padding.WithLabelValues(model, "own"), padding: m.padding.WithLabelValues(model, "padding"),
		misfits: map[string]prometheus.Counter{},
	}
	for _, rule := range []string{RuleRows, RuleRagged} {
		q.misfits[rule] = m.misfits.WithLabelValues(model, rule)
	}
	for _, reason := range []string{"queue_full", "pushed_out", "deadline", "cancelled"} {
		q.reasons[reason] = m.refuse.WithLabelValues(model, reason)
	}
	m.known[model] = q
	return q
}

func (q *queueMetrics) waiting(by float64) {
	if q != nil {
		q.queue.Add(by)
	}
}

func (q *queueMetrics) waited(d time.Duration) {
	if q != nil {
		q.wait.Observe(d.Seconds())
	}
}

func (q *queueMetrics) ran(rows int, took time.Duration) {
	if q != nil {
		q.rows.Observe(float64(rows))
		q.runs.Observe(took.Seconds())
	}
}

func (q *queueMetrics) refused(reason string) {
	if q != nil {
		q.reasons[reason].Inc()
	}
}

func (q *queueMetrics) misfit(rule string) {
	if q != nil {
		q.misfits[rule].Inc()
	}
}

func (q *queueMetrics) padded(padding, all int64) {
	if q != nil && all > 0 {
		q.padding.Add(float64(padding))
		q.own.Add(float64(all - padding))
	}
}
