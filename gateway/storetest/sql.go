package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

// SQL damages chains through a database's own language.
type SQL func(ctx context.Context, query string) error

// Damage is Database.Damage.
func (exec SQL) Damage(t *testing.T, tenant string, seq int64, column string) {
	t.Helper()
	value := column + " || 'x'"
	if column == "seq" || column == "at" || column == "count" {
		value = column + " + 1"
	}
	exec.Do(t, fmt.Sprintf("UPDATE audit SET %s = %s WHERE tenant = '%s' AND seq = %d", column, value, tenant, seq))
}

// Remove is Database.Remove.
func (exec SQL) Remove(t *testing.T, tenant string, from, to int64, head bool) {
	t.Helper()
	exec.Do(t, fmt.Sprintf("DELETE FROM audit WHERE tenant = '%s' AND seq BETWEEN %d AND %d", tenant, from, to))
	if head {
		exec.Do(t, fmt.Sprintf("DELETE FROM audit_heads WHERE tenant = '%s'", tenant))
	}
}

// Do runs a statement.
func (exec SQL) Do(t *testing.T, query string) {
	t.Helper()
	if err := exec(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

// Durable is a Store that is one of several, on a database that goes on.
type Durable interface {
	Store
	Convert(ctx context.Context, convert func(auth.Hash) auth.Hash) (int, error)
	HashedBy(ctx context.Context) (map[string]int, error)
	KeptPolicy(ctx context.Context, model string) ([]byte, error)
	KeepPolicy(ctx context.Context, model string, generation int64, data []byte) error
}

// RunDurable runs the part of the suite that is of databases alone. open returns an
// empty one, with a way to run statements on it.
func RunDurable(t *testing.T, open func(t *testing.T) (Database, SQL)) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, *durable){
		"plain hashes are converted once":                             convert,
		"keys that are good are counted by hash key":                  hashedBy,
		"ended keys are kept, a thousand a tenant":                    forgetKeys,
		"ten thousand positions are kept":                             forgetPositions,
		"what is a tenant's stays the tenant's":                       othersRow,
		"a decision that takes long holds up others only for a while": slowDecision,
		"a caller who goes while deciding stores nothing":             goneWhileDeciding,
		"a row that cannot be read is an error":                       unreadable,
		"the newest policy of a model is kept":                        policies,
		"of policies that several keep at once the newest stays":      policiesAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, exec := open(t)
			s, ok := db.Open(t).(Durable)
			if !ok {
				t.Fatal("it converts no hashes")
			}
			d := &durable{bench{s, db}, s, exec}
			check(t, d)
			d.verifyAll(t)
		})
	}
}

type durable struct {
	bench

	store Durable
	sql   SQL
}

func convert(t *testing.T, d *durable) {
	plain, other := key("plain", "a"), key("other", "a")
	plain.Hash = auth.Hash{Sum: [32]byte{1, 2, 3}}
	at := d.commit(t, access.Change{Keys: []*auth.Key{plain, other}})
	for _, want := range []int{1, 0} {
		n, err := d.store.Convert(t.Context(), func(h auth.Hash) auth.Hash {
			if h != plain.Hash {
				t.Errorf("converting %v", h)
			}
			return auth.Hash{By: "new", Sum: [32]byte{3, 2, 1}}
		})
		if err != nil || n != want {
			t.Errorf("converted %d, %v; want %d", n, err, want)
		}
	}
	if got := d.key(t, "plain").Hash; got != (auth.Hash{By: "new", Sum: [32]byte{3, 2, 1}}) {
		t.Errorf("hash %v", got)
	}
	same(t, "the other", other, d.key(t, "other"))
	if u := d.since(t, at); u.Position != at {
		t.Errorf("it is a change: %+v", u)
	}
}

func hashedBy(t *testing.T, d *durable) {
	keys := []*auth.Key{key("a", "a"), key("b", "b"), key("plain", "a"), key("revoked", "a"), key("expired", "a")}
	keys[2].Hash.By = ""
	keys[3].RevokedAt = now()
	keys[4].ExpiresAt = epoch()
	d.commit(t, access.Change{Keys: keys})
	got, err := d.store.HashedBy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "counts", map[string]int{"k1": 2, "": 1}, got)
}

func forgetKeys(t *testing.T, d *durable) {
	const most = 1000
	var all []*auth.Key
	for i := range most + 3 {
		k := key(fmt.Sprintf("k%04d", i), "a")
		k.RevokedAt = epoch().AddDate(0, 0, i)
		all = append(all, k)
	}
	all[most+2].RevokedAt, all[most+2].ExpiresAt = now().AddDate(-1000, 0, 0), now().AddDate(-1000, 0, 0)
	all[most+2].RevokedAt = epoch().AddDate(0, 0, -1)                                  // ended first
	all[1].RevokedAt, all[1].ExpiresAt = all[1].ExpiresAt.AddDate(-200, 0, 0), epoch() // revoked before it was made
	imported, live, other := key("imported", "a"), key("live", "a"), key("other", "b")
	imported.RevokedAt, other.RevokedAt = epoch().AddDate(-1, 0, 0), epoch().AddDate(-1, 0, 0)
	long := key("long", "a") // expired before any was revoked
	long.ExpiresAt = epoch().AddDate(-1, 0, 0)
	d.commit(t, access.Change{Keys: append(all, imported, live, other, long)})
	kept := map[string]bool{}
	for _, id := range d.readPages(t, auth.Page{Limit: 200}) {
		kept[id] = true
	}
	if len(kept) != most+3 {
		t.Errorf("%d keys are kept", len(kept))
	}
	for id, want := range map[string]bool{
		"imported": true, "live": true, "other": true, "long": false, "k0001": false, "k1002": false, "k0000": false, "k0002": true, "k1001": true,
	} {
		if kept[id] != want {
			t.Errorf("%s is kept: %v", id, kept[id])
		}
	}
}

func forgetPositions(t *testing.T, d *durable) {
	change := access.Change{Roles: []*access.Role{role("a", "r")}}
	first := d.commit(t, change)
	second := d.commit(t, change)
	d.sql.Do(t, "UPDATE counter SET number = 10000")
	at := d.commit(t, change)
	if at.Number != 10_001 {
		t.Fatalf("position %+v", at)
	}
	if u := d.since(t, first); !u.Whole {
		t.Error("the oldest position is still there")
	}
	if u := d.since(t, second); u.Whole || len(u.Tenants) != 1 {
		t.Errorf("since one of the newest: %+v", u)
	}
}

func othersRow(t *testing.T, d *durable) {
	change, want := everything()
	at := d.commit(t, change)
	for name, c := range map[string]access.Change{
		"a key":   {Keys: []*auth.Key{key("k1", "b")}},
		"a grant": {Grants: []*access.Grant{grant("g1", "b")}},
	} {
		_, err := d.Commit(t.Context(), at, func(*rights.Update) (*rights.Stored, error) { return &rights.Stored{Change: c}, nil })
		if err == nil || !strings.Contains(err.Error(), "another tenant") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	d.commit(t, access.Change{EndGrants: []*access.Grant{grant("g1", "b")}})
	same(t, "state", want, d.state(t))
}

func slowDecision(t *testing.T, d *durable) {
	other := d.db.Open(t)
	deciding, decide := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := d.Commit(t.Context(), rights.Position{}, func(*rights.Update) (*rights.Stored, error) {
			close(deciding)
			<-decide
			return &rights.Stored{Change: access.Change{Roles: []*access.Role{role("a", "slow")}}}, nil
		})
		done <- err
	}()
	<-deciding
	for name, s := range map[string]Store{"of another": other, "of its own": d} {
		if u, err := s.Since(t.Context(), rights.Position{}); err != nil || len(u.Tenants) != 0 {
			t.Errorf("reading %s: %+v, %v", name, u, err)
		}
		_, err := s.Commit(t.Context(), rights.Position{}, func(*rights.Update) (*rights.Stored, error) {
			t.Errorf("a commit %s was decided at the same time", name)
			return &rights.Stored{}, nil
		})
		if err == nil {
			t.Errorf("a commit %s did not fail", name)
		}
	}
	close(decide)
	if err := <-done; err != nil {
		t.Error(err)
	}
	commit(t, other, rights.Position{}, access.Change{Roles: []*access.Role{role("a", "next")}})
	same(t, "roles", []*access.Role{role("a", "next"), role("a", "slow")}, d.state(t)["a"].Roles)
}

func goneWhileDeciding(t *testing.T, d *durable) {
	at := d.commit(t, access.Change{Roles: []*access.Role{role("a", "r")}})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := d.Commit(ctx, at, func(*rights.Update) (*rights.Stored, error) {
		cancel()
		return &rights.Stored{Change: access.Change{Roles: []*access.Role{role("a", "other")}}}, nil
	})
	if err == nil {
		t.Error("no error")
	}
	if u := d.since(t, at); u.Position != at {
		t.Errorf("it was stored: %+v", u)
	}
	d.commit(t, access.Change{Roles: []*access.Role{role("a", "next")}})
}

func unreadable(t *testing.T, d *durable) {
	at := d.commit(t, access.Change{Roles: []*access.Role{role("a", "r")}})
	next := d.commit(t, access.Change{Roles: []*access.Role{role("a", "r")}})
	d.sql.Do(t, `UPDATE roles SET permissions = '[{"a": 1}]'`)
	for name, p := range map[string]rights.Position{"all": {}, "what changed": at} {
		if u, err := d.Since(t.Context(), p); err == nil {
			t.Errorf("%s: %+v", name, u)
		}
	}
	if _, err := d.Since(t.Context(), next); err != nil {
		t.Errorf("nothing new: %v", err)
	}
}
