package access_test

import (
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

const jane = "https://id.example jane"

// token is one of jane's, of tenant t.
func token(issued time.Time, roles ...string) *auth.Principal {
	return &auth.Principal{
		ID: "subject:" + jane, Subject: jane, Tenant: "t", Roles: roles, IssuedAt: issued, Until: now().Add(48 * time.Hour), NoAdmin: true,
	}
}

// grants is what comes of jane's granting a permission to bob by a token.
func (w *world) grants(by *auth.Principal, id string, p auth.Permission) (*access.Change, error) {
	d := &access.Decider{State: w.state, Bounds: access.DefaultBounds(), Now: w.now, By: by}
	return d.Grant(grant(id, "t", to("bob"), access.GiverOf(by), p))
}

// withRoles is a world in which jane's roles are there, and bob.
func withRoles(t *testing.T) *world {
	w := newWorld(t, key("t", "bob", auth.ModelsRead))
	w.state = w.state.Apply(&access.Change{Roles: []*access.Role{
		{Tenant: "t", Name: "caller", Permissions: []auth.Permission{auth.InferAll}},
		{Tenant: "t", Name: "clerk", Permissions: []auth.Permission{auth.RolesAdmin}},
	}})
	return w
}

// TestAnOlderTokenBringsNothingBack holds that what a giver lost by a newer token stays
// lost, whatever they do with an older one that is still good.
func TestAnOlderTokenBringsNothingBack(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		again time.Time // when the second token was issued
		keeps bool
	}{
		"by the token of before":    {now().Add(-time.Hour), false},
		"by one of the same second": {now().Add(-time.Minute), false},
		"by one that has it again":  {now().Add(-time.Second), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withRoles(t)
			w.does(w.grants(token(now().Add(-time.Hour), "caller", "clerk"), "g1", auth.InferAll))
			w.expect("bob", "infer:x", true)
			w.state = w.state.Apply(&access.Change{Subjects: []*access.Subject{access.SubjectOf(token(now().Add(-time.Minute), "clerk"))}})
			w.expect("bob", "infer:x", false)
			again := token(tc.again, "caller", "clerk")
			change, err := w.grants(again, "g2", auth.Infer("y"))
			if tc.keeps {
				w.does(change, err)
			} else {
				w.refused(problem.PermissionDenied, change, err)
			}
			w.does(w.grants(again, "g3", auth.RolesAdmin)) // which the newest has
			w.expect("bob", auth.RolesAdmin, true)
			w.expect("bob", "infer:x", tc.keeps)
			w.expect("bob", "infer:y", tc.keeps)
			w.now = now().Add(access.SubjectCounts)
			w.expect("bob", auth.RolesAdmin, false)
		})
	}
}

// TestATokenThatGrantsHasAnAge holds that whose token could not count as a giver is
// shown why.
func TestATokenThatGrantsHasAnAge(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		issued time.Time
		good   bool
	}{
		"without iat":              {time.Time{}, false},
		"a day old":                {now().Add(-24 * time.Hour), false},
		"not quite":                {now().Add(-24*time.Hour + time.Second), true},
		"by a clock that is ahead": {now().Add(time.Minute), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withRoles(t)
			change, err := w.grants(token(tc.issued, "clerk"), "g", auth.RolesAdmin)
			if tc.good {
				w.does(change, err)
				return
			}
			w.refused(problem.PermissionDenied, change, err)
			if err == nil || !strings.Contains(err.Error(), "needs a token with iat, at most 24 h old") {
				t.Error(err)
			}
		})
	}
}
