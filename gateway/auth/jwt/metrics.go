package jwt

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are a Verifier's. Labels are configured issuers and outcomes of this
// package: bounded, whatever callers send.
type metrics struct {
	tokens  *prometheus.CounterVec
	cached  prometheus.Counter // of tokens, the one that counts on nearly every call
	fetches *prometheus.CounterVec
	keys    *prometheus.GaugeVec
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_gateway_tokens_total", Help: "Tokens checked, by outcome.",
		}, []string{"outcome"}),
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_gateway_issuer_fetches_total", Help: "Fetches of an issuer's keys, by issuer and outcome (good or failed).",
		}, []string{"issuer", "outcome"}),
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "modelserve_gateway_issuer_keys", Help: "Keys in use of an issuer, by issuer.",
		}, []string{"issuer"}),
	}
	for _, c := range []prometheus.Collector{m.tokens, m.fetches, m.keys} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of tokens: %w", err)
		}
	}
	m.cached = m.tokens.WithLabelValues(string(cached))
	return m, nil
}

func (m *metrics) token(o outcome) { m.tokens.WithLabelValues(string(o)).Inc() }

func (m *metrics) fetched(issuer string, err error) {
	outcome := "good"
	if err != nil {
		outcome = "failed"
	}
	m.fetches.WithLabelValues(issuer, outcome).Inc()
}

func (m *metrics) holds(issuer string, keys int) {
	m.keys.WithLabelValues(issuer).Set(float64(keys))
}

// forget drops an issuer that is configured no more.
func (m *metrics) forget(issuer string) {
	m.keys.DeleteLabelValues(issuer)
	m.fetches.DeletePartialMatch(prometheus.Labels{"issuer": issuer})
}
