// Package monitoring holds the alerts of config/monitoring to Prometheus' own checker, to
// the metrics that there are, and to what docs/operate.md says of them. It has no code.
package monitoring
