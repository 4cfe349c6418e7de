// Package authtest holds what every auth.KeyStore must do, for the tests of
// each adapter to run against its own.
package authtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// RunKeyStore runs the conformance suite. open returns an empty store; it is
// called once for each case.
func RunKeyStore(t *testing.T, open func(t *testing.T) auth.KeyStore) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, auth.KeyStore){
		"a key comes back as it was":     roundTrip,
		"an id is taken once":            exists,
		"an unknown key":                 unknown,
		"revoking is for good":           revoke,
		"pages hold every key once":      pages,
		"a tenant sees its own":          tenants,
		"hostile text is only text":      hostile,
		"a cancelled caller is an error": cancelled,
		"many at once":                   concurrent,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, open(t))
		})
	}
}

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC) }

func key(id string) *auth.Key {
	return &auth.Key{
		ID: id, Name: "name of " + id, Tenant: "default",
		Scopes: []auth.Scope{auth.InferAll, auth.ModelsRead}, Roles: []string{"operator"},
		Hash: sha256.Sum256([]byte(id)), CreatedAt: epoch(),
	}
}

func create(t *testing.T, s auth.KeyStore, keys ...*auth.Key) {
	t.Helper()
	for _, k := range keys {
		if err := s.Create(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
}

func same(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func roundTrip(t *testing.T, s auth.KeyStore) {
	want := key("k1")
	want.ExpiresAt = epoch().Add(time.Hour)
	bare := &auth.Key{ID: "k2", Name: "bare", Tenant: "t", Hash: sha256.Sum256(nil), CreatedAt: epoch()}
	create(t, s, want, bare)
	for _, k := range []*auth.Key{want, bare} {
		got, err := s.Get(t.Context(), k.ID)
		if err != nil {
			t.Fatal(err)
		}
		same(t, k, got)
	}
}

func exists(t *testing.T, s auth.KeyStore) {
	create(t, s, key("k1"))
	other := key("k1")
	other.Hash = sha256.Sum256([]byte("other"))
	if err := s.Create(t.Context(), other); !errors.Is(err, auth.ErrKeyExists) {
		t.Errorf("error %v, want ErrKeyExists", err)
	}
	got, err := s.Get(t.Context(), "k1")
	if err != nil {
		t.Fatal(err)
	}
	same(t, key("k1"), got)
}

func unknown(t *testing.T, s auth.KeyStore) {
	if _, err := s.Get(t.Context(), "none"); !errors.Is(err, auth.ErrNoKey) {
		t.Errorf("get: error %v, want ErrNoKey", err)
	}
	if err := s.Revoke(t.Context(), "none", epoch()); !errors.Is(err, auth.ErrNoKey) {
		t.Errorf("revoke: error %v, want ErrNoKey", err)
	}
	got, err := s.List(t.Context(), auth.Page{Limit: 10})
	if err != nil || len(got) != 0 {
		t.Errorf("list: %v, %v", got, err)
	}
}

func revoke(t *testing.T, s auth.KeyStore) {
	create(t, s, key("k1"), key("k2"))
	first := epoch().Add(time.Minute)
	for _, at := range []time.Time{first, first.Add(time.Hour)} {
		if err := s.Revoke(t.Context(), "k1", at); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Get(t.Context(), "k1")
	if err != nil {
		t.Fatal(err)
	}
	want := key("k1")
	want.RevokedAt = first
	same(t, want, got)
	if other, err := s.Get(t.Context(), "k2"); err != nil || !other.RevokedAt.IsZero() {
		t.Errorf("the other key: %v, %v", other, err)
	}
}

func pages(t *testing.T, s auth.KeyStore) {
	var want []string
	for i := range 7 { // pairs share a time, so that the id must decide
		k := key(fmt.Sprintf("k%d", i))
		k.CreatedAt = epoch().Add(time.Duration(i/2) * time.Second)
		create(t, s, k)
		want = append([]string{k.ID}, want...)
	}
	var got []string
	page := auth.Page{Limit: 3}
	for {
		keys, err := s.List(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			got = append(got, k.ID)
			page.After = auth.Cursor{CreatedAt: k.CreatedAt, ID: k.ID}
		}
		if len(keys) < page.Limit || len(got) > len(want) {
			break
		}
	}
	same(t, want, got)
}

func tenants(t *testing.T, s auth.KeyStore) {
	mine, theirs := key("k1"), key("k2")
	theirs.Tenant = "other"
	create(t, s, mine, theirs)
	got, err := s.List(t.Context(), auth.Page{Tenant: "other", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	same(t, []*auth.Key{theirs}, got)
}

func hostile(t *testing.T, s auth.KeyStore) {
	k := key("k1")
	k.Name = `'; DROP TABLE keys; -- "\u0000` + "\u2028"
	create(t, s, k)
	got, err := s.Get(t.Context(), "k1")
	if err != nil {
		t.Fatal(err)
	}
	same(t, k, got)
	if _, err := s.Get(t.Context(), "k1' OR '1'='1"); !errors.Is(err, auth.ErrNoKey) {
		t.Errorf("error %v, want ErrNoKey", err)
	}
}

func cancelled(t *testing.T, s auth.KeyStore) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, "k1"); err == nil || errors.Is(err, auth.ErrNoKey) {
		t.Errorf("error %v, want the context's", err)
	}
}

func concurrent(t *testing.T, s auth.KeyStore) {
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			id := fmt.Sprintf("k%d", i)
			if err := s.Create(t.Context(), key(id)); err != nil {
				t.Error(err)
			}
			if _, err := s.Get(t.Context(), id); err != nil {
				t.Error(err)
			}
			if err := s.Revoke(t.Context(), id, epoch()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	got, err := s.List(t.Context(), auth.Page{Limit: 100})
	if err != nil || len(got) != 16 {
		t.Errorf("%d keys, %v", len(got), err)
	}
}
