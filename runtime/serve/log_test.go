package serve_test

import (
	"log/slog"
	"net/http"
	"strings"
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

// TestNoPathOrHeaderIsEchoed holds that what is wrong with a path or a header is
// said without it: it may hold a secret, and the gateway logs what functions answer.
// A model's name, which is one of the protocol's, is repeated.
func TestNoPathOrHeaderIsEchoed(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	const infers = "/v2/models/double/infer"
	f := newFake()
	url := start(t, serve.Config{Backend: f, Repository: f}).URL
	for name, q := range map[string]struct {
		path   string
		header []string
	}{
		"a path":                  {path: "/" + secret},
		"a path with a slash":     {path: "/" + secret + "/"},
		"a path of two slashes":   {path: "//" + secret},
		"a version":               {path: "/v2/models/double/versions/" + secret + "_/infer"},
		"X-Model-Version":         {infers, []string{"X-Model-Version", secret + "_"}},
		"Content-Encoding":        {infers, []string{"Content-Encoding", secret}},
		"the length of the JSON":  {infers, []string{"Inference-Header-Content-Length", secret}},
		"the timeout":             {infers, []string{"Modelserve-Timeout", secret}},
		"Content-Type":            {infers, []string{"Content-Type", "a/" + secret}},
		"a procedure over HTTP/2": {"/" + secret, []string{"Content-Type", "application/grpc"}},
	} {
		got := send(t, http.MethodPost, url+q.path, []byte(inferBody), q.header...)
		all := string(got.body)
		for _, values := range got.header {
			all += strings.Join(values, " ")
		}
		if strings.Contains(all, secret) {
			t.Errorf("%s: %d %s", name, got.status, all)
		}
	}
}
