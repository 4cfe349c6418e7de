package gateway

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOpenAPITellsEveryURL holds the document to the table, both ways.
func TestOpenAPITellsEveryURL(t *testing.T) {
	t.Parallel()
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string              `json:"operationId"`
			Security    *[]json.RawMessage  `json:"security"`
			Responses   map[string]struct{} `json:"responses"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(openAPIDocument, &document); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, e := range (&gateway{}).endpoints() {
		want = append(want, e.method+" "+e.pattern)
		told, ok := document.Paths[e.pattern][strings.ToLower(e.method)]
		if open := told.Security != nil && len(*told.Security) == 0; ok && open != (e.access == public) {
			t.Errorf("%s %s: the document says it is open: %v", e.method, e.pattern, open)
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
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-served +told:\n%s", diff)
	}
}
