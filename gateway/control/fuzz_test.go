package control_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// FuzzQueries holds that cursors and filters of lists are read or refused by field, whatever they
// are, and that what is refused is not repeated.
func FuzzQueries(f *testing.F) {
	paths := []string{"/v1/keys", "/v1/roles", "/v1/grants", "/v1/audit", "/v1/access", "/v1/audit/export", "/v1/audit/verify", "/v1/audit/chains", "/v1/usage"}
	a := logged(f)
	a.metered()
	a.as("acme", auth.KeysAdmin, auth.RolesAdmin, auth.AuditRead, auth.UsageRead)
	for _, seed := range [][2]string{
		{"cursor", "MTAw"},
		{"cursor", "NQ"},
		{"cursor", "LTU"},
		{"cursor", "dmlld2Vy"},
		{"cursor", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5L2E"},
		{"cursor", "%"},
		{"from", "2026-01-02T00:00:00Z"},
		{"to", "0000-01-01T00:00:00Z"},
		{"from", "9999-12-31T23:59:59.999999999+23:59"},
		{"from", "2026-01-02"},
		{"to", "0000-01-01"},
		{"to", "2026-02-29"},
		{"cursor", "MjA0NTUvYWNtZS9t"},
		{"by", "day,tenant"},
		{"by", "day,day"},
		{"outcome", "done"},
		{"limit", "1"},
		{"limit", "1e2"},
		{"tenant", "acme"},
		{"platform", "true"},
		{"actor", "key:k1"},
		{"action", "infer"},
		{"resource", "a\x00"},
		{"key", "nobody"},
	} {
		for i := range paths {
			f.Add(i, seed[0], seed[1])
		}
	}
	f.Fuzz(func(t *testing.T, path int, name, value string) {
		at := paths[uint(path)%uint(len(paths))]
		asked := *a
		asked.t = t
		got := asked.do(request{path: at + "?" + url.Values{name: {value}}.Encode()})
		switch {
		case got.status == http.StatusOK, got.status == http.StatusForbidden, got.status == http.StatusNotFound:
		case got.status != http.StatusBadRequest || len(got.problem(t).Fields) == 0:
			t.Fatalf("%s %q=%q: %d %s", at, name, value, got.status, got.body)
		case len(value) > 40 && strings.Contains(got.body, value) && name != value:
			t.Fatalf("%s %q=%q is repeated: %s", at, name, value, got.body)
		}
	})
}
