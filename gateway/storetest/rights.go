package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

func empty(t *testing.T, b *bench) {
	u := b.since(t, rights.Position{})
	if !u.Whole || len(u.Tenants) != 0 || u.Position != (rights.Position{}) {
		t.Errorf("since the beginning: %+v", u)
	}
	keys, err := b.Keys(t.Context(), auth.Page{Limit: 10})
	if err != nil || len(keys) != 0 {
		t.Errorf("keys %v, %v", keys, err)
	}
	entries, err := b.Entries(t.Context(), audit.Filter{Tenant: "a", Limit: 10})
	if err != nil || len(entries) != 0 {
		t.Errorf("entries %v, %v", entries, err)
	}
	for _, tenant := range []string{audit.Platform, "a"} {
		if v := b.verify(t, tenant); !v.Holds || v.Entries != 0 {
			t.Errorf("the chain of %q: %+v", tenant, v)
		}
		if n, err := b.Trim(t.Context(), tenant, time.Now(), 0); n != 0 || err != nil {
			t.Errorf("trimmed %d, %v", n, err)
		}
	}
	if err := b.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func everything() (access.Change, map[string]*access.Tenant) {
	bare := &auth.Key{ID: "bare", Name: "n", Tenant: "a", Lineage: "bare", CreatedAt: epoch()}
	forever := &access.Grant{ID: "g3", Tenant: "b", To: access.Recipient{Tenant: "b"}, By: access.Giver{Tenant: "a", Key: "k1"}, CreatedAt: epoch()}
	never, later, rotated, rotatedToo := time.Time{}, now().Add(time.Hour), key("rotated", "a"), key("rotated2", "a")
	rotated.Planned, rotatedToo.Planned = &never, &later
	want := map[string]*access.Tenant{
		"a": {
			Keys: []*auth.Key{bare, key("imported", "a"), key("k1", "a"), rotated, rotatedToo}, Roles: []*access.Role{role("a", "r1"), role("a", "r2")},
			Grants: []*access.Grant{grant("g1", "a")}, Subjects: []*access.Subject{subject("a", "https://issuer one"), subject("a", "https://issuer two")},
		},
		"b": {
			Keys: []*auth.Key{key("k2", "b")}, Roles: []*access.Role{role("b", "r1")},
			Grants: []*access.Grant{grant("g2", "b"), forever}, Subjects: []*access.Subject{subject("b", "https://issuer one")},
		},
		access.Everywhere: {Roles: []*access.Role{role(access.Everywhere, "all")}},
	}
	var c access.Change
	for _, name := range []string{"b", access.Everywhere, "a"} {
		c.Keys = append(c.Keys, want[name].Keys...)
		c.Roles = append(c.Roles, want[name].Roles...)
		c.Grants = append(c.Grants, want[name].Grants...)
		c.Subjects = append(c.Subjects, want[name].Subjects...)
	}
	return c, want
}

func roundTrip(t *testing.T, b *bench) {
	change, want := everything()
	at := b.commit(t, change)
	u := b.since(t, rights.Position{})
	same(t, "position", at, u.Position)
	same(t, "tenants", want, u.Tenants)
	again, err := b.db.Open(t).Since(t.Context(), rights.Position{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "opened again", u, again)
	for _, k := range change.Keys {
		got, err := b.Key(t.Context(), k.ID)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "key "+k.ID, k, got)
	}
}

func since(t *testing.T, b *bench) {
	change, want := everything()
	first := b.commit(t, change)
	second := b.commit(t, access.Change{Keys: []*auth.Key{key("k3", "b")}})
	third := b.commit(t, access.Change{Roles: []*access.Role{role("c", "r")}})
	want["b"].Keys = append(want["b"].Keys, key("k3", "b"))
	want["c"] = &access.Tenant{Roles: []*access.Role{role("c", "r")}}
	u := b.since(t, first)
	if u.Whole {
		t.Error("all came for a known position")
	}
	same(t, "position", third, u.Position)
	same(t, "since the first", map[string]*access.Tenant{"b": want["b"], "c": want["c"]}, u.Tenants)
	same(t, "since the second", map[string]*access.Tenant{"c": want["c"]}, b.since(t, second).Tenants)
	same(t, "since the beginning", want, b.state(t))
}

func unchanged(t *testing.T, b *bench) {
	change, _ := everything()
	at := b.commit(t, change)
	u := b.since(t, at)
	if u.Whole || len(u.Tenants) != 0 || u.Position != at {
		t.Errorf("got %+v", u)
	}
}

func positions(t *testing.T, b *bench) {
	marks := map[string]bool{"": true}
	for i := range int64(5) {
		at := b.commit(t, access.Change{Roles: []*access.Role{role("a", "r")}})
		if at.Number != i+1 || marks[at.Mark] || len(at.Mark) < 16 {
			t.Errorf("position %+v after %d", at, i)
		}
		marks[at.Mark] = true
	}
}

func unknownPosition(t *testing.T, b *bench) {
	change, want := everything()
	first := b.commit(t, change)
	newest := b.commit(t, access.Change{})
	for name, p := range map[string]rights.Position{
		"none":           {},
		"another mark":   {Number: first.Number, Mark: "other"},
		"no mark":        {Number: first.Number},
		"the future":     {Number: newest.Number + 1, Mark: newest.Mark},
		"before all":     {Number: -5, Mark: first.Mark},
		"hostile":        {Number: 1, Mark: "' OR 1=1 --"},
		"the first mark": {Number: 0, Mark: first.Mark},
	} {
		u := b.since(t, p)
		if !u.Whole || u.Position != newest {
			t.Errorf("%s: whole %v, position %+v", name, u.Whole, u.Position)
		}
		same(t, name, want, u.Tenants)
	}
}

func divergence(t *testing.T, b *bench) {
	change, want := everything()
	first := b.commit(t, change)
	behind := b.db.Copy(t)
	b.Store = b.db.Open(t)
	lost := b.commit(t, access.Change{Roles: []*access.Role{role("lost", "r")}})
	other := &bench{behind.Open(t), behind}
	same(t, "what was known before comes on", want, other.since(t, rights.Position{}).Tenants)
	if u := other.since(t, first); u.Whole || u.Position != first {
		t.Errorf("since what both have: %+v", u)
	}
	if u := other.since(t, lost); !u.Whole || u.Position != first {
		t.Errorf("since what one has lost: %+v", u)
	}
	found := other.commit(t, access.Change{Roles: []*access.Role{role("found", "r")}})
	if found.Number != lost.Number {
		t.Fatalf("positions %+v and %+v", found, lost)
	}
	u := other.since(t, lost)
	if !u.Whole || u.Position != found || u.Tenants["lost"] != nil || u.Tenants["found"] == nil {
		t.Errorf("since what went another way: %+v", u)
	}
	other.verifyAll(t)
}

func emptied(t *testing.T, b *bench) {
	change, _ := everything()
	first := b.commit(t, change)
	b.commit(t, access.Change{EndRoles: []*access.Role{role(access.Everywhere, "all")}})
	same(t, "since", map[string]*access.Tenant{access.Everywhere: {}}, b.since(t, first).Tenants)
	for tenant, got := range b.state(t) {
		if tenant == access.Everywhere && len(got.Roles) != 0 {
			t.Errorf("roles %v", got.Roles)
		}
	}
}

func revoked(t *testing.T, b *bench) {
	first := b.commit(t, access.Change{Keys: []*auth.Key{key("k1", "a"), key("k2", "a")}})
	gone := key("k1", "a")
	gone.RevokedAt = now()
	b.commit(t, access.Change{Keys: []*auth.Key{gone}})
	want := map[string]*access.Tenant{"a": {Keys: []*auth.Key{key("k2", "a")}}}
	same(t, "since", want, b.since(t, first).Tenants)
	got, err := b.Key(t.Context(), "k1")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "key", gone, got)
	keys, err := b.Keys(t.Context(), auth.Page{Limit: 10})
	if err != nil || len(keys) != 2 {
		t.Errorf("listed %v, %v", keys, err)
	}
}

func expired(t *testing.T, b *bench) {
	recent, long := key("recent", "a"), key("long", "a")
	recent.ExpiresAt = now().Add(-23 * time.Hour)
	long.ExpiresAt = now().Add(-25 * time.Hour)
	b.commit(t, access.Change{Keys: []*auth.Key{recent, long}})
	same(t, "state", map[string]*access.Tenant{"a": {Keys: []*auth.Key{recent}}}, b.state(t))
	if _, err := b.Key(t.Context(), "long"); err != nil {
		t.Error(err)
	}
}

func forgotten(t *testing.T, b *bench) {
	var c access.Change
	for i := range 1003 {
		k := key(fmt.Sprintf("k%04d", i), "a")
		k.ExpiresAt = now().Add(-2*access.Remembered + time.Duration(i)*time.Second)
		c.Keys = append(c.Keys, k)
	}
	c.Keys[1].Imported = true
	live, recent := key("live", "a"), key("recent", "a")
	recent.ExpiresAt = now().Add(-time.Hour)
	b.commit(t, access.Change{Keys: []*auth.Key{live, recent, key("other", "b")}})
	b.commit(t, c)
	b.commit(t, access.Change{Keys: []*auth.Key{key("one more", "a")}})
	for id, want := range map[string]error{
		"k0000": auth.ErrNoKey, "k0001": nil, "k0002": auth.ErrNoKey, "k0003": nil, "k1002": nil, "live": nil, "recent": nil, "other": nil, "one more": nil,
	} {
		if _, err := b.Key(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
}

func replaced(t *testing.T, b *bench) {
	change, _ := everything()
	b.commit(t, change)
	k := key("k1", "a")
	k.Name, k.Description, k.Scopes, k.Roles = "other", "", nil, []string{"admin"}
	k.ExpiresAt, k.Lineage, k.Replaces, k.Imported = time.Time{}, "l", "", true
	r := role("a", "r1")
	r.Inherits, r.Permissions, r.UpdatedAt = nil, []auth.Permission{auth.Admin}, epoch().Add(time.Hour)
	g := grant("g1", "a")
	g.To, g.By = access.Recipient{Subject: "s"}, access.Giver{Tenant: "b", Key: "k"}
	g.Roles, g.Permissions, g.ExpiresAt = nil, nil, time.Time{}
	s := subject("a", "https://issuer one")
	s.Roles, s.NoAdmin, s.IssuedAt = nil, false, epoch().Add(time.Hour)
	b.commit(t, access.Change{Keys: []*auth.Key{k}, Roles: []*access.Role{r}, Grants: []*access.Grant{g}, Subjects: []*access.Subject{s}})
	state := access.NewState().With(b.state(t))
	same(t, "key", k, state.Key("k1"))
	same(t, "roles", []*access.Role{r, role("a", "r2")}, state.Tenant("a").Roles)
	same(t, "grants", []*access.Grant{g}, state.Tenant("a").Grants)
	same(t, "subjects", []*access.Subject{s, subject("a", "https://issuer two")}, state.Tenant("a").Subjects)
	same(t, "another tenant's role of the name", []*access.Role{role("b", "r1")}, state.Tenant("b").Roles)
}

func ended(t *testing.T, b *bench) {
	change, want := everything()
	b.commit(t, change)
	b.commit(t, access.Change{
		EndRoles:  []*access.Role{role("a", "r1"), role("a", "never was")},
		EndGrants: []*access.Grant{grant("g2", "b"), grant("never was", "b")},
	})
	want["a"].Roles, want["b"].Grants = want["a"].Roles[1:], want["b"].Grants[1:]
	same(t, "state", want, b.state(t))
}

func refused(t *testing.T, b *bench) {
	at := b.commit(t, access.Change{Roles: []*access.Role{role("a", "r")}}, entry("a", "role.put"))
	refusal := errors.New("no")
	_, err := b.Commit(t.Context(), at, func(*rights.Update) (*rights.Stored, error) {
		return &rights.Stored{Change: access.Change{Roles: []*access.Role{role("a", "other")}}, Entries: []audit.Entry{entry("a", "x")}}, refusal
	})
	if err != refusal { //nolint:errorlint // identity is what is asked for
		t.Errorf("error %v", err)
	}
	if u := b.since(t, at); u.Position != at {
		t.Errorf("position %+v", u.Position)
	}
	same(t, "state", map[string]*access.Tenant{"a": {Roles: []*access.Role{role("a", "r")}}}, b.state(t))
	if v := b.verify(t, "a"); v.Entries != 1 {
		t.Errorf("the chain: %+v", v)
	}
	if next := commit(t, b, at, access.Change{Roles: []*access.Role{role("a", "r")}}); next.Number != at.Number+1 {
		t.Errorf("the next position is %+v", next)
	}
}

func nothingStored(t *testing.T, b *bench) {
	at := b.commit(t, access.Change{Roles: []*access.Role{role("a", "r")}})
	got, err := b.Commit(t.Context(), rights.Position{}, func(*rights.Update) (*rights.Stored, error) { return &rights.Stored{}, nil })
	if err != nil || got != at {
		t.Errorf("position %+v, %v; want %+v", got, err, at)
	}
}

func entriesAlone(t *testing.T, b *bench) {
	at := b.commit(t, access.Change{}, entry("a", "x"))
	if at.Number != 1 {
		t.Errorf("position %+v", at)
	}
	if u := b.since(t, rights.Position{}); u.Position != at || len(u.Tenants) != 0 {
		t.Errorf("since: %+v", u)
	}
}

func decideOnNewest(t *testing.T, b *bench) {
	other := b.db.Open(t)
	first := b.commit(t, access.Change{Roles: []*access.Role{role("a", "r")}})
	second := commit(t, other, first, access.Change{Roles: []*access.Role{role("b", "r")}})
	for _, c := range []struct {
		from  rights.Position
		whole bool
		want  []string
	}{{first, false, []string{"b"}}, {second, false, nil}, {rights.Position{}, true, []string{"a", "b"}}} {
		_, err := b.Commit(t.Context(), c.from, func(u *rights.Update) (*rights.Stored, error) {
			if u.Position != second || u.Whole != c.whole || len(u.Tenants) != len(c.want) {
				t.Errorf("since %+v: %+v", c.from, u)
			}
			for _, tenant := range c.want {
				same(t, tenant, &access.Tenant{Roles: []*access.Role{role(tenant, "r")}}, u.Tenants[tenant])
			}
			return &rights.Stored{}, nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// concurrent has several Stores each make the key whose number is how many there
// are: one that was decided on an old state would be there twice, or not at all.
func concurrent(t *testing.T, b *bench) {
	const stores, commits = 4, 6
	var mu sync.Mutex
	numbers := map[int64]bool{}
	var work sync.WaitGroup
	for range stores {
		s := b.db.Open(t)
		work.Go(func() {
			for done := 0; done < commits && t.Context().Err() == nil; {
				at, err := s.Commit(t.Context(), rights.Position{}, func(u *rights.Update) (*rights.Stored, error) {
					n := 0
					if tenant := u.Tenants["a"]; tenant != nil {
						n = len(tenant.Keys)
					}
					return &rights.Stored{
						Change:  access.Change{Keys: []*auth.Key{key(fmt.Sprintf("k%02d", n), "a")}},
						Entries: []audit.Entry{entry("a", "key.create")},
					}, nil
				})
				if err != nil {
					continue // another took too long, which is said
				}
				done++
				mu.Lock()
				numbers[at.Number] = true
				mu.Unlock()
			}
		})
	}
	work.Wait()
	for i := range stores * commits {
		if !numbers[int64(i+1)] {
			t.Errorf("nobody got position %d", i+1)
		}
		if _, err := b.Key(t.Context(), fmt.Sprintf("k%02d", i)); err != nil {
			t.Error(err)
		}
	}
	if v := b.verify(t, "a"); v.Entries != stores*commits {
		t.Errorf("the chain: %+v", v)
	}
}
