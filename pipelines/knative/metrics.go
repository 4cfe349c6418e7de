package knative

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a Keeper counts.
type metrics struct {
	repairs  *prometheus.CounterVec
	removed  prometheus.Counter
	failures prometheus.Counter
	versions *prometheus.GaugeVec
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_pipeline_objects_repaired_total",
			Help: "Objects of pipelines that somebody changed or deleted and that were put back, by kind and by what had been done to them (changed, deleted).",
		}, []string{"kind", "was"}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_pipeline_objects_removed_total", Help: "Objects of pipelines that were removed, as no version needed them.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_pipeline_objects_failures_total", Help: "Writes of pipelines' objects that the API server refused or did not answer.",
		}),
		versions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "modelserve_pipeline_versions", Help: "Versions of pipelines whose objects are kept, by whether they are ready (ready, waiting).",
		}, []string{"state"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.repairs, m.removed, m.failures, m.versions} {
		errs = append(errs, registry.Register(c))
	}
	for _, kind := range kinds() {
		for _, was := range []string{wasChanged, wasDeleted} {
			m.repairs.WithLabelValues(kind.name, was)
		}
	}
	return m, errors.Join(errs...)
}
