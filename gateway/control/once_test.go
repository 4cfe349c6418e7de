package control_test

import (
	"slices"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

// TestListsHaveEachValueOnce holds that what a role, a grant or a key has is not stored
// and listed twice.
func TestListsHaveEachValueOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ask   request
		field string
	}{
		"a key's scopes":        {request{method: "POST", path: "/v1/keys", body: `{"name":"a","scopes":["infer:x","infer:x"]}`}, "scopes"},
		"a key's roles":         {request{method: "POST", path: "/v1/keys", body: `{"name":"a","roles":["viewer","viewer"]}`}, "roles"},
		"a role's permissions":  {request{method: "PUT", path: "/v1/roles/a", body: `{"permissions":["infer:x","infer:y","infer:x"]}`}, "permissions"},
		"what a role inherits":  {request{method: "PUT", path: "/v1/roles/a", body: `{"inherits":["viewer","viewer"]}`}, "inherits"},
		"a grant's roles":       {request{method: "POST", path: "/v1/grants", body: `{"to":{"tenant":"default"},"roles":["viewer","viewer"]}`}, "roles"},
		"a grant's permissions": {request{method: "POST", path: "/v1/grants", body: `{"to":{"tenant":"default"},"permissions":["infer:x","infer:x"]}`}, "permissions"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			before := len(a.mirror.State().Tenant("default").Keys)
			p := a.do(tc.ask).problem(t)
			if p.Code != problem.InvalidArgument || !slices.Equal(names(p), []string{tc.field}) || p.Fields[0].Detail != "expected each value once" {
				t.Errorf("%+v", p)
			}
			if state := a.mirror.State(); len(state.Tenant("default").Keys) != before || len(state.Tenant("default").Grants) != 0 {
				t.Error("something is stored")
			}
		})
	}
}
