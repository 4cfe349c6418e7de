package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// drained counts what lifecycle.Drain reports.
type drained struct {
	bodies *prometheus.CounterVec
	bytes  prometheus.Counter
}

func newDrained() *drained {
	return &drained{
		bodies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_http_drained_bodies_total", Help: "Requests answered before their body had come, by whether the rest of it was awaited to its end (whole) or given up (cut).",
		}, []string{"end"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_http_drained_bytes_total", Help: "Bytes of such bodies that were read and thrown away.",
		}),
	}
}

// ConnectionRefused counts a connection that was closed since there were too many.
func (t *Telemetry) ConnectionRefused() { t.refused.Inc() }

func newRefused() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "modelserve_http_refused_connections_total", Help: "Connections that were closed at once, since all, or those of their address, took the memory there is for them.",
	})
}

// Drained counts a body that was drained: its bytes, and whether it ended.
func (t *Telemetry) Drained(bytes int64, whole bool) {
	end := "cut"
	if whole {
		end = "whole"
	}
	t.drained.bodies.WithLabelValues(end).Inc()
	t.drained.bytes.Add(float64(bytes))
}

// ListenMetrics opens the metrics port: cfg.MetricsAddress, or the first free
// one of the cfg.MetricsTries ports from there on.
func ListenMetrics(ctx context.Context, cfg Config) (net.Listener, error) {
	host, portText, err := net.SplitHostPort(cfg.MetricsAddress)
	if err != nil {
		return nil, fmt.Errorf("MODELSERVE_METRICS_ADDRESS: expected host:port: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("MODELSERVE_METRICS_ADDRESS: expected a numeric port: %w", err)
	}
	var listen net.ListenConfig
	for i := range max(1, cfg.MetricsTries) {
		address := net.JoinHostPort(host, strconv.Itoa(port+i))
		listener, err := listen.Listen(ctx, "tcp", address)
		if err == nil {
			return listener, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen for metrics: %w", err)
		}
	}
	if cfg.MetricsTries <= 1 {
		return nil, fmt.Errorf("listen for metrics: port %d is in use; name another in MODELSERVE_METRICS_ADDRESS (%s)", port, cfg.MetricsAddress)
	}
	return nil, fmt.Errorf("listen for metrics: every port from %d to %d is in use; name another in MODELSERVE_METRICS_ADDRESS (%s)",
		port, port+cfg.MetricsTries-1, cfg.MetricsAddress)
}

// MetricsServer serves the registry on /metrics, in OpenMetrics with exemplars
// to those who ask for it. On a loopback address it answers names of this machine and
// the host of cfg.MetricsAddress alone, and any address: a page in a browser here may
// have a name of its own lead to loopback (DNS rebinding), and no address.
func (t *Telemetry) MetricsServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{
		Registry:            t.Registry,
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	}))
	return &http.Server{
		Handler:           t.hosts(mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
}

// hosts refuses requests to loopback by a name that is none of this machine's.
func (t *Telemetry) hosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if at != nil && at.IP.IsLoopback() && !t.isLocal(r.Host) {
			http.Error(w, "metrics: expected a Host of this machine, such as localhost, or that of MODELSERVE_METRICS_ADDRESS", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (t *Telemetry) isLocal(host string) bool {
	name := host
	if alone, _, err := net.SplitHostPort(host); err == nil {
		name = alone
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || name != "" && name == t.metricsHost
}
