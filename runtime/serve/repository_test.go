package serve_test

import (
	"net/http"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// TestRepositoryRequestsAreRead holds that load, unload and the index take what
// is a request of theirs, and that a refused one does nothing.
func TestRepositoryRequestsAreRead(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f})
	const load, unload, index = "/v2/repository/models/double/load", "/v2/repository/models/double/unload", "/v2/repository/index"
	for _, tc := range []struct {
		path, body string
		code       problem.Code // "" is answered
		does       string
	}{
		{path: load, body: ``, does: "load double"},
		{path: load, body: `null`, does: "load double"},
		{path: load, body: `{"parameters":{"config":null}}`, does: "load double"},
		{path: load, body: `[]`, code: problem.InvalidArgument},
		{path: load, body: `{"parameters":5}`, code: problem.InvalidArgument},
		{path: load, body: `{"parameters":{"config":"{}"}}`, code: problem.Unimplemented},
		{path: load, body: `x`, code: problem.MalformedBody},
		{path: unload, body: ``, does: "unload double"},
		{path: unload, body: `{"parameters":{"unload_dependents":true}}`, does: "unload double"},
		{path: unload, body: `[]`, code: problem.InvalidArgument},
		{path: unload, body: `x`, code: problem.MalformedBody},
		{path: unload, body: `{"name":"double"}`, code: problem.InvalidArgument},
		{path: index, body: `null`},
		{path: index, body: `{"ready":null}`},
		{path: index, body: `[]`, code: problem.InvalidArgument},
		{path: index, body: `{"state":"READY"}`, code: problem.InvalidArgument},
	} {
		f.loaded = nil // whose requests are over
		got := send(t, http.MethodPost, ts.URL+tc.path, []byte(tc.body), "Content-Type", "application/json")
		if tc.code != "" {
			got.failed(t, tc.code)
		} else if got.status != http.StatusOK {
			t.Errorf("%s %s: %d %s", tc.path, tc.body, got.status, got.body)
		}
		if did := len(f.loaded) > 0; did != (tc.does != "") || did && f.loaded[0] != tc.does {
			t.Errorf("%s %s: did %v, want %q", tc.path, tc.body, f.loaded, tc.does)
		}
	}
}
