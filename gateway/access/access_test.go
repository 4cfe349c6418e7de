package access_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

func now() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func key(tenant, id string, scopes ...auth.Permission) *auth.Key {
	return &auth.Key{ID: id, Name: id, Tenant: tenant, Scopes: scopes, Lineage: id, CreatedAt: now()}
}

// world is a State that is changed step by step.
type world struct {
	t     *testing.T
	state *access.State
	now   time.Time
}

func newWorld(t *testing.T, keys ...*auth.Key) *world {
	w := &world{t: t, state: access.NewState(), now: now()}
	w.state = w.state.Apply(&access.Change{Keys: keys})
	return w
}

func (w *world) by(id string) *access.Decider {
	w.t.Helper()
	k := w.state.Key(id)
	if k == nil {
		w.t.Fatalf("there is no key %s", id)
	}
	return &access.Decider{State: w.state, Bounds: access.Bounds{Keys: 5, Roles: 5, Grants: 20}, Now: w.now, By: k.Principal()}
}

func (w *world) does(c *access.Change, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	w.state = w.state.Apply(c)
}

func (w *world) refused(want problem.Code, c *access.Change, err error) {
	w.t.Helper()
	if problem.CodeOf(err) != want {
		w.t.Errorf("error %v, want %s; change %+v", err, want, c)
	}
}

func (w *world) may(id string, p auth.Permission) bool {
	w.t.Helper()
	k := w.state.Key(id)
	return k != nil && k.Status(w.now) == auth.Active && w.state.Rights(k.Principal(), w.now).Allows(p)
}

func (w *world) expect(id string, p auth.Permission, want bool) {
	w.t.Helper()
	if got := w.may(id, p); got != want {
		w.t.Errorf("%s may %s: %v, want %v", id, p, got, want)
	}
}

func grant(id, tenant string, to access.Recipient, by access.Giver, permissions ...auth.Permission) *access.Grant {
	return &access.Grant{ID: id, Tenant: tenant, To: to, By: by, Permissions: permissions, CreatedAt: now()}
}

func to(key string) access.Recipient { return access.Recipient{Key: key} }

func giver(tenant, key string) access.Giver { return access.Giver{Tenant: tenant, Key: key} }

// TestSetIsTheUnionOfItsPermissions holds the compiled set to the plain rule.
func TestSetIsTheUnionOfItsPermissions(t *testing.T) {
	t.Parallel()
	names := []string{"a", "ab", "abc", "b", "a-b", "ab-c"}
	var all []auth.Permission
	for _, kind := range []string{"infer:", "run:"} {
		all = append(all, auth.Permission(kind+"*"))
		for _, n := range names {
			all = append(all, auth.Permission(kind+n), auth.Permission(kind+n+"*"))
		}
	}
	all = append(all, auth.Fixed()...)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		var held []auth.Permission
		for range rng.IntN(6) {
			held = append(held, all[rng.IntN(len(all))])
		}
		rights := access.NewState().Rights(&auth.Principal{ID: fmt.Sprint(held), Tenant: "t", Scopes: held}, now())
		for _, p := range all {
			want := slices.ContainsFunc(held, func(h auth.Permission) bool { return h.Covers(p) })
			if got := rights.Allows(p); got != want {
				t.Fatalf("of %v, %s: %v, want %v", held, p, got, want)
			}
		}
	}
}

func TestAGrantEndsWithItsGiversRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.Admin), key("t", "mid", auth.RolesAdmin), key("t", "low", auth.ModelsRead))
	w.does(w.by("boss").Grant(grant("g1", "t", to("mid"), giver("t", "boss"), "infer:text-*")))
	w.refused(problem.PermissionDenied, nil, second(w.by("mid").Grant(grant("gx", "t", to("low"), giver("t", "mid"), auth.InferAll))))
	w.does(w.by("mid").Grant(grant("g2", "t", to("low"), giver("t", "mid"), "infer:text-detect")))
	w.expect("low", "infer:text-detect", true)
	w.expect("low", "infer:text-orient", false)
	w.does(w.by("boss").EndGrant("g1"))
	w.expect("mid", "infer:text-detect", false)
	w.expect("low", "infer:text-detect", false)
}

func second(_ *access.Change, err error) error { return err }

func TestGrantsInACircleDoNotHoldEachOtherUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.Admin), key("t", "a", auth.RolesAdmin), key("t", "b", auth.RolesAdmin))
	w.does(w.by("boss").Grant(grant("g1", "t", to("a"), giver("t", "boss"), auth.InferAll)))
	w.does(w.by("a").Grant(grant("g2", "t", to("b"), giver("t", "a"), auth.InferAll)))
	w.does(w.by("b").Grant(grant("g3", "t", to("a"), giver("t", "b"), auth.InferAll)))
	w.does(w.by("boss").EndGrant("g1"))
	w.expect("a", "infer:x", false)
	w.expect("b", "infer:x", false)
}

func TestGrantsEndByTime(t *testing.T) {
	t.Parallel()
	boss := key("t", "boss", auth.Admin)
	boss.ExpiresAt = now().Add(time.Hour)
	w := newWorld(t, boss, key("t", "a", auth.ModelsRead))
	endless := grant("g1", "t", to("a"), giver("t", "boss"), auth.InferAll)
	w.refused(problem.InvalidArgument, nil, second(w.by("boss").Grant(endless)))
	endless.ExpiresAt = now().Add(30 * time.Minute)
	w.does(w.by("boss").Grant(endless))
	w.expect("a", "infer:x", true)
	w.now = now().Add(30 * time.Minute)
	w.expect("a", "infer:x", false)

	w = newWorld(t, boss, key("t", "a", auth.ModelsRead))
	tenant := grant("g2", "t", access.Recipient{Tenant: "t"}, giver("t", "boss"), auth.InferAll)
	tenant.ExpiresAt = now().Add(time.Hour)
	w.does(w.by("boss").Grant(tenant))
	rotated := *boss
	rotated.ID, rotated.Replaces = "boss2", "boss"
	w.does(w.by("boss").RotateKey("boss", time.Minute, func(*auth.Key) *auth.Key { return &rotated }))
	w.now = now().Add(2 * time.Minute)
	w.expect("boss", auth.Admin, false)
	w.expect("a", "infer:x", true) // the rotation keeps what was given
	w.now = now().Add(time.Hour)
	w.expect("a", "infer:x", false)
}

func TestRotationGivesNobodyMoreThanTheyHave(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.Admin), key("t", "p", auth.KeysAdmin, auth.ModelsRead), key("t", "k", auth.ModelsRead))
	w.does(w.by("boss").Grant(grant("g1", "t", to("k"), giver("t", "boss"), auth.ModelsWrite)))
	rotate := func(k *auth.Key) *auth.Key {
		next := *k
		next.ID, next.Replaces = k.ID+"2", k.ID
		return &next
	}
	w.refused(problem.PermissionDenied, nil, second(w.by("p").RotateKey("k", time.Hour, rotate)))
	w.does(w.by("boss").RotateKey("k", time.Hour, rotate))
	w.expect("k", auth.ModelsWrite, true)
	w.expect("k2", auth.ModelsWrite, true)
	w.refused(problem.Conflict, nil, second(w.by("boss").RotateKey("k", time.Hour, rotate)))
	w.does(w.by("boss").RevokeKey("k", true))
	w.expect("k2", auth.ModelsWrite, false)
	w.refused(problem.NotFound, nil, second(w.by("boss").RotateKey("k", time.Hour, rotate)))
}

func TestRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.Admin), key("b", "m", auth.RolesAdmin, auth.KeysAdmin, auth.ModelsRead))
	role := func(tenant, name string, inherits []string, permissions ...auth.Permission) *access.Role {
		return &access.Role{Tenant: tenant, Name: name, Inherits: inherits, Permissions: permissions, UpdatedAt: now()}
	}
	w.does(w.by("boss").PutRole(role("", "ops", nil, auth.ModelsWrite)))
	w.refused(problem.Conflict, nil, second(w.by("m").PutRole(role("b", "ops", nil, auth.ModelsRead))))
	w.refused(problem.Conflict, nil, second(w.by("m").PutRole(role("b", "viewer", nil))))
	w.refused(problem.PermissionDenied, nil, second(w.by("m").PutRole(role("b", "more", []string{"ops"}))))
	w.refused(problem.InvalidArgument, nil, second(w.by("m").PutRole(role("b", "more", []string{"nobody"}))))
	w.does(w.by("m").PutRole(role("b", "one", nil, auth.ModelsRead)))
	w.does(w.by("m").PutRole(role("b", "two", []string{"one"})))
	w.refused(problem.InvalidArgument, nil, second(w.by("m").PutRole(role("b", "one", []string{"two"}))))
	w.refused(problem.Conflict, nil, second(w.by("boss").PutRole(role("", "one", nil)))) // another meaning for b
	held := key("b", "k")
	held.Roles = []string{"two"}
	w.does(w.by("m").CreateKey(held))
	w.expect("k", auth.ModelsRead, true)
	w.refused(problem.Conflict, nil, second(w.by("m").DeleteRole(role("b", "two", nil))))
	w.does(w.by("m").RevokeKey("k", false))
	w.does(w.by("m").DeleteRole(role("b", "two", nil)))
	w.refused(problem.InvalidArgument, nil, second(w.by("m").CreateKey(func() *auth.Key { k := key("b", "k3"); k.Roles = []string{"two"}; return k }())))
}

func TestTenantsAreApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.Admin), key("b", "m", auth.RolesAdmin, auth.KeysAdmin, auth.InferAll), key("c", "n", auth.RolesAdmin, auth.KeysAdmin, auth.InferAll))
	w.refused(problem.NotFound, nil, second(w.by("m").RevokeKey("n", false)))
	w.refused(problem.PermissionDenied, nil, second(w.by("m").CreateKey(key("c", "k", auth.InferAll))))
	w.refused(problem.PermissionDenied, nil, second(w.by("m").Grant(grant("g", "c", to("n"), giver("b", "m"), auth.InferAll))))
	w.refused(problem.InvalidArgument, nil, second(w.by("m").Grant(grant("g", "b", to("n"), giver("b", "m"), auth.InferAll))))
	w.does(w.by("boss").Grant(grant("g", "c", to("n"), giver("t", "boss"), auth.ModelsWrite)))
	w.expect("n", auth.ModelsWrite, true)
	w.refused(problem.NotFound, nil, second(w.by("m").EndGrant("g")))
	w.does(w.by("boss").RevokeKey("boss", false)) // whoever gave it is no longer an admin
	w.expect("n", auth.ModelsWrite, false)

	// A subject of b is not that of c, whatever its name.
	w = newWorld(t, key("b", "m", auth.RolesAdmin, auth.KeysAdmin))
	w.does(w.by("m").Grant(grant("g", "b", access.Recipient{Subject: "https://id x"}, giver("b", "m"), auth.KeysAdmin)))
	for tenant, want := range map[string]bool{"b": true, "c": false} {
		p := &auth.Principal{ID: "subject:https://id x", Subject: "https://id x", Tenant: tenant}
		if got := w.state.Rights(p, w.now).Allows(auth.KeysAdmin); got != want {
			t.Errorf("of tenant %s: %v", tenant, got)
		}
	}
}

func TestTokensOfAnIssuerThatMayNotNameAdmins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.Admin))
	w.does(w.by("boss").PutRole(&access.Role{Name: "everything", Inherits: []string{"admin", "viewer"}}))
	for _, role := range []string{"admin", "everything"} {
		for noAdmin, want := range map[bool]bool{true: false, false: true} {
			p := &auth.Principal{ID: "subject:i s", Subject: "i s", Tenant: "t", Roles: []string{role, "unknown"}, NoAdmin: noAdmin}
			if got := w.state.Rights(p, w.now).Allows(auth.Admin); got != want {
				t.Errorf("%s, without admins %v: %v", role, noAdmin, got)
			}
		}
	}
}

func TestBoundsOfATenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.Admin))
	for i := range 4 {
		w.does(w.by("boss").CreateKey(key("t", fmt.Sprint("k", i), auth.InferAll)))
	}
	w.refused(problem.Conflict, nil, second(w.by("boss").CreateKey(key("t", "k9", auth.InferAll))))
	w.does(w.by("boss").RotateKey("k0", time.Hour, func(k *auth.Key) *auth.Key {
		next := *k
		next.ID = "k0b"
		return &next
	}))
	w.does(w.by("boss").CreateKey(key("u", "k9", auth.InferAll))) // another tenant has its own
	for i := range 20 {
		w.does(w.by("boss").Grant(grant(fmt.Sprint("g", i), "t", to("k1"), giver("t", "boss"), auth.InferAll)))
	}
	w.refused(problem.Conflict, nil, second(w.by("boss").Grant(grant("g99", "t", to("k1"), giver("t", "boss"), auth.InferAll))))
}

func TestGivingsInTurnAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "k0", auth.Admin))
	for i := 1; i <= access.Depth+1; i++ {
		w.state = w.state.Apply(&access.Change{Keys: []*auth.Key{key("t", fmt.Sprint("k", i), auth.RolesAdmin)}})
		c, err := w.by(fmt.Sprint("k", i-1)).Grant(grant(fmt.Sprint("g", i), "t", to(fmt.Sprint("k", i)), giver("t", fmt.Sprint("k", i-1)), auth.InferAll))
		if i > access.Depth {
			w.refused(problem.Conflict, c, err)
			continue
		}
		w.does(c, err)
		w.expect(fmt.Sprint("k", i), "infer:x", true)
	}
}

// TestASetAllowsWhatItsPermissionsCover holds of few permissions and of many, in any
// order, that what is compiled of them is what they say.
func TestASetAllowsWhatItsPermissionsCover(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func() auth.Permission {
		if n := random.IntN(40); n < len(auth.Fixed())-1 { // without admin, which covers all
			return auth.Fixed()[n]
		}
		name := []string{"", "a", "ab", "abc", "abd", "b", "ba", "c", "ca", "cab"}[random.IntN(10)]
		return auth.Permission([]string{"infer:", "run:"}[random.IntN(2)] + name + []string{"", "*"}[random.IntN(2)])
	}
	for range 300 {
		scopes := []auth.Permission{pick()}
		for range random.IntN(40) {
			scopes = append(scopes, pick())
		}
		if random.IntN(10) == 0 {
			scopes = append(scopes, auth.Admin)
		}
		set := access.NewState().Own(&auth.Principal{Scopes: scopes})
		for range 100 {
			p := pick()
			want := slices.ContainsFunc(scopes, func(has auth.Permission) bool { return has.Covers(p) })
			if set.Allows(p) != want {
				t.Fatalf("%q of %q: %v, want %v", p, scopes, !want, want)
			}
		}
	}
}

func BenchmarkDecision(b *testing.B) {
	var scopes []auth.Permission
	for i := range 100 {
		scopes = append(scopes, auth.Infer("m"+strings.Repeat("x", i%50)+fmt.Sprint(i)))
	}
	k := key("t", "k", scopes...)
	state := access.NewState().Apply(&access.Change{Keys: []*auth.Key{k}})
	p := k.Principal()
	for b.Loop() {
		if !state.Rights(p, now()).Allows(scopes[77]) {
			b.Fatal("refused")
		}
	}
}
