package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/model"
)

// canary is a world where text-recognize's revisions serve versions 1 and 2 of
// its model, and one version of another both.
func canary(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	pin := func(name string, version int) model.Ref { return model.Ref{Name: name, Version: version} }
	if err := w.routes.Replace([]route.Function{
		{
			Name: "text-recognize", Namespace: "default", URL: "http://text-recognize.default.svc.cluster.local",
			Models: []model.Ref{pin("iris", 3)}, Mixed: []model.Ref{pin("text-recognize", 1), pin("text-recognize", 2)},
			Tags: []string{"canary"}, Tagged: map[string][]model.Ref{"canary": {pin("text-recognize", 2), pin("iris", 3)}},
		},
		{Name: "pool", Namespace: "default", URL: "http://pool.default.svc.cluster.local", Pool: true},
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"text-recognize", "canary-text-recognize", "pool"} {
		w.echo(name)
	}
	return w
}

// TestCanary holds where calls go while revisions of a function serve different
// versions.
func TestCanary(t *testing.T) {
	t.Parallel()
	w := canary(t)
	w.catalog.policies = map[string]model.Policy{"text-recognize": {Aliases: map[string]int{"next": 2, "last": 1}}}
	const own, tagged = "text-recognize.default.localhost", "canary-text-recognize.default.localhost"
	for name, tc := range map[string]struct{ host, path, want string }{
		"the split decides":                      {own, "/v2/models/text-recognize/infer", "text-recognize POST /v2/models/text-recognize/infer"},
		"a version that a tag has":               {own, "/v2/models/text-recognize/versions/2/infer", "canary-text-recognize POST /v2/models/text-recognize/versions/2/infer"},
		"an alias of it":                         {own, "/v2/models/text-recognize/versions/next/infer", "canary-text-recognize POST /v2/models/text-recognize/versions/2/infer"},
		"a version that no tag has":              {own, "/v2/models/text-recognize/versions/1/infer", "text-recognize POST /v2/models/text-recognize/versions/1/infer"},
		"what every revision has, by its number": {own, "/v2/models/iris/versions/3/infer", "text-recognize POST /v2/models/iris/versions/3/infer"},
		"the tag's own host":                     {tagged, "/v2/models/text-recognize/infer", "canary-text-recognize POST /v2/models/text-recognize/infer"},
		"by path":                                {"", "/v2/models/text-recognize/versions/2/infer", "pool POST /v2/models/text-recognize/versions/2/infer"},
		"by path, what every revision has":       {"", "/v2/models/iris/versions/3/infer", "text-recognize POST /v2/models/iris/versions/3/infer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := w.do(request{method: http.MethodPost, host: tc.host, path: tc.path, key: w.admin, body: "hi"})
			if got.status != http.StatusOK || got.body != tc.want+` "hi"` {
				t.Errorf("%d %s, want %s", got.status, got.body, tc.want)
			}
		})
	}
}

// TestACanaryListsEachHostsVersions holds that a function's host lists all its versions,
// and a tag's of those behind it.
func TestACanaryListsEachHostsVersions(t *testing.T) {
	t.Parallel()
	w := canary(t)
	key := w.key(auth.ModelsRead)
	for host, want := range map[string]string{
		"text-recognize.default.localhost": "iris 3, text-recognize 2, text-recognize 1", "canary-text-recognize.default.localhost": "iris 3, text-recognize 2",
	} {
		type row struct{ Name, Version, State string }
		listed := map[string]bool{}
		for _, r := range into[[]row](t, w.do(request{path: "/v2/repository/index", host: host, key: key})) {
			listed[r.Name+" "+r.Version] = true
		}
		wanted := map[string]bool{}
		for one := range strings.SplitSeq(want, ", ") {
			wanted[one] = true
		}
		if diff := cmp.Diff(wanted, listed); diff != "" {
			t.Errorf("%s: -want +got:\n%s", host, diff)
		}
	}
	type list struct {
		Functions []struct {
			Name          string
			Models, Mixed []string
		}
	}
	for _, f := range into[list](t, w.do(request{path: "/v1/functions", key: w.admin})).Functions {
		if f.Name != "text-recognize" {
			continue
		}
		if diff := cmp.Diff([][]string{{"iris@3"}, {"text-recognize@1", "text-recognize@2"}}, [][]string{f.Models, f.Mixed}); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
