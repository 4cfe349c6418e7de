package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
)

func (b *bench) add(t *testing.T, entries ...audit.Entry) {
	t.Helper()
	if err := b.Append(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
}

// chain returns a tenant's entries, the oldest first.
func (b *bench) chain(t *testing.T, tenant string) ([]audit.Entry, audit.Head) {
	t.Helper()
	var all []audit.Entry
	head, err := audit.Read(t.Context(), b, tenant, func(e *audit.Entry) error {
		all = append(all, *e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, head
}

func (b *bench) entries(t *testing.T, f audit.Filter) []audit.Entry {
	t.Helper()
	got, err := b.Entries(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// fill adds entries to a tenant's chain, whose actions are their numbers.
func (b *bench) fill(t *testing.T, tenant string, n int) {
	t.Helper()
	var all []audit.Entry
	for i := range n {
		all = append(all, entry(tenant, fmt.Sprint(i+1)))
	}
	b.add(t, all...)
}

// expect is what entries should be stored as.
func expect(t *testing.T, head audit.Head, entries ...audit.Entry) []audit.Entry {
	t.Helper()
	var out []audit.Entry
	for _, e := range entries {
		next, err := head.Next(e)
		if err != nil {
			t.Fatal(err)
		}
		head.Seq, head.Hash = next.Seq, next.Hash
		out = append(out, next)
	}
	return out
}

func chains(t *testing.T, b *bench) {
	other := entry("b", "second")
	other.Actor, other.Resource, other.Reason, other.RequestID, other.Address = "", "", "", "", ""
	other.Outcome, other.Count = audit.Refused, 1<<40
	platform := entry(audit.Platform, "model.publish")
	hostile := entry("a", "fourth")
	hostile.Reason = "a\x00\xff\u0007b <&> \u2028 ünï"
	b.add(t, entry("a", "first"), other, platform, entry("a", "third"))
	b.add(t, hostile)
	got, head := b.chain(t, "a")
	if len(got) != 3 || head.Seq != 3 || head.Hash != got[2].Hash || head.Tenant != "a" {
		t.Fatalf("chain %+v, head %+v", got, head)
	}
	first, third := entry("a", "first"), entry("a", "third")
	first.At, third.At, hostile.At = got[0].At, got[1].At, got[2].At
	same(t, "chain of a", expect(t, audit.Head{Tenant: "a"}, first, third, hostile), got)
	got, _ = b.chain(t, "b")
	same(t, "chain of b", expect(t, audit.Head{Tenant: "b"}, other), got)
	if n := len(b.entries(t, audit.Filter{Limit: 100, Action: "model.publish"})); n != 1 {
		t.Errorf("%d entries of the platform", n)
	}
}

func opened(t *testing.T, b *bench) {
	b.fill(t, "a", 2)
	b.fill(t, audit.Platform, 1)
	b.commit(t, access.Change{}, entry("b", "x"), entry("c", "x"))
	b.fill(t, "a", 2)
	b.fill(t, "c", 1)
	var got []string
	for _, e := range b.entries(t, audit.Filter{Tenant: audit.Platform, Action: "audit.open", Actor: "gateway", Outcome: audit.Done, Limit: 100}) {
		got = append(got, e.Resource)
	}
	slices.Sort(got)
	same(t, "opened", []string{"chain:a", "chain:b", "chain:c"}, got)
}

func changeEntries(t *testing.T, b *bench) {
	b.commit(t, access.Change{Roles: []*access.Role{role("a", "r")}}, entry("a", "1"), entry("b", "1"), entry("a", "2"))
	b.fill(t, "a", 1)
	b.commit(t, access.Change{}, entry("a", "4"))
	if v := b.verify(t, "a"); !v.Holds || v.Entries != 4 {
		t.Errorf("the chain: %+v", v)
	}
}

func filters(t *testing.T, b *bench) {
	start := now().Add(-time.Hour)
	var all []audit.Entry
	for i := range 48 {
		e := entry("a", []string{"x", "y"}[i%2])
		e.At = start.Add(time.Duration(i/2) * time.Minute)
		e.Actor = []string{"key:a", "key:b", "gateway"}[i%3]
		e.Resource = []string{"model:m", ""}[i/2%2]
		e.Outcome = []audit.Outcome{audit.Done, audit.Refused}[i/3%2]
		all = append(all, e)
	}
	b.add(t, all...)
	b.fill(t, "b", 3)
	stored, _ := b.chain(t, "a")
	for name, f := range map[string]audit.Filter{
		"all":                    {},
		"an action":              {Action: "x"},
		"an actor":               {Actor: "gateway"},
		"a resource":             {Resource: "model:m"},
		"an outcome":             {Outcome: audit.Refused},
		"from":                   {From: start.Add(5 * time.Minute)},
		"to":                     {To: start.Add(5 * time.Minute)},
		"between milliseconds":   {From: start.Add(5*time.Minute + time.Microsecond), To: start.Add(9*time.Minute + time.Microsecond)},
		"a time of none":         {From: start.Add(time.Minute), To: start},
		"before":                 {Before: 17},
		"before the first":       {Before: 1},
		"all at once":            {Action: "x", Actor: "key:a", Resource: "model:m", Outcome: audit.Done, From: start, To: start.Add(20 * time.Minute), Before: 40},
		"actor and action":       {Actor: "key:b", Action: "y"},
		"actor and outcome":      {Actor: "key:b", Outcome: audit.Done},
		"action and resource":    {Resource: "model:m", Action: "y"},
		"what none has":          {Action: "z"},
		"hostile":                {Actor: "' OR ''='", Resource: "%"},
		"nothing of the other's": {Action: "1"},
	} {
		f.Tenant, f.Limit = "a", 1000
		var want []audit.Entry
		for _, e := range slices.Backward(stored) {
			if f.Matches(&e) {
				want = append(want, e)
			}
		}
		same(t, name, want, b.entries(t, f))
		if len(want) > 3 {
			f.Limit = 3
			same(t, name+", the first three", want[:3], b.entries(t, f))
		}
	}
}

func entryPages(t *testing.T, b *bench) {
	b.fill(t, "a", 10)
	for _, limit := range []int{1, 3, 10, 11} {
		var got []int64
		f := audit.Filter{Tenant: "a", Limit: limit}
		for page := b.entries(t, f); len(page) > 0; page = b.entries(t, f) {
			for _, e := range page {
				got = append(got, e.Seq)
				f.Before = e.Seq
			}
		}
		same(t, fmt.Sprintf("in pages of %d", limit), []int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, got)
	}
}

func heads(t *testing.T, b *bench) {
	before := now()
	b.fill(t, "a", 3)
	b.fill(t, "b", 2)
	got, err := b.Heads(t.Context(), before, 10)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(x, y audit.Head) int { return compare(x.Tenant, y.Tenant) })
	var want []audit.Head
	for _, tenant := range []string{audit.Platform, "a", "b"} {
		_, head := b.chain(t, tenant)
		want = append(want, head)
	}
	same(t, "heads", want, got)
	if got, err := b.Heads(t.Context(), before, 2); err != nil || len(got) != 2 {
		t.Errorf("at most two: %v, %v", got, err)
	}
	if got, err := b.Heads(t.Context(), now().Add(time.Hour), 10); err != nil || len(got) != 0 {
		t.Errorf("in the future: %v, %v", got, err)
	}
}

func visitError(t *testing.T, b *bench) {
	b.fill(t, "a", 5)
	enough := errors.New("enough")
	n := 0
	_, err := audit.Read(t.Context(), b, "a", func(*audit.Entry) error {
		if n++; n == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 2 {
		t.Errorf("error %v after %d entries", err, n)
	}
}

func trim(t *testing.T, b *bench) {
	old := make([]audit.Entry, 4)
	for i := range old {
		old[i] = entry("a", "old")
		old[i].At = now().Add(-time.Hour)
	}
	b.add(t, old...)
	b.fill(t, "a", 4)
	for _, step := range []struct {
		name    string
		before  time.Time
		most    int64
		removed int64
		left    int64
	}{
		{"nothing is old, nor too much", now().Add(-2 * time.Hour), 100, 0, 8},
		{"the old", now().Add(-time.Minute), 100, 4, 5},
		{"again", now().Add(-time.Minute), 100, 0, 5},
		{"more than most", now().Add(-time.Minute), 3, 3, 3},
		{"more than most, again", now().Add(-time.Minute), 3, 0, 3},
		{"all but the newest, which says so", now().Add(time.Minute), 0, 2, 2},
		{"nothing but what says so", now().Add(time.Minute), 0, 0, 2},
	} {
		n, err := b.Trim(t.Context(), "a", step.before, step.most)
		if err != nil || n != step.removed {
			t.Errorf("%s: removed %d, %v; want %d", step.name, n, err, step.removed)
		}
		if v := b.verify(t, "a"); !v.Holds || v.Entries != step.left {
			t.Errorf("%s: the chain: %+v, want %d entries", step.name, v, step.left)
		}
	}
	b.fill(t, "a", 2)
	if n, err := b.Trim(t.Context(), "other", now(), 0); n != 0 || err != nil {
		t.Errorf("trimmed %d of no chain, %v", n, err)
	}
}

func appendAtOnce(t *testing.T, b *bench) {
	const stores, appends = 3, 5
	var work sync.WaitGroup
	for i := range stores {
		s := b.db.Open(t)
		tenants := []string{"a", audit.Platform, "b"} // each in another order
		slices.Reverse(tenants[:i])
		work.Go(func() {
			for done := 0; done < appends && t.Context().Err() == nil; {
				var entries []audit.Entry
				for _, tenant := range tenants {
					entries = append(entries, entry(tenant, "x"), entry(tenant, "y"))
				}
				if s.Append(t.Context(), entries) == nil { // else another took too long
					done++
				}
			}
		})
	}
	work.Wait()
	for tenant, more := range map[string]int64{"a": 0, "b": 0, audit.Platform: 2} {
		if v := b.verify(t, tenant); !v.Holds || v.Entries != 2*stores*appends+more {
			t.Errorf("the chain of %q: %+v", tenant, v)
		}
	}
}

func (b *bench) broken(t *testing.T, what, tenant string, at int64) {
	t.Helper()
	if v := b.verify(t, tenant); v.Holds || v.BrokenAt != at {
		t.Errorf("%s: %+v, want it broken at %d", what, v, at)
	}
}

func damage(t *testing.T, b *bench) {
	for i, column := range []string{
		"hash", "seq", "at", "actor", "action", "resource", "outcome", "reason", "request_id", "address", "count", "previous", "tenant",
	} {
		if v := b.verify(t, audit.Platform); i > 0 && !v.Holds { // it does not know the tenant that the last comes to
			t.Errorf("the platform's chain: %+v", v)
		}
		tenant := fmt.Sprintf("t%d", i)
		b.fill(t, tenant, 6)
		seq := int64(i%5 + 2)
		if column == "seq" {
			seq = 6 // the next one is taken for every other
		}
		b.db.Damage(t, tenant, seq, column)
		b.broken(t, column, tenant, seq)
	}
}

func gap(t *testing.T, b *bench) {
	b.fill(t, "a", 8)
	b.db.Remove(t, "a", 3, 4, false)
	b.broken(t, "two of eight", "a", 3)
}

func cutTail(t *testing.T, b *bench) {
	b.fill(t, "a", 8)
	b.db.Remove(t, "a", 6, 8, false)
	b.broken(t, "the last three", "a", 6)
}

func cutBeginning(t *testing.T, b *bench) {
	b.fill(t, "a", 8)
	b.db.Remove(t, "a", 1, 3, false)
	b.broken(t, "the first three", "a", 4)
}

func noHead(t *testing.T, b *bench) {
	b.fill(t, "a", 4)
	b.db.Remove(t, "a", 100, 100, true)
	b.broken(t, "without a head", "a", 5)
}

func wiped(t *testing.T, b *bench) {
	b.fill(t, "a", 4)
	b.fill(t, "b", 4)
	b.db.Remove(t, "a", 1, 4, false)
	b.broken(t, "without entries", "a", 1)
	b.db.Remove(t, "a", 1, 4, true)
	b.broken(t, "without entries or head", "a", 1)
	b.fill(t, "a", 2) // as somebody does who begins it anew
	b.broken(t, "begun anew", "a", 1)
}
