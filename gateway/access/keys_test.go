package access_test

import (
	"fmt"
	"strings"
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

// TestWhatEndsMakesNothingThatGoesOn holds that a key that ends makes none that ends
// later, that no rotation puts off an end, and that who logs in anew each hour makes keys
// for as long as they like.
func TestWhatEndsMakesNothingThatGoesOn(t *testing.T) {
	t.Parallel()
	hours := func(n int) time.Time { return now().Add(time.Duration(n) * time.Hour) }
	for name, tc := range map[string]struct {
		maker, made time.Time
		want        problem.Code
	}{
		"for ever, by one who goes on":      {time.Time{}, time.Time{}, ""},
		"for a while, by one who goes on":   {time.Time{}, hours(9), ""},
		"for ever, by one who ends":         {hours(1), time.Time{}, problem.InvalidArgument},
		"for longer than its maker":         {hours(1), hours(2), problem.InvalidArgument},
		"as long as its maker":              {hours(1), hours(1), ""},
		"for a shorter time than its maker": {hours(2), hours(1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			maker := key("t", "maker", auth.KeysAdmin)
			maker.ExpiresAt = tc.maker
			made := key("t", "made", auth.KeysAdmin)
			made.ExpiresAt = tc.made
			token := &auth.Principal{ID: "subject:i s", Subject: "i s", Tenant: "t", Scopes: []auth.Permission{auth.KeysAdmin}, IssuedAt: now(), Until: tc.maker}
			w := newWorld(t, maker)
			for who, by := range map[string]*auth.Principal{"a key": maker.Principal(), "a token": token} {
				d := &access.Decider{State: w.state, Bounds: access.DefaultBounds(), Now: now(), By: by}
				want := tc.want
				if by == token {
					want = ""
				}
				if _, err := d.CreateKey(made); problem.CodeOf(err) != want {
					t.Errorf("%s makes it: %v, want %s", who, err, want)
				}
				w := newWorld(t, maker, made)
				d.State = w.state
				if want != "" {
					want = problem.PermissionDenied
				}
				if _, err := d.RotateKey("made", time.Hour, next); problem.CodeOf(err) != want {
					t.Errorf("%s rotates it: %v, want %s", who, err, want)
				}
			}
			w.does(w.by("maker").RotateKey("maker", 30*time.Minute, next))
			if got := w.state.Key("maker'").ExpiresAt; !got.Equal(tc.maker) {
				t.Errorf("rotated by itself it ends %v, want %v", got, tc.maker)
			}
		})
	}
}

// TestARotationThatWasLostChangesNoEnd holds that a key whose rotation was lost, and so
// revoked, is rotated to one that ends when it would have itself; but not by itself, or
// by another that is to end because it was rotated.
func TestARotationThatWasLostChangesNoEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]time.Time{"never": {}, "in a week": now().Add(7 * 24 * time.Hour)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := key("t", "k", auth.KeysAdmin)
			k.ExpiresAt = end
			w := newWorld(t, key("t", "boss", auth.Admin), k)
			w.does(w.by("boss").RotateKey("k", time.Hour, next))
			w.does(w.by("boss").RevokeKey("k'", false))
			overlap := w.state.Key("k").ExpiresAt
			change, err := w.by("k").RotateKey("k", time.Hour, next)
			if err != nil || !change.Keys[0].ExpiresAt.Equal(overlap) {
				t.Errorf("it put off its own end: %v, %v", change, err)
			}
			w.does(w.by("boss").RotateKey("k", 2*time.Hour, next))
			if got := w.state.Key("k'"); !got.ExpiresAt.Equal(end) || got.Planned != nil {
				t.Errorf("the second rotation ends %v, want %v", got.ExpiresAt, end)
			}
			if got := w.state.Key("k").ExpiresAt; !got.Equal(overlap) {
				t.Errorf("the old one ends %v, want %v", got, overlap)
			}
			w.refused(problem.PermissionDenied, nil, second(w.by("k").RotateKey("k'", time.Hour, next)))
			w.does(w.by("k'").RotateKey("k'", time.Hour, next))
		})
	}
}

// TestKeysThatEndAreBounded holds that whoever makes keys of a second without an end, or
// rotates one without an end, fills neither the memory nor a day's bound, and that room
// comes of itself.
func TestKeysThatEndAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.Admin))
	made, at := 0, "boss"
	make1 := func() (*access.Change, error) {
		made++
		k := key("t", fmt.Sprint("k", made))
		k.ExpiresAt = w.now.Add(time.Second)
		return w.by(at).CreateKey(k)
	}
	for day := range 3 {
		for range 4 {
			w.does(make1())
			w.now = w.now.Add(2 * time.Second)
		}
		w.refused(problem.Conflict, nil, second(make1()))
		w.now = w.now.Add(access.Remembered)
		if n := w.state.Keys(); n != 5 {
			t.Errorf("day %d: %d keys are known", day, n)
		}
	}
	w.does(make1())
	if n := w.state.Keys(); n != 2 {
		t.Errorf("%d keys are known after a change, want the boss' and the one made", n)
	}
	for range 13 { // with a bound of 5, 15 are remembered
		w.does(w.by(at).RotateKey(at, 0, next))
		at += "'"
	}
	w.refused(problem.Conflict, nil, second(w.by(at).RotateKey(at, 0, next)))
	w.refused(problem.Conflict, nil, second(make1()))
	w.does(w.by(at).RevokeKey("boss", false)) // which makes room
	w.does(w.by(at).RotateKey(at, 0, next))
	w.now = w.now.Add(access.Remembered + 2*time.Second)
	at += "'"
	w.does(w.by(at).RevokeKey("boss'", false))
	if n := w.state.Keys(); n != 1 {
		t.Errorf("%d keys are known, want the last", n)
	}
}

// TestFewRotationsAreGoodAtOnce holds that a key and its rotations are three at most that
// are good, and that one that ends at once is rotated nevertheless.
func TestFewRotationsAreGoodAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.Admin), key("t", "k", auth.InferAll))
	w.does(w.by("boss").RotateKey("k", 2*time.Hour, next))
	w.does(w.by("boss").RotateKey("k'", time.Hour, next))
	_, err := w.by("boss").RotateKey("k''", time.Hour, next)
	w.refused(problem.Conflict, nil, err)
	if want := "k' ends, at 2026-01-02T04:04:05Z"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q in it", err, want)
	}
	w.does(w.by("boss").RotateKey("k''", 0, next))
	w.refused(problem.Conflict, nil, second(w.by("boss").RotateKey("k'''", time.Hour, next)))
	w.does(w.by("boss").RevokeKey("k", false))
	w.does(w.by("boss").RotateKey("k'''", time.Hour, next))
	w.refused(problem.Conflict, nil, second(w.by("boss").RotateKey("k''''", time.Hour, next)))
	w.now = w.now.Add(time.Hour)
	w.does(w.by("boss").RotateKey("k''''", time.Hour, next))
}
