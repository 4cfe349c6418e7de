package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

// TestReadinessIsThatOfCalls holds that what is reported of a model is what calls
// get while an older version stands in for the newest, which does not load.
func TestReadinessIsThatOfCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newest, older := false, false // whether they load
	w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
		byNumber := strings.Contains(r.URL.Path, "/versions/3")
		switch {
		case newest:
			rw.Header().Set("Modelserve-Model", "iris@3;digest=sha256:00")
		case older && !byNumber:
			rw.Header().Set("Modelserve-Model", "iris@2;digest=sha256:00")
		default:
			problem.WriteV2(rw, problem.New(problem.ModelUnavailable, "iris@3: sha256 differs"))
			return
		}
		_, _ = fmt.Fprint(rw, "{}")
	})
	call := func(leaf string) int {
		t.Helper()
		method, body := "GET", ""
		if strings.HasSuffix(leaf, "infer") {
			method, body = "POST", "{}"
		}
		return w.do(request{method: method, path: "/v2/models/iris" + leaf, key: w.admin, body: body}).status
	}
	// expect wants calls without a version, and those by the newest's number, to be
	// answered, and the model's readiness and the index to agree.
	expect := func(when string, without, byNumber int) {
		t.Helper()
		for leaf, want := range map[string]int{"": without, "/versions/3": byNumber} {
			if got := call(leaf + "/infer"); got != want {
				t.Fatalf("%s: a call of %q gets %d", when, leaf, got)
			}
		}
		for leaf, want := range map[string]int{"": without, "/versions/3": byNumber, "/versions/2": http.StatusOK} {
			if got := call(leaf + "/ready"); got != want {
				t.Errorf("%s: ready of %q is %d, want %d", when, leaf, got, want)
			}
		}
		index := w.do(request{method: "POST", path: "/v2/repository/index", key: w.admin})
		if got := strings.Contains(index.body, `{"name":"iris","version":"3","state":"READY"}`); got != (byNumber == http.StatusOK) {
			t.Errorf("%s: index %s", when, index.body)
		}
	}
	expect("none loads", http.StatusServiceUnavailable, http.StatusServiceUnavailable)
	older = true
	expect("the older loads", http.StatusOK, http.StatusServiceUnavailable)
	if call("/infer"); call("/versions/3/ready") != http.StatusServiceUnavailable {
		t.Error("an answer of version 2 clears version 3")
	}
	older = false
	expect("none loads again", http.StatusServiceUnavailable, http.StatusServiceUnavailable)
	newest = true
	expect("the newest loads", http.StatusOK, http.StatusOK)
}
