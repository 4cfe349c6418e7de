package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
)

// asked is what a platform was asked for.
type asked struct{ line, body string }

// standIn answers each request by its method and path, and notes what was asked.
func standIn(t *testing.T, answers map[string]string) (*shell, *[]asked) {
	t.Helper()
	var all []asked
	handlers := map[string]func(http.ResponseWriter, *http.Request){}
	for line, answer := range answers {
		handlers[line] = func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			query, err := url.QueryUnescape(r.URL.RawQuery)
			if err != nil {
				t.Error(err)
			}
			all = append(all, asked{strings.TrimSuffix(r.Method+" "+r.URL.Path+"?"+query, "?"), string(body)})
			if answer == "" {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			_, _ = fmt.Fprint(w, answer)
		}
	}
	s := newShell(t)
	s.vars = map[string]string{"MODELSERVE_SERVER": fakePlatform(t, handlers).URL, "MODELSERVE_KEY": "ms_test_key"}
	return s, &all
}

// wantsAsked holds what the platform was asked for since the last time.
func wantsAsked(t *testing.T, all *[]asked, want ...asked) {
	t.Helper()
	if diff := cmp.Diff(want, *all, cmp.AllowUnexported(asked{})); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	*all = nil
}

func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	s, all := standIn(t, map[string]string{
		"POST /v1/keys":           `{"id":"k1","key":"ms_k1_secret"}`,
		"POST /v1/keys/k1/rotate": `{"id":"k2","replaces":"k1","key":"ms_k2_secret"}`,
		"DELETE /v1/keys/k1":      "",
	})
	const shown = "ms_k2_secret\n\nThis is the only time it is shown. Its id is k2; `modelserve keys revoke k2` ends it.\n"
	s.wants(shown, "keys", "rotate", "k1")
	wantsAsked(t, all, asked{"POST /v1/keys/k1/rotate", `{"overlap":"24h0m0s"}`})
	s.wants(shown, "keys", "rotate", "ms_k1_"+strings.Repeat("S", 43), "--overlap", "0s")
	wantsAsked(t, all, asked{"POST /v1/keys/k1/rotate", `{"overlap":"0s"}`})
	s.fails(exitUsage, "--overlap", "keys", "rotate", "k1", "--overlap", "-1s")
	s.must("keys", "create", "ci", "--role", "deployer", "--description", "of team a")
	wantsAsked(t, all, asked{"POST /v1/keys", `{"name":"ci","description":"of team a","roles":["deployer"]}`})
	s.wants("revoked k1\n", "keys", "revoke", "k1", "--rotations")
	wantsAsked(t, all, asked{"DELETE /v1/keys/k1?rotations=true", ""})
}

// TestWhatEndsTooLateIsRefusedWithTheCure holds that who logged in, or has a key that
// ends, is shown how to make something with an end.
func TestWhatEndsTooLateIsRefusedWithTheCure(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{
		{"keys", "create", "ci", "--scope", "infer:*"},
		{"grants", "create", "--to-tenant", "acme", "--permission", "infer:*"},
	} {
		refuse := func(w http.ResponseWriter, _ *http.Request) {
			problem.Write(w, problem.Invalid("expires_at", "expected a time not after the end of the credential, 2030-01-31T00:00:00Z"))
		}
		s := newShell(t)
		server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){"POST /v1/keys": refuse, "POST /v1/grants": refuse})
		s.vars = map[string]string{"MODELSERVE_SERVER": server.URL, "MODELSERVE_KEY": "ms_test_key"}
		s.fails(exitFailed, "2030-01-31T00:00:00Z; set --expires-in or --expires-at, or use a credential", command...)
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	const (
		caller = `{"name":"caller","tenant":"acme","inherits":["viewer"],"permissions":["infer:text-*"],"updated_at":"2026-01-02T03:04:05Z"}`
		viewer = `{"name":"viewer","built_in":true,"inherits":[],"permissions":["models:read"]}`
		ours   = `{"name":"ours","inherits":[],"permissions":[]}`
	)
	s, all := standIn(t, map[string]string{
		"GET /v1/roles":           `{"roles":[` + caller + `,` + ours + `,` + viewer + `]}`,
		"GET /v1/roles/caller":    caller,
		"PUT /v1/roles/caller":    caller,
		"DELETE /v1/roles/caller": "",
	})
	s.wants(`NAME    OF            INHERITS  PERMISSIONS
caller  acme          viewer    infer:text-*
ours    every tenant  -         -
viewer  built in      -         models:read
`, "roles", "list")
	const one = "NAME    OF    INHERITS  PERMISSIONS\ncaller  acme  viewer    infer:text-*\n"
	s.wants(one, "roles", "show", "caller")
	*all = nil
	s.wants(one, "roles", "put", "caller", "--permission", "infer:text-*", "--inherit", "viewer")
	s.wants(one, "roles", "put", "caller")
	s.wants("deleted caller\n", "roles", "delete", "caller")
	wantsAsked(t, all,
		asked{"PUT /v1/roles/caller", `{"inherits":["viewer"],"permissions":["infer:text-*"]}`},
		asked{"PUT /v1/roles/caller", `{"inherits":[],"permissions":[]}`},
		asked{"DELETE /v1/roles/caller", ""})
	s.fails(exitUsage, "usage: modelserve roles show NAME", "roles", "show")
	if r := s.run("roles", "delete", "caller", "nobody"); r.code != exitFailed || !strings.Contains(r.err, "note: deleted caller") {
		t.Errorf("%+v", r)
	}
}

func TestGrants(t *testing.T) {
	t.Parallel()
	const made = `{"id":"g1","tenant":"acme","to":{"key":"k1"},"by":"platform","roles":[],"permissions":["infer:churn"],"status":"active","created_at":"2026-01-02T03:04:05Z","expires_at":"2027-01-02T03:04:05Z"}`
	s, all := standIn(t, map[string]string{
		"GET /v1/grants":       `{"grants":[` + made + `,{"id":"g0","tenant":"acme","to":{"subject":"https://id a\u202eb"},"by":"key:k2","roles":["viewer"],"permissions":[],"status":"expired"}]}`,
		"POST /v1/grants":      made,
		"DELETE /v1/grants/g1": "",
	})
	s.wants("ID  TENANT  TO                      BY        ROLES   PERMISSIONS  STATUS   EXPIRES\n"+
		"g1  acme    key:k1                  platform  -       infer:churn  active   2027-01-02 03:04:05\n"+
		"g0  acme    subject:https://id a\ufffdb  key:k2    viewer  -            expired  never\n", "grants", "list")
	*all = nil
	const granted = "granted to key:k1 as g1; `modelserve grants delete g1` ends it\n"
	s.wants(granted, "grants", "create", "--to-key", "ms_k1_"+strings.Repeat("S", 43), "--permission", "infer:churn", "--expires-in", "24h")
	s.wants(granted, "grants", "create", "--to-subject", "https://id.example alice", "--role", "deployer")
	s.wants(granted, "grants", "create", "--to-tenant", "acme", "--tenant", "acme", "--role", "viewer", "--expires-at", "2030-01-01T01:00:00+01:00")
	s.wants("deleted g1\n", "grants", "delete", "g1")
	wantsAsked(t, all,
		asked{"POST /v1/grants", `{"to":{"key":"k1"},"permissions":["infer:churn"],"expires_in":"24h0m0s"}`},
		asked{"POST /v1/grants", `{"to":{"subject":"https://id.example alice"},"roles":["deployer"]}`},
		asked{"POST /v1/grants", `{"to":{"tenant":"acme"},"tenant":"acme","roles":["viewer"],"expires_at":"2030-01-01T00:00:00Z"}`},
		asked{"DELETE /v1/grants/g1", ""})
	s.fails(exitUsage, "--to-key, --to-subject and --to-tenant", "grants", "create", "--role", "viewer")
	s.fails(exitUsage, "--to-key, --to-subject and --to-tenant", "grants", "create", "--role", "viewer", "--to-key", "a", "--to-tenant", "b")
	s.fails(exitUsage, "--role or --permission", "grants", "create", "--to-key", "a")
	s.fails(exitUsage, "exclude each other", "grants", "create", "--to-key", "a", "--role", "viewer", "--expires-in", "1h", "--expires-at", "2030-01-01T00:00:00Z")
}

func TestAccessIsExplained(t *testing.T) {
	t.Parallel()
	s, all := standIn(t, map[string]string{"GET /v1/access": `{"allowed":false,"because":["Nothing gives infer:churn.","The key ended."]}`})
	s.wants("denied: Nothing gives infer:churn. The key ended.\n", "access", "explain", "infer", "churn", "--for", "k7")
	s.wants("{\n  \"allowed\": false,\n  \"because\": [\n    \"Nothing gives infer:churn.\",\n    \"The key ended.\"\n  ]\n}\n", "access", "explain", "admin", "-o", "json")
	wantsAsked(t, all, asked{"GET /v1/access?action=infer&key=k7&resource=churn", ""}, asked{"GET /v1/access?action=admin", ""})
	s.fails(exitUsage, "usage:", "access", "explain")
}

func TestAuditIsListedAndExported(t *testing.T) {
	t.Parallel()
	const entry = `{"seq":7,"at":"2026-01-02T03:04:05.678Z","tenant":"acme","actor":"key:k1","action":"key.create","resource":"key:k2","outcome":"refused","reason":"a\u202eb","request_id":"r","address":"192.0.2.1","count":3,"previous":"p","hash":"h"}`
	s, all := standIn(t, map[string]string{
		"GET /v1/audit":        `{"entries":[` + entry + `]}`,
		"GET /v1/audit/export": entry + "\n" + entry + "\n",
	})
	s.wants("SEQ  AT                   ACTOR   ACTION      RESOURCE  OUTCOME  TIMES  ADDRESS    REASON\n"+
		"7    2026-01-02 03:04:05  key:k1  key.create  key:k2    refused  3      192.0.2.1  a\ufffdb\n",
		"audit", "list", "--actor", "key:k1", "--action", "key.create", "--resource", "key:k2", "--outcome", "refused", "--from", "2026-01-01T01:00:00+01:00", "--to", "2027-01-01T00:00:00Z", "--tenant", "acme")
	s.must("audit", "list", "--platform", "--limit", "0")
	s.wants(entry+"\n"+entry+"\n", "audit", "export", "--from", "2026-01-01T00:00:00Z")
	wantsAsked(t, all,
		asked{"GET /v1/audit?action=key.create&actor=key:k1&from=2026-01-01T00:00:00Z&limit=50&outcome=refused&resource=key:k2&tenant=acme&to=2027-01-01T00:00:00Z", ""},
		asked{"GET /v1/audit?limit=200&platform=true", ""},
		asked{"GET /v1/audit/export?from=2026-01-01T00:00:00Z", ""})
	s.fails(exitUsage, "exclude each other", "audit", "list", "--platform", "--tenant", "a")
	s.fails(exitUsage, "--from: expected a time", "audit", "export", "--from", "yesterday")
	s.fails(exitUsage, "--limit", "audit", "list", "--limit", "-1")
	s.vars["MODELSERVE_KEY"] = "ms_other"
	s.fails(exitFailed, "does not know this key", "audit", "export")
}

// TestAnExportThatBreaksOffFails holds that half an export is not taken for a whole one.
func TestAnExportThatBreaksOffFails(t *testing.T) {
	t.Parallel()
	server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
		"GET /v1/audit/export": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintln(w, `{"seq":1}`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	})
	s := newShell(t)
	s.vars = map[string]string{"MODELSERVE_SERVER": server.URL, "MODELSERVE_KEY": "ms_test_key"}
	if r := s.run("audit", "export"); r.code != exitFailed || !strings.Contains(r.err, "is not all") {
		t.Errorf("%+v", r)
	}
}

// TestVerifyFailsWhereOneChainDoesNotHold holds the exit status, and that the chains that do are
// reported all the same.
func TestVerifyFailsWhereOneChainDoesNotHold(t *testing.T) {
	t.Parallel()
	server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
		"GET /v1/audit/chains": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") == "" {
				_, _ = fmt.Fprint(w, `{"chains":[{"platform":true,"seq":9},{"tenant":"bad","seq":4}],"next_cursor":"x"}`)
				return
			}
			_, _ = fmt.Fprint(w, `{"chains":[{"tenant":"gone","seq":2},{"tenant":"good","seq":3}]}`)
		},
		"GET /v1/audit/verify": func(w http.ResponseWriter, r *http.Request) {
			switch tenant := r.URL.Query().Get("tenant"); tenant {
			case "bad":
				_, _ = fmt.Fprint(w, `{"holds":false,"entries":4,"broken_at":5}`)
			case "gone":
				problem.Write(w, problem.New(problem.Unavailable, "later"))
			default:
				_, _ = fmt.Fprint(w, `{"holds":true,"entries":12}`)
			}
		},
	})
	s := newShell(t)
	s.vars = map[string]string{"MODELSERVE_SERVER": server.URL, "MODELSERVE_KEY": "ms_test_key"}
	s.wants("CHAIN  HOLDS  ENTRIES  BROKEN AT\n(own)  yes    12\n", "audit", "verify")
	r := s.run("audit", "verify", "--all")
	want := "CHAIN       HOLDS  ENTRIES  BROKEN AT\n(platform)  yes    12\nbad         NO     4        5\ngood        yes    12\n"
	if r.code != exitFailed || r.out != want || !strings.Contains(r.err, "the chain bad does not hold: it is broken at entry 5") {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(r.err, "the chain gone could not be verified") {
		t.Error(r.err)
	}
	s.fails(exitFailed, "later", "audit", "verify", "--tenant", "gone")
	s.fails(exitUsage, "--all goes without", "audit", "verify", "--all", "--platform")
}
