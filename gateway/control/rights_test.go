package control_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// wants does a request that has to have a status, and returns the answer's fields.
func (a *api) wants(status int, method, path, body string) map[string]any {
	a.t.Helper()
	got := a.do(request{method: method, path: path, body: body})
	if got.status != status {
		a.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, got.status, got.body, status)
	}
	fields := map[string]any{}
	if got.body != "" && strings.HasPrefix(got.body, "{") {
		if err := json.Unmarshal([]byte(got.body), &fields); err != nil {
			a.t.Fatal(got.body, err)
		}
	}
	return fields
}

// text is a field of an answer.
func text(fields map[string]any, name string) string {
	s, _ := fields[name].(string)
	return s
}

// list is a list of an answer.
func list(fields map[string]any, name string) []any {
	l, _ := fields[name].([]any)
	return l
}

func TestAKeyIsRotated(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body   string
		status int
		ends   time.Duration // of the old one; negative is at once
	}{
		"by default":       {"", 201, 24 * time.Hour},
		"with an overlap":  {`{"overlap":"1h30m"}`, 201, 90 * time.Minute},
		"null":             {`{"overlap":null}`, 201, 24 * time.Hour},
		"at once":          {`{"overlap":"0s"}`, 201, -1},
		"the longest":      {`{"overlap":"720h"}`, 201, 720 * time.Hour},
		"too long":         {`{"overlap":"720h1s"}`, 400, 0},
		"negative":         {`{"overlap":"-1s"}`, 400, 0},
		"without a unit":   {`{"overlap":"24"}`, 400, 0},
		"a number":         {`{"overlap":24}`, 400, 0},
		"an unknown field": {`{"overlaps":"1h"}`, 400, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			old := a.stored(auth.KeySpec{Name: "ci", Description: "builds", Tenant: "default", Scopes: []auth.Permission{auth.InferAll}, Roles: []string{"viewer"}})
			before := time.Now()
			got := a.do(request{method: "POST", path: "/v1/keys/" + old.ID + "/rotate", body: tc.body})
			if got.status != tc.status {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if tc.status != http.StatusCreated {
				if len(names(got.problem(t))) != 1 {
					t.Error(got.body)
				}
				return
			}
			var next struct {
				ID, Key, Replaces, Name, Description string
				Scopes, Roles                        []string
			}
			if err := json.Unmarshal([]byte(got.body), &next); err != nil {
				t.Fatal(err)
			}
			if next.Replaces != old.ID || !strings.HasPrefix(next.Key, "ms_"+next.ID+"_") || got.header.Get("Cache-Control") != "no-store" ||
				got.header.Get("Location") != "/v1/keys/"+next.ID {
				t.Errorf("%v %s", got.header, got.body)
			}
			if next.Name != "ci" || next.Description != "builds" || len(next.Scopes) != 1 || len(next.Roles) != 1 {
				t.Errorf("its rights differ: %s", got.body)
			}
			ended := a.mirror.Key(old.ID)
			switch left := ended.ExpiresAt.Sub(before); {
			case tc.ends < 0 && ended.Status(time.Now()) != auth.Expired:
				t.Errorf("the old one is %s", ended.Status(time.Now()))
			case tc.ends > 0 && (left < tc.ends-time.Second || left > tc.ends+time.Minute):
				t.Errorf("the old one ends in %v, want %v", left, tc.ends)
			}
			if again := a.do(request{method: "POST", path: "/v1/keys/" + old.ID + "/rotate"}); again.status != http.StatusConflict {
				t.Errorf("rotated twice: %d %s", again.status, again.body)
			}
		})
	}
}

// TestRevokingIsOnceForAll holds that what is revoked stays so, that revoking it again is
// no error, and that rotations go with it where they are asked for.
func TestRevokingIsOnceForAll(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	first := a.stored(auth.KeySpec{Name: "ci", Tenant: "default", Scopes: []auth.Permission{auth.InferAll}})
	second := text(a.wants(201, "POST", "/v1/keys/"+first.ID+"/rotate", ""), "id")
	third := text(a.wants(201, "POST", "/v1/keys/"+second+"/rotate", ""), "id")
	for range 2 {
		a.wants(204, "DELETE", "/v1/keys/"+first.ID, "")
	}
	if a.mirror.Key(first.ID) != nil || a.mirror.Key(second) == nil || a.mirror.Key(third) == nil {
		t.Fatal("not the one alone")
	}
	for range 2 {
		a.wants(204, "DELETE", "/v1/keys/"+first.ID+"?rotations=true", "")
	}
	if a.mirror.Key(second) != nil || a.mirror.Key(third) != nil {
		t.Error("its rotations go on")
	}
	a.as("other", auth.KeysAdmin, auth.InferAll)
	a.wants(404, "DELETE", "/v1/keys/"+first.ID, "")
	a.wants(404, "DELETE", "/v1/keys/"+first.ID+"?rotations=true", "")
	a.wants(404, "POST", "/v1/keys/"+first.ID+"/rotate", "")
}

// TestARoleNeedsAKeysPlace holds that a key has a scope or a role, and which field is
// named where it has neither.
func TestAKeyHasAScopeOrARole(t *testing.T) {
	t.Parallel()
	for body, fields := range map[string][]string{
		`{"name":"a","roles":["viewer"]}`:             nil,
		`{"name":"a","roles":["viewer"],"scopes":[]}`: nil,
		`{"name":"a","scopes":["infer:text-*"]}`:      nil,
		`{"name":"a","roles":[],"scopes":["run:*"]}`:  nil,
		`{"name":"a"}`:                                  {"scopes"},
		`{"name":"a","roles":null}`:                     {"scopes"},
		`{"name":"a","roles":[],"scopes":[]}`:           {"scopes"},
		`{"name":"a","roles":["nobody"]}`:               {"roles[0]"},
		`{"name":"a","scopes":["infer:te*t"]}`:          {"scopes[0]"},
		`{"name":"a","scopes":["infer:*"],"id":"mine"}`: {"id"},
	} {
		got := newAPI(t).do(request{method: "POST", path: "/v1/keys", body: body})
		if fields == nil {
			if got.status != http.StatusCreated {
				t.Errorf("%s: %d %s", body, got.status, got.body)
			}
			continue
		}
		if diff := cmp.Diff(fields, names(got.problem(t))); diff != "" {
			t.Errorf("%s: %s\n%s", body, got.body, diff)
		}
	}
}

// TestWhatHasNeitherListIsNamedWithBoth holds that what has no right at all is answered
// with each list that it could be in.
func TestWhatHasNeitherListIsNamedWithBoth(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ path, body, want string }{
		"a grant":                {"/v1/grants", `{"to":{"tenant":"acme"}}`, "permissions: expected roles or permissions, at least one"},
		"a grant of empty lists": {"/v1/grants", `{"to":{"tenant":"acme"},"roles":[],"permissions":[]}`, "permissions: expected roles or permissions, at least one"},
		"a grant of null":        {"/v1/grants", `{"to":{"tenant":"acme"},"permissions":null}`, "permissions: expected roles or permissions, at least one"},
		"a key":                  {"/v1/keys", `{"name":"a"}`, "scopes: expected roles or scopes, at least one"},
		"a key of empty lists":   {"/v1/keys", `{"name":"a","roles":[],"scopes":[]}`, "scopes: expected roles or scopes, at least one"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newAPI(t).do(request{method: "POST", path: tc.path, body: tc.body})
			if p := got.problem(t); got.status != http.StatusBadRequest || p.Detail != tc.want {
				t.Errorf("%d %s, want %q", got.status, got.body, tc.want)
			}
		})
	}
}

// TestARolesNameIsNobodyElses holds what is said where an admin's role would have the name
// of tenants' own, and the other way round.
func TestARolesNameIsNobodyElses(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	admin := a.caller
	a.wants(201, "PUT", "/v1/roles/ops", `{}`)
	for _, tenant := range []string{"acme", "beta"} {
		a.as(tenant, auth.RolesAdmin)
		a.wants(201, "PUT", "/v1/roles/mine", `{}`)
		if got := text(a.wants(409, "PUT", "/v1/roles/ops", `{}`), "detail"); got != "there is a role ops that every tenant has: choose another name" {
			t.Error(got)
		}
	}
	a.caller = admin
	if got := text(a.wants(409, "PUT", "/v1/roles/mine", `{}`), "detail"); !strings.Contains(got, "(acme is one of 2)") {
		t.Error(got)
	}
}

// TestAnAdminByAGrantMakesRolesOfTheirTenant holds that a role of everybody's takes an
// admin whose right does not end.
func TestAnAdminByAGrantMakesRolesOfTheirTenant(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.wants(201, "PUT", "/v1/roles/ops", `{}`)
	admin := a.caller
	borrower := a.as("acme", auth.RolesAdmin)
	by := a.caller
	a.caller = admin
	a.wants(201, "POST", "/v1/grants", `{"to":{"key":"`+borrower.ID+`"},"tenant":"acme","permissions":["admin"]}`)
	a.caller = by
	a.wants(200, "GET", "/v1/access?action=admin", "")
	if got := a.wants(201, "PUT", "/v1/roles/mine", `{}`); text(got, "tenant") != "acme" {
		t.Errorf("%v", got)
	}
	a.wants(409, "PUT", "/v1/roles/ops", `{}`)
	a.wants(404, "DELETE", "/v1/roles/ops", "")
}

func TestRoles(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	made := a.wants(201, "PUT", "/v1/roles/caller", `{"name":"caller","inherits":["viewer"],"permissions":["infer:text-*"]}`)
	if _, mine := made["tenant"]; mine || text(made, "updated_at") == "" {
		t.Errorf("an admin's: %v", made)
	}
	a.wants(200, "PUT", "/v1/roles/caller", `{"permissions":["infer:*"]}`)
	if got := a.wants(200, "GET", "/v1/roles/caller", ""); len(list(got, "permissions")) != 1 || len(list(got, "inherits")) != 0 {
		t.Errorf("%v", got)
	}
	if got := a.wants(200, "GET", "/v1/roles/deployer", ""); got["built_in"] != true || len(list(got, "inherits")) != 1 {
		t.Errorf("%v", got)
	}
	a.as("acme", auth.RolesAdmin, auth.InferAll)
	if got := a.wants(201, "PUT", "/v1/roles/own", `{"inherits":["caller"]}`); text(got, "tenant") != "acme" {
		t.Errorf("%v", got)
	}
	var all []string
	for cursor := ""; ; {
		page := a.wants(200, "GET", "/v1/roles?limit=3&cursor="+cursor, "")
		for _, r := range list(page, "roles") {
			all = append(all, r.(map[string]any)["name"].(string))
		}
		if cursor = text(page, "next_cursor"); cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"admin", "auditor", "caller", "deployer", "invoker", "own", "viewer"}, all); diff != "" {
		t.Error(diff)
	}
	for name, tc := range map[string]struct {
		method, path, body string
		status             int
		fields             []string
	}{
		"built in":                    {"PUT", "admin", `{}`, 409, nil},
		"built in, deleted":           {"DELETE", "viewer", "", 409, nil},
		"everybody's":                 {"PUT", "caller", `{}`, 409, nil},
		"everybody's, deleted":        {"DELETE", "caller", "", 404, nil},
		"not there":                   {"GET", "nobody", "", 404, nil},
		"not there, deleted":          {"DELETE", "nobody", "", 404, nil},
		"inherits itself":             {"PUT", "own", `{"inherits":["own"]}`, 400, []string{"inherits"}},
		"inherits nobody":             {"PUT", "own", `{"inherits":["viewer","nobody"]}`, 400, []string{"inherits[1]"}},
		"more than the maker has":     {"PUT", "more", `{"permissions":["models:write"]}`, 403, nil},
		"no permission":               {"PUT", "more", `{"permissions":["sudo"]}`, 400, []string{"permissions[0]"}},
		"no name":                     {"PUT", "More", `{}`, 400, []string{"name"}},
		"another name":                {"PUT", "more", `{"name":"less"}`, 400, []string{"name"}},
		"an unknown field":            {"PUT", "more", `{"scopes":["infer:*"]}`, 400, []string{"scopes"}},
		"too much, and all of it bad": {"PUT", "more", `{"permissions":[` + strings.Repeat(`"x",`, 100) + `"x"]}`, 400, []string{"permissions"}},
	} {
		got := a.do(request{method: tc.method, path: "/v1/roles/" + tc.path, body: tc.body})
		if got.status != tc.status || !cmp.Equal(names(got.problem(t)), tc.fields) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	a.stored(auth.KeySpec{Name: "a", Tenant: "acme", Roles: []string{"own"}})
	a.wants(409, "DELETE", "/v1/roles/own", "")
	a.wants(201, "PUT", "/v1/roles/unused", `{}`)
	a.wants(204, "DELETE", "/v1/roles/unused", "")
	a.wants(404, "GET", "/v1/roles/unused", "")
}

func TestGrants(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	to := a.stored(auth.KeySpec{Name: "ci", Tenant: "acme", Scopes: []auth.Permission{auth.ModelsRead}})
	a.as("acme", auth.RolesAdmin, auth.InferAll)
	given := a.do(request{method: "POST", path: "/v1/grants", body: `{"to":{"key":"` + to.ID + `"},"permissions":["infer:churn"],"expires_in":"1h"}`})
	var grant struct {
		ID, Tenant, By, Status string
		To                     map[string]string
		Roles, Permissions     []string
		ExpiresAt              *time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal([]byte(given.body), &grant); err != nil {
		t.Fatal(given.body, err)
	}
	if given.status != http.StatusCreated || given.header.Get("Location") != "/v1/grants/"+grant.ID || grant.Tenant != "acme" ||
		grant.By != a.caller.ID || grant.To["key"] != to.ID || grant.Status != "active" || grant.ExpiresAt == nil || len(grant.Permissions) != 1 {
		t.Errorf("%d %v %s", given.status, given.header, given.body)
	}
	for name, tc := range map[string]struct {
		body   string
		status int
		fields []string
	}{
		"a subject":               {`{"to":{"subject":"https://id.example me too"},"permissions":["infer:x"]}`, 201, nil},
		"the tenant":              {`{"to":{"tenant":"acme"},"roles":["nothing"]}`, 400, []string{"roles[0]"}},
		"nobody":                  {`{"to":{},"permissions":["infer:x"]}`, 400, []string{"to"}},
		"nobody at all":           {`{"permissions":["infer:x"]}`, 400, []string{"to"}},
		"two":                     {`{"to":{"tenant":"acme","key":"` + to.ID + `"},"permissions":["infer:x"]}`, 400, []string{"to"}},
		"two, one of them null":   {`{"to":{"tenant":"acme","key":null},"permissions":["infer:x"]}`, 201, nil},
		"two, one of them empty":  {`{"to":{"tenant":"acme","subject":""},"permissions":["infer:x"]}`, 201, nil},
		"the longest subject":     {`{"to":{"subject":"` + strings.Repeat("i", 255) + " " + strings.Repeat("s", 255) + `"},"permissions":["infer:x"]}`, 201, nil},
		"a long issuer":           {`{"to":{"subject":"` + strings.Repeat("i", 256) + ` s"},"permissions":["infer:x"]}`, 400, []string{"to.subject"}},
		"a long subject":          {`{"to":{"subject":"i ` + strings.Repeat("é", 128) + `"},"permissions":["infer:x"]}`, 400, []string{"to.subject"}},
		"a space at the end":      {`{"to":{"subject":"x y "},"permissions":["infer:x"]}`, 400, []string{"to.subject"}},
		"two spaces":              {`{"to":{"subject":"x  y"},"permissions":["infer:x"]}`, 400, []string{"to.subject"}},
		"what is not seen":        {`{"to":{"subject":"x y\u200b"},"permissions":["infer:x"]}`, 400, []string{"to.subject"}},
		"no subject":              {`{"to":{"subject":"https://id.example"},"permissions":["infer:x"]}`, 400, []string{"to.subject"}},
		"control characters":      {`{"to":{"subject":"https://id.example a\nb"},"permissions":["infer:x"]}`, 400, []string{"to.subject"}},
		"another tenant":          {`{"to":{"tenant":"other"},"permissions":["infer:x"]}`, 400, []string{"to.tenant"}},
		"in another tenant":       {`{"to":{"tenant":"other"},"tenant":"other","permissions":["infer:x"]}`, 403, nil},
		"a key that is not there": {`{"to":{"key":"nobody"},"permissions":["infer:x"]}`, 400, []string{"to.key"}},
		"nothing":                 {`{"to":{"tenant":"acme"}}`, 400, []string{"permissions"}},
		"more than they hold":     {`{"to":{"tenant":"acme"},"permissions":["models:read"]}`, 403, nil},
		"a role of more":          {`{"to":{"tenant":"acme"},"roles":["viewer"]}`, 403, nil},
		"an end that is past":     {`{"to":{"tenant":"acme"},"permissions":["infer:x"],"expires_at":"2001-01-01T00:00:00Z"}`, 400, []string{"expires_at"}},
		"two ends":                {`{"to":{"tenant":"acme"},"permissions":["infer:x"],"expires_in":"1h","expires_at":"2101-01-01T00:00:00Z"}`, 400, []string{"expires_in"}},
		"21 permissions":          {`{"to":{"tenant":"acme"},"permissions":["infer:x"` + strings.Repeat(`,"infer:x"`, 20) + `]}`, 400, []string{"permissions"}},
	} {
		got := a.do(request{method: "POST", path: "/v1/grants", body: tc.body})
		if got.status != tc.status || tc.status != 201 && !cmp.Equal(names(got.problem(t)), tc.fields) {
			t.Errorf("%s: %d %s, want %d %v", name, got.status, got.body, tc.status, tc.fields)
		}
	}
	first := a.wants(200, "GET", "/v1/grants?limit=3", "")
	second := a.wants(200, "GET", "/v1/grants?cursor="+text(first, "next_cursor"), "")
	if len(list(first, "grants")) != 3 || len(list(second, "grants")) != 2 || text(second, "next_cursor") != "" {
		t.Errorf("%v\n%v", first, second)
	}
	a.as("other", auth.RolesAdmin, auth.InferAll)
	a.wants(404, "GET", "/v1/grants/"+grant.ID, "")
	a.wants(404, "DELETE", "/v1/grants/"+grant.ID, "")
	a.as("acme", auth.RolesAdmin)
	a.wants(403, "DELETE", "/v1/grants/"+grant.ID, "") // not theirs, and more than they hold
	a.as("acme", auth.RolesAdmin, auth.Infer("churn"))
	a.wants(200, "GET", "/v1/grants/"+grant.ID, "")
	a.wants(204, "DELETE", "/v1/grants/"+grant.ID, "")
	a.wants(404, "GET", "/v1/grants/"+grant.ID, "")
}

// TestAnAdminOfAnotherTenantIsThePlatform holds that a tenant sees what was done to its
// keys and grants, and not by whom of others.
func TestAnAdminOfAnotherTenantIsThePlatform(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	admin := a.caller
	a.wants(201, "POST", "/v1/grants", `{"to":{"tenant":"acme"},"tenant":"acme","permissions":["infer:churn"]}`)
	a.wants(201, "POST", "/v1/keys", `{"name":"ci","tenant":"acme","scopes":["infer:churn"]}`)
	a.as("acme", auth.RolesAdmin, auth.AuditRead)
	whole := a.do(request{path: "/v1/grants"}).body + a.do(request{path: "/v1/audit"}).body + a.do(request{path: "/v1/access?action=infer&resource=churn"}).body
	if strings.Contains(whole, admin.ID) || strings.Contains(whole, "192.0.2.7") || strings.Contains(whole, "default") || strings.Count(whole, `"by":"platform"`) != 1 ||
		strings.Count(whole, `"actor":"platform"`) != 2 || strings.Count(whole, "which platform holds") != 1 {
		t.Error(whole)
	}
	a.caller = admin
	full := a.wants(200, "GET", "/v1/audit?platform=true&actor="+admin.ID, "")
	if entries := list(full, "entries"); len(entries) != 2 || text(entries[0].(map[string]any), "address") != "192.0.2.7" || text(entries[0].(map[string]any), "request_id") != "r1" {
		t.Errorf("%v", full)
	}
	if got := a.wants(200, "GET", "/v1/grants", ""); !strings.Contains(text(list(got, "grants")[0].(map[string]any), "by"), "key:") {
		t.Errorf("the admin is not shown: %v", got)
	}
	if got := a.wants(200, "GET", "/v1/audit", ""); len(list(got, "entries")) != 0 {
		t.Errorf("in the admin's own: %v", got)
	}
}

// TestARefusedChangeIsRecorded holds that what a caller may not give is in the log of
// refusals, with what they wanted to do.
func TestARefusedChangeIsRecorded(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.as("acme", auth.KeysAdmin)
	a.wants(403, "POST", "/v1/keys", `{"name":"a","scopes":["admin"]}`)
	a.wants(400, "POST", "/v1/keys", `{"name":"a","roles":["nobody"]}`)
	want := []audit.Entry{{
		Tenant: "acme", Actor: a.caller.ID, Action: "key.create", Outcome: audit.Refused, Reason: "permission_denied", RequestID: "r1", Address: "192.0.2.7", Count: 1,
	}}
	for i := range a.refused {
		a.refused[i].At = time.Time{}
	}
	if diff := cmp.Diff(want, a.refused); diff != "" {
		t.Error(diff)
	}
}

// TestWhoLostTheirRightsChangesNothing holds that a change is decided on what its maker
// may do when it is made, not when they came.
func TestWhoLostTheirRightsChangesNothing(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	key := a.as("default", auth.KeysAdmin)
	gone := *key
	gone.RevokedAt = time.Now()
	a.changed(access.Change{Keys: []*auth.Key{&gone}})
	if got := a.do(request{method: "POST", path: "/v1/keys", body: `{"name":"a","scopes":["keys:admin"]}`}); got.problem(t).Code != problem.Unauthenticated {
		t.Errorf("%d %s", got.status, got.body)
	}
}
