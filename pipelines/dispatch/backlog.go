package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/pipelines/record"
)

// surveyEvery is between two counts of what waits.
const surveyEvery = 15 * time.Second

// stale is how long a count is shown.
const stale = 3 * surveyEvery

// backlog shows what was counted last of what waits. Nothing is shown that is not known:
// while the database is away there is no such metric.
type backlog struct {
	executions *prometheus.GaugeVec
	due, age   prometheus.Gauge

	mu sync.Mutex
	at time.Time // of the last count; zero before the first
}

func newBacklog() *backlog {
	return &backlog{
		executions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "modelserve_pipelines_executions", Help: "Executions that have not ended, of all replicas, by status: queued (also those of a later time) and running.",
		}, []string{"status"}),
		due: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "modelserve_pipelines_due", Help: "Starts, sendings, leases and deadlines of executions whose time has come and that no replica has taken.",
		}),
		age: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "modelserve_pipelines_due_age_seconds", Help: "How long the one has been due of these that has been so longest.",
		}),
	}
}

func (b *backlog) set(n record.Backlog) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = time.Now()
	b.executions.WithLabelValues("queued").Set(float64(n.Queued))
	b.executions.WithLabelValues("running").Set(float64(n.Running))
	b.due.Set(float64(n.Due))
	b.age.Set(n.Age.Seconds())
}

func (b *backlog) all() []prometheus.Collector {
	return []prometheus.Collector{b.executions, b.due, b.age}
}

// Describe implements prometheus.Collector.
func (b *backlog) Describe(out chan<- *prometheus.Desc) {
	for _, c := range b.all() {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (b *backlog) Collect(out chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() || time.Since(b.at) > stale {
		return
	}
	for _, c := range b.all() {
		c.Collect(out)
	}
}

// survey counts what waits until Stop.
func (d *Dispatcher) survey(ctx context.Context) {
	tick := time.NewTicker(surveyEvery)
	defer tick.Stop()
	for {
		calling, cancel := context.WithTimeout(ctx, storeTime)
		n, err := d.Store.Backlog(calling)
		cancel()
		if err == nil {
			d.metrics.backlog.set(n)
		} // else whoever works with the database says so
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// mostNamed bounds the pipelines that metrics name. Tenants make up their names.
const mostNamed = 100

const otherPipelines = "_other"

// named are the pipelines that metrics name, the first ones.
type named struct {
	mu    sync.Mutex
	known map[string]bool
}

// label is the label value of a pipeline; "" of a call.
func (n *named) label(pipeline string) string {
	if pipeline == "" {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.known[pipeline]:
		return pipeline
	case len(n.known) >= mostNamed:
		return otherPipelines
	case n.known == nil:
		n.known = map[string]bool{}
	}
	n.known[pipeline] = true
	return pipeline
}
