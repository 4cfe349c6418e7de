package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// into decodes an answer's body.
func into[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return v
}

type key struct {
	ID, Name, Tenant, Status, Key string
	Scopes                        []string
	RevokedAt                     string `json:"revoked_at"`
	ExpiresAt                     string `json:"expires_at"`
}

func TestALifeOfAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.echo("pool")
	made := w.do(request{method: "POST", path: "/v1/keys", key: w.admin, body: `{"name":"ci","scopes":["infer:iris"],"expires_in":"24h"}`})
	k := into[key](t, made)
	if made.status != http.StatusCreated || made.header.Get("Location") != "/v1/keys/"+k.ID || !strings.HasPrefix(k.Key, "ms_"+k.ID+"_") ||
		k.Status != "active" || k.Tenant != "default" || k.ExpiresAt == "" || made.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", made.status, made.header, made.body)
	}
	if got := w.do(request{method: "POST", path: "/v2/models/iris/infer", key: k.Key, body: "x"}); got.status != http.StatusOK {
		t.Errorf("the key does not work: %d %s", got.status, got.body)
	}
	shown := w.do(request{path: "/v1/keys/" + k.ID, key: w.admin})
	if strings.Contains(shown.body, "ms_") || into[key](t, shown).Name != "ci" {
		t.Errorf("shown as %s", shown.body)
	}
	for range 2 {
		if got := w.do(request{method: "DELETE", path: "/v1/keys/" + k.ID, key: w.admin}); got.status != http.StatusNoContent || got.body != "" {
			t.Errorf("revoke: %d %s", got.status, got.body)
		}
	}
	if got := w.do(request{method: "POST", path: "/v2/models/iris/infer", key: k.Key, body: "x"}); got.status != http.StatusUnauthorized {
		t.Errorf("revoked here, it still works: %d", got.status)
	}
	if got := into[key](t, w.do(request{path: "/v1/keys/" + k.ID, key: w.admin})); got.Status != "revoked" || got.RevokedAt == "" {
		t.Errorf("%+v", got)
	}
	if got := w.do(request{method: "DELETE", path: "/v1/keys/nobody", key: w.admin}); got.code() != "not_found" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestNewKeysAreChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		body  string
		code  string
		field string
	}{
		"empty":           {"", "malformed_body", ""},
		"not JSON":        {"{", "malformed_body", ""},
		"two values":      {`{"name":"a","scopes":["admin"]}{}`, "malformed_body", ""},
		"unknown field":   {`{"name":"a","scopes":["admin"],"admin":true}`, "invalid_argument", "admin"},
		"wrong case":      {`{"name":"a","Name":"a","scopes":["admin"]}`, "invalid_argument", "Name"},
		"twice":           {`{"name":"a","name":"b","scopes":["admin"]}`, "invalid_argument", "name"},
		"wrong type":      {`{"name":7,"scopes":["admin"]}`, "invalid_argument", "name"},
		"wrong type deep": {`{"name":"a","scopes":["admin",{}]}`, "invalid_argument", "scopes[1]"},
		"bad UTF-8":       {"{\"name\":\"\xff\",\"scopes\":[\"admin\"]}", "malformed_body", ""},
		"no scopes":       {`{"name":"a"}`, "invalid_argument", "scopes"},
		"unknown scope":   {`{"name":"a","scopes":["infer:*","sudo"]}`, "invalid_argument", "scopes[1]"},
		"time":            {`{"name":"a","scopes":["admin"],"expires_at":"tomorrow"}`, "invalid_argument", "expires_at"},
		"past":            {`{"name":"a","scopes":["admin"],"expires_at":"2001-01-01T00:00:00Z"}`, "invalid_argument", "expires_at"},
		"both":            {`{"name":"a","scopes":["admin"],"expires_at":"2101-01-01T00:00:00Z","expires_in":"1h"}`, "invalid_argument", "expires_in"},
		"no duration":     {`{"name":"a","scopes":["admin"],"expires_in":"1 day"}`, "invalid_argument", "expires_in"},
		"backwards":       {`{"name":"a","scopes":["admin"],"expires_in":"-1h"}`, "invalid_argument", "expires_in"},
		"too much":        {`{"name":"` + strings.Repeat("a", 2<<20) + `"}`, "payload_too_large", ""},
		"deep":            {`{"name":` + strings.Repeat("[", 20000) + `}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := w.do(request{method: "POST", path: "/v1/keys", key: w.admin, body: tc.body})
			body := into[struct {
				Code   string
				Errors []problem.Field
			}](t, got)
			if got.status < 400 || got.status >= 500 || tc.code != "" && body.Code != tc.code ||
				tc.field != "" && (len(body.Errors) != 1 || body.Errors[0].Field != tc.field) {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

func TestNobodyGrantsMoreThanTheyHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clerk := w.key(auth.KeysAdmin, auth.Infer("iris"))
	for body, want := range map[string]int{
		`{"name":"a","scopes":["infer:iris"]}`:                  201,
		`{"name":"a","scopes":["keys:admin"]}`:                  201,
		`{"name":"a","scopes":["infer:*"]}`:                     403,
		`{"name":"a","scopes":["admin"]}`:                       403,
		`{"name":"a","scopes":["infer:iris","models:write"]}`:   403,
		`{"name":"a","scopes":["infer:iris"],"tenant":"other"}`: 403,
		`{"name":"a","scopes":["infer:iris"],"roles":["boss"]}`: 400,
	} {
		if got := w.do(request{method: "POST", path: "/v1/keys", key: clerk, body: body}); got.status != want {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	other := into[key](t, w.do(request{method: "POST", path: "/v1/keys", key: w.admin, body: `{"name":"theirs","scopes":["admin"],"tenant":"other"}`}))
	for _, method := range []string{"GET", "DELETE"} {
		if got := w.do(request{method: method, path: "/v1/keys/" + other.ID, key: clerk}); got.status != http.StatusNotFound {
			t.Errorf("%s another tenant's key: %d", method, got.status)
		}
	}
	if list := w.do(request{path: "/v1/keys", key: clerk}); strings.Contains(list.body, "theirs") {
		t.Errorf("the list shows another tenant's: %s", list.body)
	}
	if list := w.do(request{path: "/v1/keys", key: w.admin}); !strings.Contains(list.body, "theirs") {
		t.Errorf("an admin does not see it: %s", list.body)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 6 { // and the admin's
		w.key(auth.InferAll)
	}
	seen := map[string]bool{}
	path := "/v1/keys?limit=3"
	for _, want := range []int{3, 3, 1} {
		page := into[struct {
			Keys []key
			Next string `json:"next_cursor"`
		}](t, w.do(request{path: path, key: w.admin}))
		for _, k := range page.Keys {
			seen[k.ID] = true
		}
		if len(page.Keys) != want || (want == 1) != (page.Next == "") {
			t.Fatalf("%d keys, next %q, want %d", len(page.Keys), page.Next, want)
		}
		path = "/v1/keys?limit=3&cursor=" + page.Next
	}
	if len(seen) != 7 {
		t.Errorf("%d keys in all", len(seen))
	}
	for _, query := range []string{"limit=0", "limit=201", "limit=x", "cursor=%21", "cursor=eA", "offset=1"} {
		if got := w.do(request{path: "/v1/keys?" + query, key: w.admin}); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d", query, got.status)
		}
	}
}

func TestFunctionsAreListedForThoseWhoMayCallThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	type list struct {
		Functions []struct {
			Name, URL, State string
			Models, Tags     []string
			Pool             bool
		}
	}
	names := func(k, host string) (names []string) {
		for _, f := range into[list](t, w.do(request{path: "/v1/functions", key: k, host: host})).Functions {
			names = append(names, f.Name+" "+f.URL)
		}
		return names
	}
	if diff := cmp.Diff([]string{
		"ocr http://ocr.default.localhost:8080/", "pool ", "text-detect http://text-detect.default.localhost:8080/",
	}, names(w.admin, "localhost:8080")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ocr http://ocr.default.localhost/"}, names(w.key(auth.Infer("ocr")), "example.com")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestModelsAreDescribedFromTheirManifests(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // with no function there at all
	w.net.sleep("pool", "ocr", "text-detect")
	zeros := `{"model_stats":[{"batch_stats":[],"execution_count":0,"inference_count":0,"inference_stats":{` +
		`"cache_hit":{"count":0,"ns":0},"cache_miss":{"count":0,"ns":0},"compute_infer":{"count":0,"ns":0},"compute_input":{"count":0,"ns":0},` +
		`"compute_output":{"count":0,"ns":0},"fail":{"count":0,"ns":0},"queue":{"count":0,"ns":0},"success":{"count":0,"ns":0}},` +
		`"last_inference":0,"name":"iris","version":"3"}]}`
	for name, tc := range map[string]struct {
		method, host, path string
		status             int
		want               string
	}{
		"server":                {"GET", "", "/v2", 200, `{"extensions":["binary_tensor_data","model_repository","model_configuration","statistics","schedule_policy"],"name":"modelserve","version":"test"}`},
		"live":                  {"GET", "", "/v2/health/live", 200, `{"live":true}`},
		"ready":                 {"GET", "", "/v2/health/ready", 200, `{"ready":true}`},
		"a model":               {"GET", "", "/v2/models/iris", 200, `{"name":"iris","versions":["3","2","1"],"platform":"onnxruntime_onnx","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"outputs":[{"name":"y","datatype":"INT64","shape":[-1]}],"parameters":{"digest":"","version":"3"}}`},
		"by a function's host":  {"GET", "ocr.default.localhost", "/v2/models/text-recognize", 200, `{"name":"text-recognize","versions":["2"],"platform":"onnxruntime_onnx","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"outputs":[{"name":"y","datatype":"INT64","shape":[-1]}],"parameters":{"digest":"","version":"2"}}`},
		"a model is ready":      {"GET", "", "/v2/models/iris/ready", 200, `{"name":"iris","ready":true}`},
		"a version is ready":    {"GET", "", "/v2/models/iris/versions/1/ready", 200, `{"name":"iris","ready":true}`},
		"statistics at zero":    {"GET", "", "/v2/models/iris/stats", 200, zeros},
		"all statistics":        {"GET", "", "/v2/models/stats", 200, `{"model_stats":[]}`},
		"unload at zero":        {"POST", "", "/v2/repository/models/iris/unload", 200, `{}`},
		"a function's index":    {"POST", "ocr.default.localhost", "/v2/repository/index", 200, `[{"name":"text-recognize","version":"2","state":"READY"}]`},
		"nothing by that name":  {"GET", "", "/v2/models/nope/ready", 404, ""},
		"load of what is not":   {"POST", "", "/v2/repository/models/nope/load", 404, ""},
		"unload of what is not": {"POST", "", "/v2/repository/models/nope/unload", 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := w.do(request{method: tc.method, host: tc.host, path: tc.path, key: w.admin})
			if got.status != tc.status || tc.want != "" && strings.TrimSpace(got.body) != tc.want {
				t.Errorf("%d %s\nwant %s", got.status, got.body, tc.want)
			}
		})
	}
}

func TestAModelThatFailsIsReportedUntilItAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := false
	w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
		if !good && !strings.Contains(r.URL.Path, "stats") {
			problem.WriteV2(rw, problem.New(problem.ModelUnavailable, "iris@3: model.onnx: sha256 differs"))
			return
		}
		_, _ = fmt.Fprint(rw, "{}")
	})
	infer := request{method: "POST", path: "/v2/models/iris/infer", key: w.admin, body: "{}"}
	if got := w.do(infer); got.code() != "model_unavailable" || !strings.Contains(got.body, "sha256 differs") {
		t.Fatalf("%d %s", got.status, got.body)
	}
	index := request{method: "POST", path: "/v2/repository/index", key: w.admin}
	row := `{"name":"iris","version":"3","state":"UNAVAILABLE","reason":"iris@3: model.onnx: sha256 differs"}`
	if got := w.do(index); !strings.Contains(got.body, row) || !strings.Contains(got.body, `{"name":"iris","version":"2","state":"READY"}`) {
		t.Errorf("index %s", got.body)
	}
	index.body = `{"ready":true}`
	if got := w.do(index); strings.Contains(got.body, `"version":"3"`) {
		t.Errorf("index of what is ready: %s", got.body)
	}
	ready := request{path: "/v2/models/iris/ready", key: w.admin}
	if got := w.do(ready); got.status != http.StatusServiceUnavailable {
		t.Errorf("ready: %d", got.status)
	}
	good = true
	if got := w.do(request{method: "POST", path: "/v2/repository/models/iris/load", key: w.admin}); got.status != http.StatusOK {
		t.Errorf("load: %d %s", got.status, got.body)
	}
	if got := w.do(ready); got.status != http.StatusOK {
		t.Errorf("ready again: %d", got.status)
	}
}

func TestStatisticsOfFunctionsNotAtZero(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.net.sleep("ocr", "text-detect")
	w.serve("pool", func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(rw, `{"model_stats":[{"name":"iris","version":"3","inference_count":7},{"name":"secret-model","version":"1"}]}`)
	})
	for who, want := range map[string]string{
		w.admin:                   `{"model_stats":[{"name":"iris","version":"3","inference_count":7},{"name":"secret-model","version":"1"}]}`,
		w.key(auth.ModelsRead):    `{"model_stats":[{"name":"iris","version":"3","inference_count":7},{"name":"secret-model","version":"1"}]}`,
		w.key(auth.Infer("iris")): `{"model_stats":[]}`, // others' calls are in them
	} {
		if got := w.do(request{path: "/v2/models/stats", key: who}); strings.TrimSpace(got.body) != want {
			t.Errorf("%d %s, want %s", got.status, got.body, want)
		}
	}
}
