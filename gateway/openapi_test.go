package gateway

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
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

// TestOpenAPIVersions holds the document to what is taken for a version, and to
// the headers of an inference.
func TestOpenAPIVersions(t *testing.T) {
	t.Parallel()
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Ref string `json:"$ref"`
			} `json:"parameters"`
			Responses map[string]struct {
				Headers map[string]json.RawMessage `json:"headers"`
			} `json:"responses"`
		} `json:"paths"`
		Components struct {
			Parameters map[string]struct {
				Name   string `json:"name"`
				Schema struct {
					Pattern string `json:"pattern"`
				} `json:"schema"`
			} `json:"parameters"`
		} `json:"components"`
	}
	if err := json.Unmarshal(openAPIDocument, &document); err != nil {
		t.Fatal(err)
	}
	for _, parameter := range []string{"version", "modelVersion"} {
		pattern := regexp.MustCompile(document.Components.Parameters[parameter].Schema.Pattern)
		for _, good := range []string{"1", "42", "stable", "latest", "blue-2"} {
			if infer.CheckVersion("v", good) != nil || !pattern.MatchString(good) {
				t.Errorf("%s: %q is one", parameter, good)
			}
		}
		for _, bad := range []string{"Stable", "a_b", "-1", "a/b", ""} {
			if infer.CheckVersion("v", bad) == nil || pattern.MatchString(bad) {
				t.Errorf("%s: %q is none", parameter, bad)
			}
		}
	}
	if got := document.Components.Parameters["modelVersion"].Name; got != infer.VersionHeader {
		t.Errorf("the header is %q", got)
	}
	for path, operations := range document.Paths {
		if !strings.HasSuffix(path, "/infer") {
			continue
		}
		o := operations["post"]
		if _, ok := o.Responses["200"].Headers[aliasHeader]; !ok {
			t.Errorf("%s does not tell of %s", path, aliasHeader)
		}
		if !slices.ContainsFunc(o.Parameters, func(p struct {
			Ref string `json:"$ref"`
		},
		) bool {
			return p.Ref == "#/components/parameters/modelVersion"
		}) {
			t.Errorf("%s does not tell of %s", path, infer.VersionHeader)
		}
	}
}
