package pool

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// metrics are the pool's measures. None has a model in its labels: as many may
// be published as tenants like.
type metrics struct {
	loads     *prometheus.CounterVec
	parts     *prometheus.HistogramVec
	evictions *prometheus.CounterVec
	swaps     *prometheus.CounterVec
}

// The outcomes of loads and swaps, as metrics label them.
const (
	outcomeOK      = "ok"
	outcomeFailed  = "failed"
	outcomeNoRoom  = "no_room"
	outcomeStopped = "stopped"
)

func newMetrics(registerer prometheus.Registerer, p *Pool) (*metrics, error) {
	m := &metrics{
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_model_loads_total", Help: "Loads of model versions ended, by outcome: ok, failed, no_room, stopped.",
		}, []string{"outcome"}),
		parts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelserve_model_load_part_seconds", Help: "Where a load's time went: fetch, verify, load, warm.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18), // 0.5 ms to 65 s
		}, []string{"part"}),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_model_evictions_total", Help: "Model versions let go, by reason: memory, count, superseded, deleted, unload.",
		}, []string{"reason"}),
		swaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_model_swaps_total", Help: "Loads of a version beside the one it replaces, by outcome: ok, failed, no_room, stopped.",
		}, []string{"outcome"}),
	}
	if registerer == nil {
		return m, nil
	}
	memory := func(kind string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{
			Name: "modelserve_models_memory_bytes", Help: "Memory of models: the budget (0 is none), and what is in use (used).",
			ConstLabels: prometheus.Labels{"kind": kind},
		}
	}
	gauge := func(opts prometheus.GaugeOpts, value func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(opts, func() float64 {
			p.mu.Lock()
			defer p.mu.Unlock()
			return float64(value())
		})
	}
	for _, c := range []prometheus.Collector{
		m.loads, m.parts, m.evictions, m.swaps,
		gauge(memory("budget"), func() int64 { return p.memory.budget }),
		gauge(memory("used"), func() int64 { return p.memory.used }),
		gauge(prometheus.GaugeOpts{Name: "modelserve_models_loaded", Help: "Model versions in memory."}, p.countReady),
	} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register the pool's metrics: %w", err)
		}
	}
	return m, nil
}

// loaded counts a load that succeeded.
func (m *metrics) loaded(e *entry, t *infer.Timing) {
	m.count(e, outcomeOK)
	for part, took := range map[string]time.Duration{"fetch": t.Fetch, "verify": t.Verify, "load": t.Load, "warm": t.Warm} {
		m.parts.WithLabelValues(part).Observe(took.Seconds())
	}
}

// failed counts one that did not.
func (m *metrics) failed(e *entry, err error, stopped bool) {
	switch {
	case stopped:
		m.count(e, outcomeStopped)
	case e.failedForMemory || problem.CodeOf(err) == problem.Overloaded:
		m.count(e, outcomeNoRoom)
	default:
		m.count(e, outcomeFailed)
	}
}

func (m *metrics) count(e *entry, outcome string) {
	m.loads.WithLabelValues(outcome).Inc()
	if e.beside {
		m.swaps.WithLabelValues(outcome).Inc()
	}
}

// countReady counts the versions that answer at once.
func (p *Pool) countReady() int64 {
	var n int64
	for _, e := range p.entries {
		if e.ready() {
			n++
		}
	}
	return n
}
