// Package storetest holds what every database of the gateway must do, for the tests
// of each adapter, and of the one in memory, to run against its own.
package storetest

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

// Store is all that the gateway has of a database.
type Store interface {
	rights.Store
	audit.Store
	Key(ctx context.Context, id string) (*auth.Key, error)
	Keys(ctx context.Context, page auth.Page) ([]*auth.Key, error)
	Ping(ctx context.Context) error
}

// Database is one that a case has for itself.
type Database interface {
	// Open returns another Store on it, which the test's end closes.
	Open(t *testing.T) Store

	// Copy returns a database with the same content, which goes its own way from
	// now on. Stores that are open fail once.
	Copy(t *testing.T) Database

	// Damage changes a column of an entry of a chain; it adds an x to text, and 1 to
	// a number.
	Damage(t *testing.T, tenant string, seq int64, column string)

	// Remove deletes entries of a chain, and its head as well where that is asked.
	Remove(t *testing.T, tenant string, from, to int64, head bool)
}

// bench is what a case works with.
type bench struct {
	Store
	db Database
}

// RunStore runs the conformance suite. open returns an empty database; it is called
// once for each case. After each case that damages no chain, all of them hold.
func RunStore(t *testing.T, open func(t *testing.T) Database) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, *bench){
		"an empty database has nothing":                             empty,
		"everything comes back as it was":                           roundTrip,
		"since a position, tenants that changed come whole":         since,
		"when nothing changed, nothing comes":                       unchanged,
		"positions have no gaps, and marks of their own":            positions,
		"a position that never was brings everything":               unknownPosition,
		"a database that lost changes brings everything":            divergence,
		"a tenant that is now empty comes empty":                    emptied,
		"a revoked key goes, and stays to be looked up":             revoked,
		"a key that expired goes after a day":                       expired,
		"ended keys are forgotten, but for the newest thousand":     forgotten,
		"a change replaces whole rows":                              replaced,
		"a change leaves alone what uses of a key noted":            changedAfterUse,
		"roles and grants end":                                      ended,
		"decide's error is returned as it is, and undoes all":       refused,
		"what is not there to store makes no position":              nothingStored,
		"entries alone make a position":                             entriesAlone,
		"decide gets what others stored since":                      decideOnNewest,
		"commits of several at once lose nothing":                   concurrent,
		"a use is noted, and is no change":                          used,
		"an unknown key is nobody's":                                unknownKey,
		"pages hold every key once, newest first":                   keyPages,
		"a tenant's pages hold its own keys":                        keysOfTenant,
		"hostile text is only text":                                 hostile,
		"a cancelled caller is an error":                            cancelled,
		"entries come back as they were, one chain for each tenant": chains,
		"a chain's first entry is in the platform's chain":          opened,
		"a change's entries come with it":                           changeEntries,
		"filters select":                                            filters,
		"pages hold every entry once, newest first":                 entryPages,
		"heads are of the chains that moved":                        heads,
		"a visit's error ends the reading":                          visitError,
		"trimmed chains hold":                                       trim,
		"a chain of several pages is one":                           longChain,
		"a chain that grows while it is read is read to its head":   grows,
		"a chain that is trimmed while it is read says so":          trimmedMeanwhile,
		"slow readers of chains hold nobody up":                     slowReaders,
		"a chain that nobody adds to is trimmed once":               trimmedOften,
		"several who append at once make one chain":                 appendAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t)
			b := &bench{db.Open(t), db}
			check(t, b)
			b.verifyAll(t)
		})
	}
	for name, check := range map[string]func(*testing.T, *bench){
		"damage to any column is found":                         damage,
		"a gap is found":                                        gap,
		"a cut tail is found":                                   cutTail,
		"a cut beginning is found":                              cutBeginning,
		"a chain without its head is none":                      noHead,
		"a chain that is gone is found":                         wiped,
		"every chain is listed":                                 listed,
		"what the platform's chain knows is never trimmed away": openingsStay,
		"a damaged end is found, and chains go on":              goesOn,
		"a platform's chain that is gone is found":              platformWiped,
		"all chains gone is found":                              allWiped,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t)
			check(t, &bench{db.Open(t), db})
		})
	}
}

func (b *bench) verifyAll(t *testing.T) {
	t.Helper()
	all, err := b.Heads(t.Context(), time.Time{}, math.MaxInt32)
	if err != nil {
		t.Fatal(err)
	}
	for _, head := range all {
		if head.Seq == 0 {
			continue // a case stored changes without entries
		}
		if v := b.verify(t, head.Tenant); !v.Holds || v.Entries == 0 {
			t.Errorf("the chain of %q: %+v", head.Tenant, v)
		}
	}
}

func (b *bench) verify(t *testing.T, tenant string) audit.Verdict {
	t.Helper()
	v, err := audit.Verify(t.Context(), b, tenant)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC) }

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// key is a key with something in each field that a change sets.
func key(id, tenant string) *auth.Key {
	return &auth.Key{
		ID: id, Name: "name of " + id, Description: "for <what>", Tenant: tenant,
		Scopes: []auth.Permission{auth.InferAll, auth.ModelsRead}, Roles: []string{"viewer", "own"},
		Hash: auth.Hash{By: "k1", Sum: [32]byte{1, 2, byte(len(id))}}, Lineage: "first" + id, Replaces: "before" + id,
		CreatedAt: epoch(), ExpiresAt: epoch().AddDate(100, 0, 0), Imported: id == "imported",
	}
}

func role(tenant, name string) *access.Role {
	return &access.Role{
		Tenant: tenant, Name: name, Inherits: []string{"viewer"}, Permissions: []auth.Permission{auth.Infer("churn"), "run:*"}, UpdatedAt: epoch(),
	}
}

func grant(id, tenant string) *access.Grant {
	return &access.Grant{
		ID: id, Tenant: tenant, To: access.Recipient{Key: "firstk"}, By: access.Giver{Tenant: tenant, Subject: "https://issuer someone"},
		Roles: []string{"viewer"}, Permissions: []auth.Permission{auth.UsageRead}, CreatedAt: epoch(), ExpiresAt: epoch().Add(time.Hour),
	}
}

func subject(tenant, name string) *access.Subject {
	return &access.Subject{Subject: name, Tenant: tenant, Roles: []string{"admin"}, NoAdmin: true, IssuedAt: epoch()}
}

func entry(tenant, action string) audit.Entry {
	return audit.Entry{
		At: now(), Tenant: tenant, Actor: "key:a", Action: action, Resource: "model:churn", Outcome: audit.Done,
		Reason: "why", RequestID: "r1", Address: "192.0.2.1", Count: 1,
	}
}

// commit stores a change, decided on all that there is.
func (b *bench) commit(t *testing.T, c access.Change, entries ...audit.Entry) rights.Position {
	t.Helper()
	return commit(t, b, rights.Position{}, c, entries...)
}

func commit(t *testing.T, s Store, p rights.Position, c access.Change, entries ...audit.Entry) rights.Position {
	t.Helper()
	at, err := s.Commit(t.Context(), p, func(*rights.Update) (*rights.Stored, error) {
		return &rights.Stored{Change: c, Entries: entries}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func (b *bench) since(t *testing.T, p rights.Position) *rights.Update {
	t.Helper()
	u, err := b.Since(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// state is all that is stored.
func (b *bench) state(t *testing.T) map[string]*access.Tenant {
	t.Helper()
	u := b.since(t, rights.Position{})
	if !u.Whole {
		t.Error("what came since the beginning is not all")
	}
	return u.Tenants
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.SortSlices(func(a, b *auth.Key) bool { return a.ID < b.ID })); diff != "" {
		t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}
