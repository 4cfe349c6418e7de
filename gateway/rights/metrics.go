package rights

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	failures prometheus.Counter
	restored prometheus.Counter
}

func newMetrics(registry prometheus.Registerer, m *Mirror) (*metrics, error) {
	out := &metrics{
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_gateway_database_failures_total", Help: "Reads and changes of keys, roles and grants that the gateway's database did not answer.",
		}),
		restored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_gateway_rights_restored_total", Help: "Times that the end of keys, roles or grants was stored again, because the database had lost it.",
		}),
	}
	for _, c := range []prometheus.Collector{
		out.failures, out.restored,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "modelserve_gateway_rights_age_seconds", Help: "How old what is known of keys, roles and grants is at most; -1 before it was first read.",
		}, func() float64 {
			if asOf := m.view.Load().asOf; !asOf.IsZero() {
				return time.Since(asOf).Seconds()
			}
			return -1
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "modelserve_gateway_rights_generation", Help: "The newest change of keys, roles and grants that is known here.",
		}, func() float64 { return float64(m.view.Load().position.Number) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "modelserve_gateway_keys", Help: "Keys that are known and not revoked.",
		}, func() float64 { return float64(m.State().Keys()) }),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of keys, roles and grants: %w", err)
		}
	}
	return out, nil
}
