package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/internal/telemetry"
)

func newTelemetry(t *testing.T, w io.Writer) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "test", Version: "1"}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tel.Stop(context.WithoutCancel(t.Context())) })
	return tel
}

func TestMiddleware(t *testing.T) {
	t.Parallel()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for name, tc := range map[string]struct {
		id, traceparent string
		kept            bool
	}{
		"none":             {"", "", false},
		"a sane id":        {"order-17.2:a_b", "00-" + trace + "-00f067aa0ba902b7-01", true},
		"too long":         {strings.Repeat("a", 129), "", false},
		"breaks the log":   {"a b\tc", "", false},
		"not even a trace": {"x", "nonsense", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			tel := newTelemetry(t, &log)
			var inside string
			handler := tel.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				inside = telemetry.RequestID(r.Context())
				tel.Logger.InfoContext(r.Context(), "hello")
			}))
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.Header.Set(problem.RequestIDHeader, tc.id)
			r.Header.Set("traceparent", tc.traceparent)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)

			out := w.Header().Get(problem.RequestIDHeader)
			if inside == "" || inside != out || (inside == tc.id) != tc.kept {
				t.Errorf("sent %q, context has %q, answer has %q", tc.id, inside, out)
			}
			var record map[string]any
			if err := json.Unmarshal(log.Bytes(), &record); err != nil || record["request_id"] != inside {
				t.Errorf("log %q (%v) lacks the id %q", log.String(), err, inside)
			}
			if got := w.Header().Get("traceparent"); len(got) != 55 || (len(tc.traceparent) == 55 && !strings.Contains(got, trace)) {
				t.Errorf("traceparent in %q, out %q", tc.traceparent, got)
			}
		})
	}
}

func TestDurationsAreWrittenAsText(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		var log bytes.Buffer
		telemetry.NewLogger(telemetry.Config{Format: format}, &log).Info("x", "retry_in", 1500*time.Millisecond)
		if got := strings.ReplaceAll(log.String(), `"`, ""); !strings.Contains(strings.ReplaceAll(got, ":", "="), "retry_in=1.5s") {
			t.Errorf("%s: %s", format, log.String())
		}
	}
}

func TestListenMetricsTakesTheNextFreePort(t *testing.T) {
	t.Parallel()
	var listen net.ListenConfig
	taken, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := telemetry.Config{MetricsAddress: taken.Addr().String(), MetricsTries: 1}
	if l, err := telemetry.ListenMetrics(t.Context(), cfg); err == nil {
		l.Close()
		t.Error("a taken port was opened")
	}
	cfg.MetricsTries = 64
	l, err := telemetry.ListenMetrics(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestMetricsServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newTelemetry(t, io.Discard).MetricsServer().Handler)
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(body), "process_resident_memory_bytes") {
		t.Errorf("%v, %s", err, body)
	}
}

// TestTracesAreExported is not parallel: the exporter reads its endpoint from
// the process's environment, as OpenTelemetry's documentation says.
func TestTracesAreExported(t *testing.T) {
	received := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		received <- r.URL.Path + " " + string(body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "traced", Version: "1", Endpoint: collector.URL}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	handler := tel.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2", nil)
	r.Header.Set(problem.RequestIDHeader, "order-17")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if err := tel.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-received:
		for _, want := range []string{"/v1/traces ", "traced", "order-17", "url.path"} {
			if !strings.Contains(got, want) {
				t.Errorf("the export lacks %q: %q", want, got)
			}
		}
	default:
		t.Error("nothing was exported")
	}
}
