package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// TestWhereRequestsGo holds which function each URL leads to, and as what.
func TestWhereRequestsGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"text-detect", "canary-text-detect", "ocr", "pool"} {
		w.echo(name)
	}
	for name, tc := range map[string]struct {
		method, host, path string
		want               string // the echo's answer
		code               string // or the error's code
	}{
		"native by host":                {"POST", "text-detect.default.localhost:8080", "/", `text-detect POST / "hi"`, ""},
		"in a cluster's domain":         {"POST", "text-detect.default.models.test", "/?a=b", `text-detect POST /?a=b "hi"`, ""},
		"host in capitals, with a dot":  {"POST", "TEXT-Detect.default.LOCALHOST.:8080", "/", `text-detect POST / "hi"`, ""},
		"a tag":                         {"POST", "canary-text-detect.default.localhost", "/", `canary-text-detect POST / "hi"`, ""},
		"no such function":              {"POST", "nope.default.localhost", "/", "", "not_found"},
		"no such namespace":             {"POST", "text-detect.other.localhost", "/", "", "not_found"},
		"the pool has no host":          {"POST", "pool.default.localhost", "/", "", "not_found"},
		"another path of a function":    {"GET", "text-detect.default.localhost", "/some/thing", `text-detect GET /some/thing ""`, ""},
		"V2 by host, its own version":   {"POST", "ocr.default.localhost", "/v2/models/text-recognize/infer", `ocr POST /v2/models/text-recognize/infer "hi"`, ""},
		"V2 by host, another's model":   {"POST", "ocr.default.localhost", "/v2/models/iris/infer", "", "model_not_found"},
		"by path, the function pins it": {"POST", "", "/v2/models/text-recognize/infer", `ocr POST /v2/models/text-recognize/versions/2/infer "hi"`, ""},
		"by path, newest in the pool":   {"POST", "", "/v2/models/text-detect/infer", `pool POST /v2/models/text-detect/infer "hi"`, ""},
		"by path, an older version":     {"POST", "", "/v2/models/text-detect/versions/1/infer", `text-detect POST /v2/models/text-detect/versions/1/infer "hi"`, ""},
		"by path, in the pool":          {"POST", "", "/v2/models/iris/versions/2/infer", `pool POST /v2/models/iris/versions/2/infer "hi"`, ""},
		"unknown model":                 {"POST", "", "/v2/models/nope/infer", "", "model_not_found"},
		"unknown version":               {"POST", "", "/v2/models/iris/versions/9/infer", "", "model_not_found"},
		"a version that is none":        {"POST", "", "/v2/models/iris/versions/01/infer", "", "invalid_argument"},
		"wrong method":                  {"GET", "", "/v2/models/iris/infer", "", "method_not_allowed"},
		"no such URL":                   {"GET", "", "/nope", "", "not_found"},
		"nothing of a model's":          {"GET", "", "/v2/models/iris/foo", "", "not_found"},
		"nothing of a version's":        {"GET", "", "/v2/models/iris/versions/1/foo", "", "not_found"},
		"nothing to post to a model":    {"POST", "", "/v2/models/iris/foo", "", "not_found"},
		"a slash behind infer":          {"POST", "", "/v2/models/iris/infer/", "", "not_found"},
		"a slash behind a model":        {"GET", "", "/v2/models/iris/", "", "not_found"},
		"a slash behind V2":             {"GET", "", "/v2/", "", "not_found"},
		"a slash behind keys":           {"GET", "", "/v1/keys/", "", "not_found"},
		"a slash behind V2 by host":     {"POST", "ocr.default.localhost", "/v2/models/text-recognize/infer/", "", "not_found"},
		"a slash of a function's own":   {"GET", "ocr.default.localhost", "/some/thing/", `ocr GET /some/thing/ ""`, ""},
		"not yet here":                  {"POST", "", "/v1/events", "", "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := request{method: tc.method, host: tc.host, path: tc.path, key: w.admin}
			if tc.method == http.MethodPost {
				q.body = "hi"
			}
			got := w.do(q)
			if tc.code != "" {
				if got.code() != tc.code || len(tc.path) > 1 && strings.HasSuffix(tc.path, "/") && !strings.Contains(got.body, "leave out the slash at its end") {
					t.Errorf("code %q, want %q: %d %s", got.code(), tc.code, got.status, got.body)
				}
				return
			}
			if got.status != http.StatusOK || got.body != tc.want {
				t.Errorf("%d %s, want %s", got.status, got.body, tc.want)
			}
			if ids := got.header.Values("X-Request-Id"); len(ids) != 1 || ids[0] == "the function's own" {
				t.Errorf("request ids %q", ids)
			}
			if !strings.Contains(got.header.Get("Modelserve-Model"), "digest=") {
				t.Errorf("the function's headers did not pass: %v", got.header)
			}
		})
	}
}

// TestWhoMayDoWhat holds what each scope opens, and that nothing is open
// without one.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"text-detect", "ocr", "pool"} {
		w.echo(name)
	}
	w.net.sleep("text-detect", "ocr", "pool") // for what wakes nothing
	keys := map[string]string{
		"none": "", "iris": w.key(auth.Infer("iris")), "infer": w.key(auth.InferAll), "read": w.key(auth.ModelsRead),
		"write": w.key(auth.ModelsWrite), "keys": w.key(auth.KeysAdmin), "admin": w.admin, "ocr": w.key(auth.Infer("ocr")),
	}
	for name, tc := range map[string]struct {
		method, host, path string
		allowed            string
	}{
		"a model":               {"POST", "", "/v2/models/iris/infer", "iris infer admin"},
		"another model":         {"POST", "", "/v2/models/text-detect/infer", "infer admin"},
		"metadata":              {"GET", "", "/v2/models/iris", "iris infer read write admin"},
		"readiness":             {"GET", "", "/v2/models/iris/ready", "iris infer read write admin"},
		"statistics":            {"GET", "", "/v2/models/iris/stats", "read write admin"},
		"load":                  {"POST", "", "/v2/repository/models/iris/load", "write admin"},
		"unload":                {"POST", "", "/v2/repository/models/iris/unload", "write admin"},
		"keys":                  {"GET", "", "/v1/keys", "keys admin"},
		"a function":            {"POST", "ocr.default.localhost", "/", "infer ocr admin"},
		"its model":             {"POST", "ocr.default.localhost", "/v2/models/text-recognize/infer", "infer admin"},
		"the index":             {"GET", "", "/v2/repository/index", "iris infer read write keys admin ocr"},
		"the server's metadata": {"GET", "", "/v2", "iris infer read write keys admin ocr"},
		"functions":             {"GET", "", "/v1/functions", "iris infer read write keys admin ocr"},
		"health":                {"GET", "", "/healthz", "none iris infer read write keys admin ocr"},
		"how to log in":         {"GET", "", "/v1/login", "none iris infer read write keys admin ocr"},
		"a URL that is none":    {"GET", "", "/v1/nothing", ""},
	} {
		for who, key := range keys {
			t.Run(name+" by "+who, func(t *testing.T) {
				t.Parallel()
				got := w.do(request{method: tc.method, host: tc.host, path: tc.path, key: key})
				allowed := strings.Contains(" "+tc.allowed+" ", " "+who+" ")
				switch {
				case allowed && got.status >= 400:
					t.Errorf("%d %s", got.status, got.body)
				case !allowed && who == "none" && got.status != http.StatusUnauthorized:
					t.Errorf("%d %s, want 401", got.status, got.body)
				case tc.host != "" && (who == "iris" || who == "keys"):
					if got.status != http.StatusNotFound {
						t.Errorf("%d %s, want 404: nothing at the host is theirs", got.status, got.body)
					}
				case !allowed && who != "none" && tc.allowed != "" && got.status != http.StatusForbidden:
					t.Errorf("%d %s, want 403", got.status, got.body)
				}
			})
		}
	}
}
