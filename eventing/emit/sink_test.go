package emit_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/emit"
	"github.com/modelserveai/modelserve/problem"
)

func answer(t *testing.T) event.Event {
	t.Helper()
	e := event.New()
	e.SetID("1")
	e.SetType("dev.modelserve.echo.answered.v1")
	e.SetSource("/functions/echo")
	e.SetExtension("executionid", "e-1")
	if err := e.SetData("application/json", json.RawMessage(`{"label":"go"}`)); err != nil {
		t.Fatal(err)
	}
	return e
}

func sink(t *testing.T, cfg emit.Config) *emit.Sink {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	if faults := cfg.Check(); len(faults) > 0 {
		t.Fatal(errors.Join(faults...))
	}
	s, err := emit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheSinkGetsTheEventWithTheOverrides(t *testing.T) {
	t.Parallel()
	got := make(chan []byte, 1)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/cloudevents+json" {
			t.Errorf("%s %s %v", r.Method, r.Header, err)
		}
		got <- body
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	s := sink(t, emit.Config{
		URL: server.URL, Overrides: `{"extensions":{"stage":"prod","executionid":"bound"}}`,
		CACerts: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
	})
	sent := answer(t)
	if err := s.Send(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	var e map[string]any
	if err := json.Unmarshal(<-got, &e); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"specversion": "1.0", "id": "1", "type": "dev.modelserve.echo.answered.v1", "source": "/functions/echo",
		"executionid": "bound", "stage": "prod", "datacontenttype": "application/json", "data": map[string]any{"label": "go"},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	if sent.Extensions()["executionid"] != "e-1" {
		t.Error("the overrides changed the caller's event")
	}
}

func TestErrorsOfTheSink(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]problem.Code{
		http.StatusOK:                  "",
		http.StatusNoContent:           "",
		http.StatusInternalServerError: problem.Unavailable,
		http.StatusServiceUnavailable:  problem.Unavailable,
		http.StatusTooManyRequests:     problem.Unavailable,
		http.StatusNotFound:            problem.Unavailable,
		http.StatusBadRequest:          problem.BadGateway,
		http.StatusTemporaryRedirect:   problem.BadGateway,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			calls := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls++
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
			}))
			defer server.Close()
			err := sink(t, emit.Config{URL: server.URL}).Send(t.Context(), answer(t))
			if (err == nil) != (want == "") || err != nil && problem.CodeOf(err) != want {
				t.Errorf("%v, want %q", err, want)
			}
			if calls != 1 {
				t.Errorf("sent %d times", calls)
			}
		})
	}
}

func TestAnUnreachableSink(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	err := sink(t, emit.Config{URL: strings.Replace(server.URL, "http://", "http://user:secret@", 1)}).Send(t.Context(), answer(t))
	if problem.CodeOf(err) != problem.Unavailable || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestACallerWhoGoesAwayStopsTheSending(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-done
	}))
	defer server.Close()
	defer close(done)
	if err := sink(t, emit.Config{URL: server.URL}).Send(ctx, answer(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  emit.Config
		want string
	}{
		"no scheme":     {emit.Config{URL: "broker.default"}, "K_SINK"},
		"another":       {emit.Config{URL: "ftp://broker"}, "K_SINK"},
		"no PEM":        {emit.Config{URL: "https://broker", CACerts: "x"}, "K_CA_CERTS"},
		"no JSON":       {emit.Config{URL: "http://broker", Overrides: "x"}, "K_CE_OVERRIDES"},
		"a bad name":    {emit.Config{URL: "http://broker", Overrides: `{"extensions":{"not-one":"x"}}`}, "K_CE_OVERRIDES"},
		"negative time": {emit.Config{URL: "http://broker", Timeout: -1}, "MODELSERVE_SINK_TIMEOUT"},
		"none":          {emit.Config{CACerts: "x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.cfg.Timeout == 0 {
				tc.cfg.Timeout = time.Second
			}
			err := errors.Join(tc.cfg.Check()...)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	if s, err := emit.New(emit.Config{}); s != nil || err != nil {
		t.Errorf("no K_SINK: %v %v", s, err)
	}
}
