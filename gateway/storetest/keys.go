package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

func (b *bench) use(t *testing.T, uses ...rights.Use) {
	t.Helper()
	if err := b.Used(t.Context(), uses); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) key(t *testing.T, id string) *auth.Key {
	t.Helper()
	k, err := b.Key(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func used(t *testing.T, b *bench) {
	at := b.commit(t, access.Change{Keys: []*auth.Key{key("k1", "a"), key("k2", "a")}})
	minute := now().Truncate(time.Minute)
	anew := auth.Hash{By: "k2", Sum: [32]byte{9}}
	b.use(t, rights.Use{Key: "k2", At: minute}, rights.Use{Key: "never was", At: minute, Hash: &anew}, rights.Use{Key: "k1", At: minute, Hash: &anew})
	b.use(t, rights.Use{Key: "k1", At: minute.Add(-time.Minute)}, rights.Use{Key: "k2"})
	b.use(t)
	want := key("k1", "a")
	want.LastUsedAt, want.Hash = minute, anew
	same(t, "k1", want, b.key(t, "k1"))
	other := key("k2", "a")
	other.LastUsedAt = minute
	same(t, "k2", other, b.key(t, "k2"))
	listed, err := b.Keys(t.Context(), auth.Page{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "listed", []*auth.Key{want, other}, listed)
	if u := b.since(t, at); u.Position != at || len(u.Tenants) != 0 {
		t.Errorf("a use is a change: %+v", u)
	}
	want.LastUsedAt, other.LastUsedAt = time.Time{}, time.Time{}
	same(t, "state", map[string]*access.Tenant{"a": {Keys: []*auth.Key{want, other}}}, b.state(t))
}

func changedAfterUse(t *testing.T, b *bench) {
	b.commit(t, access.Change{Keys: []*auth.Key{key("k1", "a")}})
	minute := now().Truncate(time.Minute)
	anew := auth.Hash{By: "k2", Sum: [32]byte{9}}
	b.use(t, rights.Use{Key: "k1", At: minute, Hash: &anew})
	known := key("k1", "a") // as somebody read it before
	known.Name = "other"
	b.commit(t, access.Change{Keys: []*auth.Key{known}})
	live := *known
	live.Hash = anew
	same(t, "state", map[string]*access.Tenant{"a": {Keys: []*auth.Key{&live}}}, b.state(t))
	gone := key("k1", "a")
	gone.RevokedAt = now()
	b.commit(t, access.Change{Keys: []*auth.Key{gone}})
	want := *gone
	want.Hash, want.LastUsedAt = anew, minute
	same(t, "key", &want, b.key(t, "k1"))
}

func unknownKey(t *testing.T, b *bench) {
	b.commit(t, access.Change{Keys: []*auth.Key{key("k1", "a")}})
	for _, id := range []string{"", "K1", "k", "k11", "k1 ", "%", "' OR 1=1 --"} {
		if k, err := b.Key(t.Context(), id); !errors.Is(err, auth.ErrNoKey) {
			t.Errorf("%q: key %v, error %v, want ErrNoKey", id, k, err)
		}
	}
}

// readPages returns the ids of every page, which must have at most so many.
func (b *bench) readPages(t *testing.T, page auth.Page) []string {
	t.Helper()
	var got []string
	for {
		keys, err := b.Keys(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		if len(keys) > page.Limit {
			t.Fatalf("a page of %d keys, at most %d were asked for", len(keys), page.Limit)
		}
		for _, k := range keys {
			got = append(got, k.ID)
			page.After = auth.Cursor{CreatedAt: k.CreatedAt, ID: k.ID}
		}
		if len(keys) < page.Limit || len(got) > 1000 {
			return got
		}
	}
}

// manyKeys stores keys of which pairs share a time, so that the id must decide.
func (b *bench) manyKeys(t *testing.T, tenants ...string) (newestFirst []*auth.Key) {
	t.Helper()
	for i, id := range []string{"1", "K", "a", "b", "k", "k1", "z"} {
		for _, tenant := range tenants {
			k := key(id+tenant, tenant)
			k.CreatedAt = epoch().Add(time.Duration(i/2) * time.Second)
			newestFirst = append(newestFirst, k)
		}
	}
	slices.SortFunc(newestFirst, func(a, b *auth.Key) int { return a.CreatedAt.Compare(b.CreatedAt)*2 + compare(a.ID, b.ID) })
	slices.Reverse(newestFirst)
	b.commit(t, access.Change{Keys: newestFirst})
	return newestFirst
}

func compare(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

func ids(keys []*auth.Key) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.ID)
	}
	return out
}

func keyPages(t *testing.T, b *bench) {
	keys := b.manyKeys(t, "a", "b")
	gone := *keys[3]
	gone.RevokedAt = now()
	b.commit(t, access.Change{Keys: []*auth.Key{&gone}})
	for _, limit := range []int{1, 2, 3, len(keys), len(keys) + 1} {
		same(t, fmt.Sprintf("in pages of %d", limit), ids(keys), b.readPages(t, auth.Page{Limit: limit}))
	}
}

func keysOfTenant(t *testing.T, b *bench) {
	keys := b.manyKeys(t, "a", "b")
	own := slices.DeleteFunc(keys, func(k *auth.Key) bool { return k.Tenant != "b" })
	for _, limit := range []int{1, 2, len(own)} {
		same(t, fmt.Sprintf("in pages of %d", limit), ids(own), b.readPages(t, auth.Page{Tenant: "b", Limit: limit}))
	}
	same(t, "of none", []string(nil), b.readPages(t, auth.Page{Tenant: "c", Limit: 3}))
}

// hostile stores text that a database may refuse, with an error and nothing done, or
// give back as it was.
func hostile(t *testing.T, b *bench) {
	for i, text := range []string{
		"'; DROP TABLE keys; --", `"\`, "%_", "ключ 🔑", "a\u202eb", "\n\t", "a\x00b", "\xff\xfe", `{"a": [1]}`, "$1 ?1 :a @a",
	} {
		id := fmt.Sprintf("k%d", i)
		want := key(id, "a")
		want.Name, want.Description = text, text
		before := b.since(t, rights.Position{}).Position
		_, err := b.Commit(t.Context(), rights.Position{}, func(*rights.Update) (*rights.Stored, error) {
			hostileEntry := entry("a", "key.create")
			hostileEntry.Actor, hostileEntry.Reason, hostileEntry.RequestID = text, text, text
			return &rights.Stored{Change: access.Change{Keys: []*auth.Key{want}}, Entries: []audit.Entry{hostileEntry}}, nil
		})
		if err != nil {
			if _, err := b.Key(t.Context(), id); !errors.Is(err, auth.ErrNoKey) {
				t.Errorf("%q: was refused, and a key is there: %v", text, err)
			}
			if u := b.since(t, before); u.Position != before {
				t.Errorf("%q: was refused, and made the position %+v", text, u.Position)
			}
			continue
		}
		same(t, fmt.Sprintf("%q", text), want, b.key(t, id))
	}
	for _, text := range []string{"a\x00b", "\xff", "'", "\n"} {
		if k, err := b.Key(t.Context(), text); !errors.Is(err, auth.ErrNoKey) {
			t.Errorf("%q: key %v, error %v", text, k, err)
		}
		if keys, err := b.Keys(t.Context(), auth.Page{Tenant: text, Limit: 10}); err != nil || len(keys) != 0 {
			t.Errorf("keys of %q: %v, %v", text, keys, err)
		}
		for _, f := range []audit.Filter{{Tenant: text}, {Tenant: "a", Actor: text}, {Tenant: "a", Action: text}, {Tenant: "a", Resource: text}} {
			f.Limit = 10
			if entries, err := b.Entries(t.Context(), f); err != nil || len(entries) != 0 {
				t.Errorf("entries of %+v: %v, %v", f, entries, err)
			}
		}
	}
	if err := b.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func cancelled(t *testing.T, b *bench) {
	at := b.commit(t, access.Change{Keys: []*auth.Key{key("k1", "a")}}, entry("a", "x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Since": func() error { _, err := b.Since(ctx, rights.Position{}); return err },
		"Commit": func() error {
			_, err := b.Commit(ctx, rights.Position{}, func(*rights.Update) (*rights.Stored, error) {
				t.Error("Commit asked for a decision")
				return &rights.Stored{}, nil
			})
			return err
		},
		"Used":    func() error { return b.Used(ctx, []rights.Use{{Key: "k1", At: now()}}) },
		"Key":     func() error { _, err := b.Key(ctx, "k1"); return err },
		"Keys":    func() error { _, err := b.Keys(ctx, auth.Page{Limit: 1}); return err },
		"Ping":    func() error { return b.Ping(ctx) },
		"Append":  func() error { return b.Append(ctx, []audit.Entry{entry("a", "x")}) },
		"Entries": func() error { _, err := b.Entries(ctx, audit.Filter{Tenant: "a", Limit: 1}); return err },
		"Chain": func() error {
			_, _, err := b.Chain(ctx, "a", audit.BeforeFirst)
			return err
		},
		"Heads": func() error { _, err := b.Heads(ctx, time.Time{}, 1); return err },
		"Trim":  func() error { _, err := b.Trim(ctx, "a", now(), 0); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if u := b.since(t, at); u.Position != at {
		t.Errorf("something was stored: %+v", u)
	}
}
