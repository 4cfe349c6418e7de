package access_test

import (
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// next makes the rotation of a key in tests: its id has one letter more.
func next(k *auth.Key) *auth.Key {
	n := *k
	n.ID, n.Replaces = k.ID+"'", k.ID
	return &n
}

// TestBorrowedRightsDoNotStay holds that what somebody has by a grant alone goes into
// nothing that would outlive the grant: no key, made or rotated, and no role.
func TestBorrowedRightsDoNotStay(t *testing.T) {
	t.Parallel()
	role := func(tenant string, permissions ...auth.Permission) *access.Role {
		return &access.Role{Tenant: tenant, Name: "mine", Permissions: permissions}
	}
	for name, tc := range map[string]struct {
		lent    auth.Permission
		does    func(p *access.Decider) (*access.Change, error)
		refused bool
	}{
		"a key with it": {auth.ModelsWrite, func(p *access.Decider) (*access.Change, error) {
			return p.CreateKey(key("t", "mine", auth.ModelsWrite))
		}, true},
		"a key without":                          {auth.ModelsWrite, func(p *access.Decider) (*access.Change, error) { return p.CreateKey(key("t", "mine", auth.KeysAdmin)) }, false},
		"a key with a part of it":                {auth.ModelsWrite, func(p *access.Decider) (*access.Change, error) { return p.CreateKey(key("t", "mine", auth.ModelsRead)) }, true},
		"a role with it":                         {auth.ModelsWrite, func(p *access.Decider) (*access.Change, error) { return p.PutRole(role("t", auth.ModelsRead)) }, true},
		"a role without":                         {auth.ModelsWrite, func(p *access.Decider) (*access.Change, error) { return p.PutRole(role("t", auth.KeysAdmin)) }, false},
		"another's key that has it":              {auth.ModelsWrite, func(p *access.Decider) (*access.Change, error) { return p.RotateKey("writer", time.Hour, next) }, true},
		"another's key that holds it by a grant": {auth.ModelsWrite, func(p *access.Decider) (*access.Change, error) { return p.RotateKey("lent", time.Hour, next) }, true},
		"another's key without":                  {auth.ModelsWrite, func(p *access.Decider) (*access.Change, error) { return p.RotateKey("keys", time.Hour, next) }, false},
		"their own key":                          {auth.ModelsWrite, func(p *access.Decider) (*access.Change, error) { return p.RotateKey("p", time.Hour, next) }, false},
		"an admin's key":                         {auth.Admin, func(p *access.Decider) (*access.Change, error) { return p.RotateKey("boss", time.Hour, next) }, true},
		"a key of another tenant":                {auth.Admin, func(p *access.Decider) (*access.Change, error) { return p.RotateKey("theirs", time.Hour, next) }, true},
		"a key in another tenant":                {auth.Admin, func(p *access.Decider) (*access.Change, error) { return p.CreateKey(key("u", "mine", auth.KeysAdmin)) }, true},
		"everybody's role": {auth.Admin, func(p *access.Decider) (*access.Change, error) {
			return p.PutRole(role(access.Everywhere, auth.KeysAdmin))
		}, true},
		"everybody's role, deleted": {auth.Admin, func(p *access.Decider) (*access.Change, error) { return p.DeleteRole(&access.Role{Name: "nothing"}) }, true},
		"a grant in another tenant": {auth.Admin, func(p *access.Decider) (*access.Change, error) {
			return p.Grant(grant("g", "u", to("theirs"), giver("t", "p"), auth.KeysAdmin))
		}, true},
		"a grant in their own": {auth.Admin, func(p *access.Decider) (*access.Change, error) {
			return p.Grant(grant("g", "t", to("keys"), giver("t", "p"), auth.ModelsWrite))
		}, false},
		"the end of a key elsewhere": {auth.Admin, func(p *access.Decider) (*access.Change, error) { return p.RevokeKey("theirs", false) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, key("t", "boss", auth.Admin), key("t", "p", auth.KeysAdmin, auth.RolesAdmin),
				key("t", "writer", auth.ModelsWrite), key("t", "lent"), key("t", "keys", auth.KeysAdmin), key("u", "theirs", auth.KeysAdmin))
			w.does(w.by("boss").PutRole(&access.Role{Name: "nothing"}))
			w.does(w.by("boss").Grant(grant("g1", "t", to("p"), giver("t", "boss"), tc.lent)))
			w.does(w.by("boss").Grant(grant("g2", "t", to("lent"), giver("t", "boss"), auth.ModelsWrite)))
			p := w.by("p")
			p.Bounds.Keys = 10
			change, err := tc.does(p)
			if tc.refused {
				w.refused(problem.PermissionDenied, change, err)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
