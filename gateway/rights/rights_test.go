package rights_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/rights/rightstest"
	"github.com/modelserveai/modelserve/problem"
)

func spec(scopes ...auth.Permission) auth.KeySpec {
	return auth.KeySpec{Name: "n", Tenant: "default", Scopes: scopes}
}

func revoked(k *auth.Key) access.Change {
	ended := *k
	ended.RevokedAt = time.Now()
	return access.Change{Keys: []*auth.Key{&ended}}
}

func code(keys *auth.Keys, t *testing.T, text string) problem.Code {
	t.Helper()
	_, err := keys.Authenticate(t.Context(), text)
	if err == nil {
		return ""
	}
	return problem.CodeOf(err)
}

func TestRevokedElsewhereIsRefusedWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &rightstest.Store{}
		one, other := rightstest.Mirror(t, store), rightstest.Mirror(t, store)
		text, key := rightstest.Key(t, one, spec(auth.InferAll))
		keys := auth.NewKeys(other, rightstest.Hasher(t))
		if got := code(keys, t, text); got != "" {
			t.Fatalf("a key that another replica made just now: %s", got)
		}
		rightstest.Put(t, one, revoked(key))
		time.Sleep(600 * time.Millisecond)
		if got := code(keys, t, text); got != problem.Unauthenticated {
			t.Errorf("after its revocation at another replica: %q", got)
		}
	})
}

func TestKeysExpireOnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := rightstest.Mirror(t, &rightstest.Store{})
		with := spec(auth.InferAll)
		with.ExpiresAt = time.Now().Add(300 * time.Millisecond)
		text, _ := rightstest.Key(t, m, with)
		keys := auth.NewKeys(m, rightstest.Hasher(t))
		if got := code(keys, t, text); got != "" {
			t.Fatal(got)
		}
		time.Sleep(300 * time.Millisecond)
		if got := code(keys, t, text); got != problem.Unauthenticated {
			t.Errorf("code %q", got)
		}
	})
}

func TestWithoutItsDatabaseKnownKeysStayGoodForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &rightstest.Store{}
		m := rightstest.Mirror(t, store)
		text, _ := rightstest.Key(t, m, spec(auth.Admin))
		keys := auth.NewKeys(m, rightstest.Hasher(t))
		store.Fail(errors.New("disk I/O error at /secret/path"))
		time.Sleep(29 * time.Second)
		if got := code(keys, t, text); got != "" {
			t.Errorf("after 29 s: %s", got)
		}
		if got := code(keys, t, "ms_nobody_"+strings.Repeat("A", 52)); got != problem.Unauthenticated {
			t.Errorf("an unknown key: %q", got)
		}
		time.Sleep(2 * time.Second)
		for _, key := range []string{text, "ms_nobody_" + strings.Repeat("A", 52)} {
			_, err := keys.Authenticate(t.Context(), key)
			if problem.CodeOf(err) != problem.Unavailable || strings.Contains(err.Error(), "/secret/path") {
				t.Errorf("after 31 s: %v", err)
			}
		}
		store.Fail(nil)
		time.Sleep(time.Second)
		if got := code(keys, t, text); got != "" {
			t.Errorf("and back: %s", got)
		}
	})
}

func TestFailedKeysShareOneRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &rightstest.Store{}
		m := rightstest.Mirror(t, store)
		text, _ := rightstest.Key(t, m, spec(auth.Admin))
		keys := auth.NewKeys(m, rightstest.Hasher(t))
		before := store.Reads()
		for range 10 {
			var group sync.WaitGroup
			for i := range 1000 {
				group.Go(func() {
					wrong := fmt.Sprintf("ms_nobody%d_%s", i, strings.Repeat("A", 52))
					if i%2 == 0 {
						wrong = text[:len(text)-1] + "."
						wrong = strings.Replace(wrong, ".", "1", 1)
					}
					if got := code(keys, t, wrong); got != problem.Unauthenticated {
						t.Errorf("code %q", got)
					}
				})
			}
			group.Wait()
		}
		if n := store.Reads() - before; n > 22 {
			t.Errorf("ten thousand wrong keys were %d reads", n)
		}
		if got := code(keys, t, text); got != "" {
			t.Errorf("the right one: %s", got)
		}
	})
}

func TestKeysAreNotConfused(t *testing.T) {
	t.Parallel()
	m := rightstest.Mirror(t, &rightstest.Store{})
	a, keyA := rightstest.Key(t, m, spec(auth.Admin))
	b, keyB := rightstest.Key(t, m, spec(auth.Infer("iris")))
	secretA, secretB := a[len("ms_")+len(keyA.ID)+1:], b[len("ms_")+len(keyB.ID)+1:]
	keys := auth.NewKeys(m, rightstest.Hasher(t))
	for name, text := range map[string]string{
		"another's secret":   "ms_" + keyA.ID + "_" + secretB,
		"another's id":       "ms_" + keyB.ID + "_" + secretA,
		"unknown id":         "ms_nobody_" + secretA,
		"secret cut":         a[:len(a)-1],
		"secret longer":      a + "A",
		"lower case":         strings.ToLower(a),
		"no secret":          "ms_" + keyA.ID + "_",
		"no id":              "ms__" + secretA,
		"a part too many":    a + "_x",
		"prefix alone":       "ms_",
		"spaces":             a + " ",
		"NUL":                a + "\x00",
		"the hash itself":    fmt.Sprintf("ms_%s_%x", keyA.ID, keyA.Hash.Sum),
		"a very long secret": "ms_" + keyA.ID + "_" + strings.Repeat("A", 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := keys.Authenticate(t.Context(), text)
			if problem.CodeOf(err) != problem.Unauthenticated {
				t.Errorf("principal %v, error %v", p, err)
			}
			if err != nil && strings.Contains(err.Error(), secretA[:8]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

// TestNothingRevokedComesBack holds that a database which failed over to one that
// was behind, and went on from there, has what had ended end again.
func TestNothingRevokedComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &rightstest.Store{}
		m := rightstest.Mirror(t, store)
		text, key := rightstest.Key(t, m, spec(auth.Admin))
		role := access.Role{Tenant: "default", Name: "ops", Permissions: []auth.Permission{auth.ModelsWrite}, UpdatedAt: time.Now()}
		grant := &access.Grant{ID: "g1", Tenant: "default", To: access.Recipient{Tenant: "default"}, By: access.Giver{Tenant: "default", Key: key.Lineage}, Permissions: []auth.Permission{auth.InferAll}}
		said := func(subject string, roles ...string) *access.Subject {
			return &access.Subject{Tenant: "default", Subject: "https://id " + subject, Roles: roles, IssuedAt: time.Now()}
		}
		rightstest.Put(t, m, access.Change{
			Roles: []*access.Role{&role}, Grants: []*access.Grant{grant}, Subjects: []*access.Subject{said("bob", "invoker"), said("eve", "invoker")},
		})
		behind := store.Copy()
		time.Sleep(time.Second)
		narrow := role
		narrow.Permissions, narrow.UpdatedAt = []auth.Permission{auth.ModelsRead}, time.Now()
		change := revoked(key)
		change.Roles, change.EndGrants = []*access.Role{&narrow}, []*access.Grant{grant}
		change.Subjects = []*access.Subject{said("bob", "viewer"), said("jane", "viewer"), said("eve", "viewer")}
		rightstest.Put(t, m, change)
		store.Become(behind)
		fresh := rightstest.Mirror(t, store) // another replica goes on before the first looks
		time.Sleep(time.Millisecond)
		rightstest.Put(t, fresh, access.Change{Subjects: []*access.Subject{said("eve", "auditor")}})
		rightstest.Key(t, fresh, spec(auth.InferAll))
		rightstest.Key(t, fresh, spec(auth.InferAll))
		time.Sleep(2 * time.Second)
		for name, m := range map[string]*rights.Mirror{"the replica that knew": m, "another one": fresh} {
			if got := code(auth.NewKeys(m, rightstest.Hasher(t)), t, text); got != problem.Unauthenticated {
				t.Errorf("%s: the revoked key: %q", name, got)
			}
			rights := m.State().Tenant("default")
			if len(rights.Grants) != 0 || len(rights.Roles) != 1 || rights.Roles[0].Permissions[0] != auth.ModelsRead {
				t.Errorf("%s: grants %v, roles %v", name, rights.Grants, rights.Roles[0])
			}
			newest := map[string]string{}
			for _, sub := range rights.Subjects {
				newest[sub.Subject] = sub.Roles[0]
			}
			want := map[string]string{"https://id bob": "viewer", "https://id jane": "viewer", "https://id eve": "auditor"}
			if diff := cmp.Diff(want, newest); diff != "" {
				t.Errorf("%s: what the subjects' newest tokens said: -want +got:\n%s", name, diff)
			}
		}
		if k, err := store.Key(t.Context(), key.ID); err != nil || k.RevokedAt.IsZero() {
			t.Errorf("the database has %+v, %v", k, err)
		}
	})
}

func TestUsesAreStoredWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &rightstest.Store{}
		m := rightstest.Mirror(t, store)
		old, err := auth.NewHasher(auth.HashKey{ID: "older", Key: [32]byte{7}})
		if err != nil {
			t.Fatal(err)
		}
		text, key, err := old.NewKey(spec(auth.InferAll), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		rightstest.Put(t, m, access.Change{Keys: []*auth.Key{key}})
		hasher, err := auth.NewHasher(auth.HashKey{ID: "newer", Key: [32]byte{8}}, auth.HashKey{ID: "older", Key: [32]byte{7}})
		if err != nil {
			t.Fatal(err)
		}
		keys := auth.NewKeys(m, hasher)
		store.Fail(errors.New("away"))
		for range 3 {
			if got := code(keys, t, text); got != "" {
				t.Fatal(got)
			}
			time.Sleep(6 * time.Second)
		}
		store.Fail(nil)
		time.Sleep(5 * time.Second)
		stored, err := store.Key(t.Context(), key.ID)
		if err != nil || stored.Hash.By != "newer" || time.Since(stored.LastUsedAt) > time.Minute {
			t.Errorf("stored %+v, %v", stored, err)
		}
		if got := code(keys, t, text); got != "" {
			t.Errorf("after it was hashed anew: %s", got)
		}
		if k := m.Key(key.ID); k.Hash.By != "newer" {
			t.Errorf("it is hashed anew at each use: %s", k.Hash.By)
		}
	})
}

// TestAKeyByAnUnknownHashKeyIsAnsweredAsAnUnknownOne holds that nobody learns of an id
// that it exists. The operator learns that the hash key is missing from package callers.
func TestAKeyByAnUnknownHashKeyIsAnsweredAsAnUnknownOne(t *testing.T) {
	t.Parallel()
	m := rightstest.Mirror(t, &rightstest.Store{})
	other, err := auth.NewHasher(auth.HashKey{ID: "other", Key: [32]byte{9}})
	if err != nil {
		t.Fatal(err)
	}
	text, key, err := other.NewKey(spec(auth.InferAll), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	rightstest.Put(t, m, access.Change{Keys: []*auth.Key{key}})
	keys := auth.NewKeys(m, rightstest.Hasher(t))
	_, is := keys.Authenticate(t.Context(), text)
	_, want := keys.Authenticate(t.Context(), strings.Replace(text, "ms_", "ms_x", 1))
	if problem.CodeOf(is) != problem.Unauthenticated || is.Error() != want.Error() {
		t.Errorf("error %v, and %v of an unknown id", is, want)
	}
}

// diverging is a database that has lost changes at each commit.
type diverging struct{ *rightstest.Store }

// Commit implements rights.Store.
func (d diverging) Commit(ctx context.Context, p rights.Position, decide func(*rights.Update) (*rights.Stored, error)) (rights.Position, error) {
	return d.Store.Commit(ctx, p, func(u *rights.Update) (*rights.Stored, error) {
		u.Whole = true
		return decide(u)
	})
}

func TestAChangeOfADatabaseThatLosesOthersMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	store := &rightstest.Store{}
	rightstest.Key(t, rightstest.Mirror(t, store), spec(auth.Admin))
	m := rightstest.Mirror(t, diverging{store})
	err := m.Update(t.Context(), func(*access.State) (*rights.Stored, error) { return &rights.Stored{}, nil })
	if problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("error %v", err)
	}
}

// hanging is a database that reads and, from some time on, does not end a change.
type hanging struct {
	*rightstest.Store
	hangs atomic.Bool
}

// Commit implements rights.Store.
func (h *hanging) Commit(ctx context.Context, p rights.Position, decide func(*rights.Update) (*rights.Stored, error)) (rights.Position, error) {
	if h.hangs.Load() {
		<-ctx.Done()
		return p, ctx.Err()
	}
	return h.Store.Commit(ctx, p, decide)
}

// TestAChangeThatHangsHoldsNoCallUp holds that what is known stays current, and that
// changes end, while the database does not end one.
func TestAChangeThatHangsHoldsNoCallUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &hanging{Store: &rightstest.Store{}}
		m := rightstest.Mirror(t, store)
		text, _ := rightstest.Key(t, m, spec(auth.Admin))
		rightstest.Put(t, m, access.Change{Subjects: []*access.Subject{{Subject: "https://id jane", Tenant: "default", IssuedAt: time.Now()}}})
		store.hangs.Store(true)
		began := time.Now()
		var changes sync.WaitGroup
		for range 20 {
			changes.Go(func() {
				err := m.Update(context.WithoutCancel(t.Context()), func(*access.State) (*rights.Stored, error) { return &rights.Stored{}, nil })
				if problem.CodeOf(err) != problem.Unavailable {
					t.Errorf("error %v", err)
				}
			})
		}
		for range 40 {
			time.Sleep(time.Second)
			m.Seen(&auth.Principal{Subject: "https://id jane", Tenant: "default", Roles: []string{"viewer"}, IssuedAt: time.Now()})
			if got := code(auth.NewKeys(m, rightstest.Hasher(t)), t, text); got != "" {
				t.Fatalf("after %v: %s", time.Since(began), got)
			}
		}
		changes.Wait()
	})
}

// BenchmarkMemoryOfTenThousandKeys is what a gateway's copy of them takes.
func BenchmarkMemoryOfTenThousandKeys(b *testing.B) {
	inUse := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapInuse)
	}
	for b.Loop() {
		before := inUse()
		m := rightstest.Mirror(b, tenThousand())
		b.ReportMetric((inUse()-before)/1e6, "MB")
		runtime.KeepAlive(m)
	}
}

// thousands is a database that is read once, and keeps nothing.
type thousands struct{ rights.Store }

func tenThousand() rights.Store { return thousands{} }

// Since implements rights.Store.
func (thousands) Since(_ context.Context, p rights.Position) (*rights.Update, error) {
	u := &rights.Update{Position: rights.Position{Number: 1, Mark: "m"}, Whole: p.Number == 0, Tenants: map[string]*access.Tenant{}}
	for i := range 10_000 * (1 - int(min(p.Number, 1))) {
		tenant, id := fmt.Sprintf("tenant-%d", i/1000), fmt.Sprintf("abcdefg%05d", i)
		t := u.Tenants[tenant]
		if t == nil {
			t = &access.Tenant{}
			u.Tenants[tenant] = t
		}
		t.Keys = append(t.Keys, &auth.Key{
			ID: id, Name: "a key of some service " + id, Tenant: tenant, Lineage: id, Hash: auth.Hash{By: "k1"},
			Scopes: []auth.Permission{auth.Infer("model-" + id), auth.ModelsRead}, Roles: []string{"viewer"}, CreatedAt: time.Now(),
		})
	}
	return u, nil
}

// Used implements rights.Store.
func (thousands) Used(context.Context, []rights.Use) error { return nil }
