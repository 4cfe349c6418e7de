package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

func longChain(t *testing.T, b *bench) {
	const n = 2*audit.ChainPage + 7
	b.fill(t, "a", n)
	got, head := b.chain(t, "a")
	if len(got) != n || head.Seq != n {
		t.Errorf("%d entries, head %+v", len(got), head)
	}
	for i, e := range got {
		if e.Seq != int64(i+1) {
			t.Fatalf("entry %d is %d", i, e.Seq)
		}
	}
	b.fill(t, "b", audit.ChainPage)
	if got, _ := b.chain(t, "b"); len(got) != audit.ChainPage {
		t.Errorf("%d entries of a page", len(got))
	}
}

// grows holds that a reading ends at a head, which is that of its last page.
func grows(t *testing.T, b *bench) {
	b.fill(t, "a", audit.ChainPage+1)
	n := 0
	head, err := audit.Read(t.Context(), b, "a", func(*audit.Entry) error {
		if n++; n == 10 {
			b.fill(t, "a", 3)
		}
		return nil
	})
	if err != nil || n != audit.ChainPage+4 || head.Seq != int64(n) {
		t.Errorf("%d entries, head %+v, %v", n, head, err)
	}
}

func trimmedMeanwhile(t *testing.T, b *bench) {
	b.fill(t, "a", audit.ChainPage+500)
	n := 0
	_, err := audit.Read(t.Context(), b, "a", func(*audit.Entry) error {
		if n++; n == 10 {
			if _, err := b.Trim(t.Context(), "a", time.Time{}, 100); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if !errors.Is(err, audit.ErrMoved) || n != audit.ChainPage {
		t.Errorf("error %v after %d entries", err, n)
	}
}

// slowReaders holds that whoever reads a chain as slowly as they like takes nothing of
// the database's from others.
func slowReaders(t *testing.T, b *bench) {
	const readers = 20 // more than there are connections
	b.fill(t, "a", 3)
	var begun, reading sync.WaitGroup
	goOn := make(chan struct{})
	begun.Add(readers)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range readers {
		reading.Go(func() {
			waits := sync.OnceFunc(func() {
				begun.Done()
				<-goOn
			})
			_, err := audit.Read(ctx, b, "a", func(*audit.Entry) error {
				waits()
				return nil
			})
			if err != nil {
				t.Error(err)
				waits()
			}
		})
	}
	defer reading.Wait()
	defer close(goOn)
	begun.Wait()
	for name, call := range map[string]func() error{
		"Since":   func() error { _, err := b.Since(ctx, rights.Position{}); return err },
		"Ping":    func() error { return b.Ping(ctx) },
		"Keys":    func() error { _, err := b.Keys(ctx, auth.Page{Limit: 1}); return err },
		"Entries": func() error { _, err := b.Entries(ctx, audit.Filter{Tenant: "a", Limit: 1}); return err },
		"Verify":  func() error { _, err := audit.Verify(ctx, b, "a"); return err },
		"Append":  func() error { return b.Append(ctx, []audit.Entry{entry("a", "x")}) },
		"Trim":    func() error { _, err := b.Trim(ctx, "a", now(), 1000); return err },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// trimmedOften holds that retention by number does not eat a chain that nobody adds to.
func trimmedOften(t *testing.T, b *bench) {
	const most = 100
	b.fill(t, "a", 150)
	left := func() (own, all int) {
		entries, _ := b.chain(t, "a")
		for _, e := range entries {
			if e.Action == audit.TrimAction {
				own++
			}
		}
		return own, len(entries)
	}
	for i := range 1000 {
		if _, err := b.Trim(t.Context(), "a", time.Time{}, most); err != nil {
			t.Fatal(i, err)
		}
	}
	if own, all := left(); own != 1 || all != most {
		t.Errorf("%d entries, %d of them of the trims", all, own)
	}
	for range 50 { // it is trimmed when it is more by a tenth
		b.fill(t, "a", 1)
		if _, err := b.Trim(t.Context(), "a", time.Time{}, most); err != nil {
			t.Fatal(err)
		}
		if own, all := left(); all < most || all > most+most/10 || own > 10 {
			t.Fatalf("%d entries, %d of them of the trims", all, own)
		}
	}
}

// openingsStay holds that what is removed of the platform's chain is not what it knows of
// the others.
func openingsStay(t *testing.T, b *bench) {
	const tenants = 30
	for i := range tenants {
		b.fill(t, fmt.Sprintf("t%d", i), 1)
	}
	for i := range 100 {
		b.fill(t, audit.Platform, 2)
		before := time.Time{}
		if i%10 == 0 {
			before = now().Add(time.Minute)
		}
		if _, err := b.Trim(t.Context(), audit.Platform, before, 10); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := b.chain(t, audit.Platform)
	if n := len(got); n > tenants+12 {
		t.Errorf("%d entries", n)
	}
	if all, err := audit.Chains(t.Context(), b); err != nil || len(all) != tenants+1 {
		t.Errorf("%d chains, %v", len(all), err)
	}
	b.verifyAll(t)
	b.db.Remove(t, "t1", 1, 1, true)
	b.broken(t, "one that is gone", "t1", 1)
	b.fill(t, "t1", 1)
	b.broken(t, "one that was begun anew", "t1", 1)
	for range 2 {
		if _, err := b.Trim(t.Context(), audit.Platform, now().Add(time.Minute), 10); err != nil {
			t.Fatal(err)
		}
		b.fill(t, audit.Platform, 1)
	}
	b.broken(t, "after the platform's was trimmed", "t1", 1)
}

// goesOn holds that damage to a chain's end is found, and does not keep it, or other
// chains, from being added to.
func goesOn(t *testing.T, b *bench) {
	b.fill(t, "a", 4)
	b.fill(t, "b", 1)
	b.db.Remove(t, "a", 100, 100, true)
	b.add(t, entry("a", "x"), entry("b", "x"), entry(audit.Platform, "x"))
	b.commit(t, access.Change{}, entry("a", "y"))
	if _, head := b.chain(t, "a"); head.Seq != 6 {
		t.Errorf("head %+v", head)
	}
	b.broken(t, "a head that was removed", "a", 5)
	for _, tenant := range []string{"b", audit.Platform} {
		if v := b.verify(t, tenant); !v.Holds {
			t.Errorf("the chain of %q: %+v", tenant, v)
		}
	}
	if n, err := b.Trim(t.Context(), "a", now().Add(time.Minute), 0); n != 5 || err != nil {
		t.Errorf("trimmed %d, %v", n, err)
	}
	b.db.Remove(t, audit.Platform, 100, 100, true)
	b.add(t, entry("c", "begins"))
	b.broken(t, "the platform's head", audit.Platform, 4)
}

// platformWiped holds that the platform's chain does not hold where it is gone, and that
// every other is still listed.
func platformWiped(t *testing.T, b *bench) {
	b.fill(t, audit.Platform, 3)
	b.fill(t, "a", 3)
	b.fill(t, "b", 3)
	b.db.Remove(t, audit.Platform, 1, 100, true)
	b.db.Remove(t, "b", 2, 2, true)
	all, err := audit.Chains(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	var tenants []string
	for _, head := range all {
		tenants = append(tenants, head.Tenant)
	}
	same(t, "chains", []string{audit.Platform, "a", "b"}, tenants)
	b.broken(t, "the platform's", audit.Platform, 1)
	b.broken(t, "one without a head", "b", 2)
	b.fill(t, "c", 1)
	b.broken(t, "the platform's, begun anew", audit.Platform, 1)
}

// allWiped holds that no chain at all is none where changes were stored.
func allWiped(t *testing.T, b *bench) {
	if v := b.verify(t, audit.Platform); !v.Holds {
		t.Errorf("of an empty database: %+v", v)
	}
	for range 2 {
		b.commit(t, access.Change{Roles: []*access.Role{role("a", "r")}}, entry("a", "x"))
	}
	for _, tenant := range []string{audit.Platform, "a"} {
		b.db.Remove(t, tenant, 1, 100, true)
	}
	b.broken(t, "no chain at all", audit.Platform, 1)
}

// listed holds that a chain is listed by its head, and by the entry that opened it where
// somebody removed the chain with its head.
func listed(t *testing.T, b *bench) {
	chains := func() []string {
		t.Helper()
		all, err := audit.Chains(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		var tenants []string
		for _, head := range all {
			tenants = append(tenants, head.Tenant)
			if _, is := b.chain(t, head.Tenant); is != head {
				t.Errorf("head %+v, want %+v", head, is)
			}
		}
		if !slices.IsSorted(tenants) {
			t.Errorf("out of order: %q", tenants)
		}
		return tenants
	}
	same(t, "of an empty log", []string{audit.Platform}, chains())
	b.fill(t, "old", 3)
	b.fill(t, audit.Platform, 2)
	if n, err := b.Trim(t.Context(), audit.Platform, now().Add(time.Minute), 0); err != nil || n != 2 { // the newest stays
		t.Fatalf("removed %d, %v", n, err)
	}
	b.fill(t, "wiped", 2)
	b.fill(t, "new", 1)
	b.db.Remove(t, "wiped", 1, 2, true)
	same(t, "chains", []string{audit.Platform, "new", "old", "wiped"}, chains())
	b.db.Remove(t, "old", 2, 2, false)
	b.broken(t, "a gap", "old", 2)
	b.broken(t, "one that is gone", "wiped", 1)
}
