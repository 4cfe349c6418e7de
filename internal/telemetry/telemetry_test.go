package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/problem"
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

		"a key":                     {"ms_abcdefghijkl_" + strings.Repeat("B", 52), "", false},
		"a key in lower case":       {"ms_abcdefghijkl_" + strings.Repeat("b", 52), "", false},
		"a key in upper case":       {"MS_ABCDEFGHIJKL_" + strings.Repeat("B", 52), "", false},
		"the begin of a key":        {"ms_abcdefghijkl_BBBBBBBBBB", "", false},
		"a key behind a name":       {"order-ms_abcdefghijkl_" + strings.Repeat("B", 52), "", false},
		"a key right behind a name": {"orderms_abcdefghijkl_" + strings.Repeat("B", 52), "", false},
		"a name that ends so":       {"forms_2024", "", true},
		"a token":                   {"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.abc", "", false},
		"a token behind a name":     {"order:eyJhbGciOiJub25lIn0", "", false},
		"the request's API key":     {"0123456789abcdef0123", "", false},
		"a part of it":              {"0123456789abcdef", "", false},
		"what has it":               {"x-0123456789abcdef0123-y", "", false},
		"a few letters of it":       {"0123", "", true},
		"the request's bearer":      {"zyxwvutsrqponmlkjihg", "", false},
		"a cookie":                  {"sessionsessionsession", "", false},
		"the secret between us":     {"betweenusbetweenus", "", false},
		"a UUID":                    {"6ba7b810-9dad-11d1-80b4-00c04fd430c8", "", true},
		"a hash":                    {strings.Repeat("0f", 32), "", true},
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
			for header, value := range map[string]string{
				"X-API-Key": "0123456789abcdef0123", "Authorization": "Bearer zyxwvutsrqponmlkjihg", "Cookie": "a=b; sid=sessionsessionsession",
				"Modelserve-Secret": "betweenusbetweenus",
			} {
				r.Header.Set(header, value)
			}
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
	} else if _, port, _ := net.SplitHostPort(cfg.MetricsAddress); !strings.Contains(err.Error(), "port "+port+" is in use") {
		t.Errorf("%v", err)
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
// the process's environment, as OpenTelemetry's documentation has it.
// spans starts a telemetry whose spans a test reads.
func spans(t *testing.T) (*telemetry.Telemetry, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	tel, err := telemetry.NewForSpans(t.Context(), telemetry.Config{Service: "test"}, io.Discard, recorder)
	if err != nil {
		t.Fatal(err)
	}
	return tel, recorder
}

// TestSpansSayHowARequestEnded holds what a span has besides its times.
func TestSpansSayHowARequestEnded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		method, path string
		answer       func(w http.ResponseWriter, r *http.Request)
		span         string
		want         map[string]string
		status       codes.Code
	}{
		"by the mux": {
			"GET", "/v2/models/iris", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
			"GET /v2/models/{model}",
			map[string]string{"http.route": "/v2/models/{model}", "http.response.status_code": "204", "error.type": ""},
			codes.Unset,
		},
		"set by its handler": {
			"POST", "/v2/models/iris", func(w http.ResponseWriter, r *http.Request) {
				telemetry.SetRoute(r.Context(), "/x")
				_, _ = w.Write([]byte("a"))
			},
			"POST /x",
			map[string]string{"http.route": "/x", "http.response.status_code": "200"},
			codes.Unset,
		},
		"a caller's fault": {
			"POST", "/v2/models/iris", func(w http.ResponseWriter, r *http.Request) {
				telemetry.SetError(r.Context(), problem.NotFound, "it is not there")
				w.WriteHeader(http.StatusNotFound)
			},
			"POST /v2/models/{model}",
			map[string]string{"http.response.status_code": "404", "error.type": "not_found"},
			codes.Unset,
		},
		"a caller's fault, as another process reports": {
			"POST", "/v2/models/iris", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) },
			"POST /v2/models/{model}",
			map[string]string{"http.response.status_code": "422", "error.type": ""},
			codes.Unset,
		},
		"a caller's by gRPC, as another process reports": {"POST", "/a.B/C", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "3")
		}, "POST /a.B/", map[string]string{"rpc.grpc.status_code": "3", "error.type": "3"}, codes.Unset},
		"well by gRPC": {"POST", "/a.B/C", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		}, "POST /a.B/", map[string]string{"rpc.grpc.status_code": "0", "error.type": ""}, codes.Unset},
		"a function's root": {
			"POST", "/", func(http.ResponseWriter, *http.Request) {},
			"POST /",
			map[string]string{"http.route": "/", "error.type": ""},
			codes.Unset,
		},
		"by the mux, with a method": {
			"GET", "/metrics", func(http.ResponseWriter, *http.Request) {},
			"GET /metrics",
			map[string]string{"http.route": "/metrics"},
			codes.Unset,
		},
		"no endpoint": {
			"GET", "/x/y", func(w http.ResponseWriter, r *http.Request) {
				r.Pattern = ""
				w.WriteHeader(http.StatusNotFound)
			},
			"GET",
			map[string]string{"http.route": "", "http.response.status_code": "404", "error.type": ""},
			codes.Unset,
		},
		"ours": {
			"POST", "/v2/models/iris", func(w http.ResponseWriter, r *http.Request) {
				telemetry.SetError(r.Context(), problem.Unavailable, "it is not there")
				w.WriteHeader(http.StatusServiceUnavailable)
			},
			"POST /v2/models/{model}",
			map[string]string{"http.response.status_code": "503", "error.type": "unavailable"},
			codes.Error,
		},
		"ours by gRPC": {"POST", "/a.B/C", func(w http.ResponseWriter, r *http.Request) {
			telemetry.SetRoute(r.Context(), "/a.B/C")
			w.WriteHeader(http.StatusOK)
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "14")
		}, "POST /a.B/C", map[string]string{"rpc.system": "grpc", "rpc.grpc.status_code": "14", "error.type": "14"}, codes.Error},
		"a caller's by gRPC": {"POST", "/a.B/C", func(w http.ResponseWriter, r *http.Request) {
			telemetry.SetError(r.Context(), problem.NotFound, "it is not there")
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "5")
		}, "POST /a.B/", map[string]string{"rpc.grpc.status_code": "5", "error.type": "5"}, codes.Unset},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tel, recorder := spans(t)
			mux := http.NewServeMux()
			mux.HandleFunc("/v2/models/{model}", tc.answer)
			for _, pattern := range []string{"/{$}", "GET /metrics", "/a.B/", "/x/"} {
				mux.HandleFunc(pattern, tc.answer)
			}
			tel.Middleware(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), tc.method, tc.path, nil))
			ended := recorder.Ended()
			if len(ended) != 1 || ended[0].Name() != tc.span || ended[0].Status().Code != tc.status {
				t.Fatalf("%d spans: %+v", len(ended), ended)
			}
			have := map[string]string{}
			for _, a := range ended[0].Attributes() {
				have[string(a.Key)] = a.Value.String()
			}
			for key, want := range tc.want {
				if have[key] != want {
					t.Errorf("%s: %q, want %q", key, have[key], want)
				}
			}
			if _, ok := have["url.path"]; ok || have["modelserve.request_id"] == "" || have["server.address"] != "example.com" {
				t.Errorf("attributes %v", have)
			}
			if strings.Contains(fmt.Sprint(ended[0]), "iris") {
				t.Errorf("the span has the caller's path: %+v", ended[0])
			}
			events, isOurs := ended[0].Events(), strings.Contains(tc.want["error.type"], "_") || tc.want["error.type"] == "unavailable"
			if isOurs && (len(events) != 1 || !strings.Contains(fmt.Sprint(events[0].Attributes), "it is not there")) {
				t.Errorf("events %v", events)
			}
		})
	}
}

func TestProbesAreNotTraced(t *testing.T) {
	t.Parallel()
	tel, recorder := spans(t)
	handler := tel.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, path := range []string{"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Header().Get("traceparent") == "" {
			t.Errorf("%s: no trace in the answer", path)
		}
	}
	if n := len(recorder.Ended()); n != 0 {
		t.Errorf("%d spans", n)
	}
}

// TestOpenTelemetrysVariables holds what turns spans on and off, and how they go.
func TestOpenTelemetrysVariables(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  telemetry.Config
		path string // that spans are sent to; "" is none
		log  string // what it has
	}{
		"an endpoint":        {telemetry.Config{}, "/v1/traces", ""},
		"disabled":           {telemetry.Config{Disabled: "TRUE"}, "", ""},
		"not disabled":       {telemetry.Config{Disabled: "no"}, "/v1/traces", ""},
		"no exporter":        {telemetry.Config{Exporters: "none"}, "", ""},
		"by name":            {telemetry.Config{Exporters: "otlp"}, "/v1/traces", ""},
		"one beside another": {telemetry.Config{Exporters: "console, otlp"}, "/v1/traces", `"value":"console"`},
		"one that is none":   {telemetry.Config{Exporters: "zipkin"}, "", `"value":"zipkin"`},
		"HTTP":               {telemetry.Config{Protocol: "http/protobuf"}, "/v1/traces", ""},
		"gRPC":               {telemetry.Config{Protocol: "grpc"}, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", ""},
		"gRPC for traces":    {telemetry.Config{Protocol: "http/protobuf", TracesProtocol: "grpc"}, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", ""},
		"JSON":               {telemetry.Config{Protocol: "http/json"}, "/v1/traces", `"value":"http/json"`},
	} {
		t.Run(name, func(t *testing.T) {
			received := make(chan string, 10)
			collector := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				received <- r.URL.Path
				if r.Header.Get("Content-Type") == "application/grpc" {
					w.Header().Set("Content-Type", "application/grpc")
					_, _ = w.Write(make([]byte, 5)) // an empty message
					w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
				}
			}))
			collector.Config.Protocols = new(http.Protocols)
			collector.Config.Protocols.SetHTTP1(true)
			collector.Config.Protocols.SetUnencryptedHTTP2(true)
			collector.Start()
			defer collector.Close()
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
			tc.cfg.Endpoint, tc.cfg.Service = collector.URL, "traced"
			var log bytes.Buffer
			tel, err := telemetry.New(t.Context(), tc.cfg, &log)
			if err != nil {
				t.Fatal(err)
			}
			tel.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).
				ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2", nil))
			if err := tel.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := ""
			select {
			case got = <-received:
			default:
			}
			if got != tc.path {
				t.Errorf("sent to %q, want %q", got, tc.path)
			}
			if !strings.Contains(log.String(), tc.log) || tc.log == "" && log.Len() > 0 {
				t.Errorf("log %q, want %q", log.String(), tc.log)
			}
		})
	}
}

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
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/secret", nil)
	r.Header.Set(problem.RequestIDHeader, "order-17")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if err := tel.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-received:
		for _, want := range []string{"/v1/traces ", "traced", "order-17", "http.response.status_code"} {
			if !strings.Contains(got, want) {
				t.Errorf("the export lacks %q: %q", want, got)
			}
		}
		if strings.Contains(got, "secret") {
			t.Errorf("the export has the caller's path: %q", got)
		}
	default:
		t.Error("nothing was exported")
	}
}

// TestSpansLeaveAnswersAsTheyAre: in a span too, an answer can be flushed before its
// request has come whole, deadlines can be set, and a panic reaches the server.
func TestSpansLeaveAnswersAsTheyAre(t *testing.T) {
	t.Parallel()
	tel, recorder := spans(t)
	server := httptest.NewServer(tel.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic(http.ErrAbortHandler)
		}
		c := http.NewResponseController(w)
		for _, err := range []error{c.EnableFullDuplex(), c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{}), c.Flush()} {
			if err != nil {
				t.Error(err)
			}
		}
		_, _ = io.Copy(w, r.Body)
	})))
	defer server.Close()
	in, out := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/echo", in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req) // answered before the body begins
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	go func() { _, _ = out.Write([]byte("late")); out.Close() }() // ends when the server has read it
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != "late" {
		t.Errorf("%q, %v", got, err)
	}
	req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/panic", nil) // a POST is sent once
	if err != nil {
		t.Fatal(err)
	}
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		t.Error("a panic was answered")
	}
	server.Close()
	if ended := recorder.Ended(); len(ended) != 2 || ended[0].Status().Code != codes.Unset || ended[1].Status().Code != codes.Error {
		t.Errorf("spans %+v", ended)
	}
}
