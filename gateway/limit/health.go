package limit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Counts are probed whether or not there are calls: two probes that fail take less than
// a second.
const (
	probeEvery = 150 * time.Millisecond
	probeWait  = 400 * time.Millisecond
)

// health is whether the counts work. Two failures in a row are needed to say that they
// do not, and one success that they do, of what writes: a Redis that takes no writes
// refuses calls as ever, and whoever is refused in a loop must not hide it. It begins by
// saying that they do.
type health struct {
	logger *slog.Logger
	gauge  prometheus.Gauge
	needed atomic.Bool // there are rules
	down   atomic.Bool

	mu     sync.Mutex
	failed int // in a row
}

func (h *health) isUp() bool { return !h.down.Load() }

// note notes how a call of the counts ended, and whether it is known to have written.
func (h *health) note(err error, wrote bool) {
	if err == nil && !wrote {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.failed = 0
		if h.down.Load() {
			h.gauge.Set(1)
			h.logger.Info("the limits' Redis answers again")
			h.down.Store(false)
		}
		return
	}
	h.failed++
	if h.failed >= 2 && !h.down.Load() {
		h.gauge.Set(0)
		h.logger.Error("the limits' Redis cannot be reached: what limits do is as redis_down says", "error", err)
		h.down.Store(true)
	}
}

// run probes until ctx ends.
func (h *health) run(ctx context.Context, probe func(context.Context) error) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		if h.needed.Load() {
			bounded, cancel := context.WithTimeout(ctx, probeWait)
			err := probe(bounded)
			cancel()
			if ctx.Err() != nil {
				return
			}
			h.note(err, err == nil)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// metrics are what is counted of limits.
type metrics struct {
	refused, over *prometheus.CounterVec
	unlimited     prometheus.Counter
	up            prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_gateway_limited_total", Help: "Calls that a limit refused, by the limit.",
		}, []string{"limit"}),
		over: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_gateway_over_quota_total", Help: "Calls over a quota that only reports, by the limit.",
		}, []string{"limit"}),
		unlimited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_gateway_undecided_total", Help: "Calls that limits were for while their Redis could not be reached.",
		}),
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "modelserve_gateway_limits_up", Help: "1, or 0 while the Redis of the limits cannot be reached.",
		}),
	}
	for _, c := range []prometheus.Collector{m.refused, m.over, m.unlimited, m.up} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of limits: %w", err)
		}
	}
	return m, nil
}
