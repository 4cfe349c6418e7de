package gateway

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	compare "github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/gateway/rights/rightstest"
	"github.com/modelserveai/modelserve/gateway/route"
	v2 "github.com/modelserveai/modelserve/gateway/v2"
	"github.com/modelserveai/modelserve/internal/wellknown"
)

// TestTheDocumentDescribesEveryURL holds the document to the table, both ways.
func TestTheDocumentDescribesEveryURL(t *testing.T) {
	t.Parallel()
	api := newControl(t)
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string              `json:"operationId"`
			Security    *[]json.RawMessage  `json:"security"`
			Responses   map[string]struct{} `json:"responses"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(api.Document(), &document); err != nil {
		t.Fatal(err)
	}
	var want []string
	own, _ := (&gateway{control: api, v2: v2.New(v2.Config{})}).endpoints()
	for pattern, e := range own {
		want = append(want, pattern)
		method, path, _ := strings.Cut(pattern, " ")
		described, ok := document.Paths[path][strings.ToLower(method)]
		if open := described.Security != nil && len(*described.Security) == 0; ok && open != e.public {
			t.Errorf("%s: the document says it is open: %v", pattern, open)
		}
	}
	var got []string
	seen := map[string]bool{}
	for path, operations := range document.Paths {
		for _, method := range slices.Collect(maps.Keys(operations)) {
			got = append(got, strings.ToUpper(method)+" "+path)
			if id := operations[method].OperationID; id == "" || seen[id] {
				t.Errorf("%s %s: operation id %q is not its own", method, path, id)
			} else {
				seen[id] = true
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := compare.Diff(want, got); diff != "" {
		t.Errorf("-served +described:\n%s", diff)
	}
}

func newControl(t *testing.T) *control.API {
	t.Helper()
	routes, err := route.New("{function}.localhost")
	if err != nil {
		t.Fatal(err)
	}
	api, err := control.New(control.Deps{
		Rights: rightstest.Mirror(t, &rightstest.Store{}), Hasher: rightstest.Hasher(t), Keys: &rightstest.Store{}, Audit: &rightstest.Store{},
		Routes: routes, Door: door.New(door.Config{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// TestLimitsNameEveryRoute holds the routes that the gateway's file may name to the
// table, both ways.
func TestLimitsNameEveryRoute(t *testing.T) {
	t.Parallel()
	service := v2.New(v2.Config{})
	own, functions := (&gateway{control: newControl(t), v2: service}).endpoints()
	want := append([]string{"/", noRoute}, wellknown.Procedures()...)
	for _, endpoints := range []map[string]*endpoint{own, functions} {
		for _, e := range endpoints {
			if !e.public {
				want = append(want, cmp.Or(e.operation, e.route))
			}
		}
	}
	slices.Sort(want)
	got := gatewayfile.Routes()
	slices.Sort(got)
	if diff := compare.Diff(slices.Compact(want), got); diff != "" {
		t.Errorf("-served +named:\n%s", diff)
	}
}
