package serve_test

import (
	"log/slog"
	"net/http"
	"testing"

	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// TestCallersFaultsAreNotLogged holds that the log has a function's
// own faults alone: what callers did wrong is in their answer.
func TestCallersFaultsAreNotLogged(t *testing.T) {
	t.Parallel()
	f := newFake()
	log := new(logtest.Log)
	url := start(t, serve.Config{Backend: f, Repository: f, Logger: slog.New(slog.NewTextHandler(log, nil))}).URL
	for _, path := range []string{"/v2/trace/setting", "/v2/systemsharedmemory/status", "/v2/logging"} {
		if got := send(t, http.MethodGet, url+path, nil); got.status < http.StatusBadRequest {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	send(t, http.MethodPost, url+"/v2/repository/models/double/load", []byte(`{"parameters":{"config":"{}"}}`)).failed(t, problem.Unimplemented)
	if text := log.String(); text != "" {
		t.Errorf("logged: %s", text)
	}
}
