package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
)

func claimed(t *testing.T, b *bench) {
	b.accept(t, "acme", "queued")
	x := b.accept(t, "acme", "x1")
	due, later, lease := b.branch(x, 0, 0), b.branch(x, 1, 0), b.branch(x, 2, 7)
	later.Due = x.Created.Add(time.Hour)
	lease.What, lease.Epoch, lease.Step, lease.Attempts, lease.Breaks = execution.Lease, 3, 1, 2, 1
	lease.Due = x.Created.Add(-time.Millisecond)
	b.begin(t, x, due, later, lease)
	over := b.accept(t, "acme", "x2")
	b.begin(t, over)
	over.Deadline = over.Created
	end := execution.Branch{BranchID: execution.Whole("x2"), What: execution.End, Due: over.Created}
	b.save(t, over, execution.Change{Changed: true, Put: []execution.Branch{end}})
	got := b.claim(t, 10, hold)
	same(t, "claimed", []execution.Branch{lease, due, end}, got)
	same(t, "claimed again", []execution.Branch(nil), b.claim(t, 10, hold))
	if l := b.load(t, "x1"); !slices.Contains(l.Branches, due) {
		t.Errorf("a claim changes what is due: %+v", l.Branches)
	}
}

func claimEnds(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1")
	b.begin(t, x, b.branch(x, 0, 0), b.branch(x, 0, 1))
	for range 3 {
		if got := b.claim(t, 10, 0); len(got) != 2 {
			t.Fatalf("claimed %+v", got)
		}
	}
	if got := b.claim(t, 1, hold); len(got) != 1 {
		t.Errorf("claimed %+v", got)
	}
	b.claim(t, 10, hold)
	b.save(t, x, execution.Change{Changed: true, Put: []execution.Branch{b.branch(x, 0, 1)}})
	same(t, "what was put anew", []execution.Branch{b.branch(x, 0, 1)}, b.claim(t, 10, hold))
}

func turns(t *testing.T, b *bench) {
	for i := range 20 { // one that has much to do, and it matters
		x := b.accept(t, "greedy", fmt.Sprintf("g%02d", i), func(a *record.Acceptance) { a.Execution.Priority = 10 - i%2 })
		b.begin(t, x, b.branch(x, 0, 0))
	}
	for _, tenant := range []string{"a", "z"} {
		x := b.accept(t, tenant, tenant, func(a *record.Acceptance) { a.Execution.Priority = -10 })
		b.begin(t, x, b.branch(x, 0, 0), b.branch(x, 0, 1))
	}
	first := ids(b.claim(t, 5, hold))
	if !slices.Contains(first, "a") || !slices.Contains(first, "z") {
		t.Errorf("claimed %v", first)
	}
	rest := b.claim(t, 100, hold)
	if len(rest) != 19 || !slices.IsSortedFunc(rest, func(a, b execution.Branch) int { return b.Priority - a.Priority }) {
		t.Errorf("%d are left: %+v", len(rest), rest)
	}
}

func claimRace(t *testing.T, b *bench) {
	const executions, items, claimers = 5, 20, 6
	for i := range executions {
		x := b.accept(t, "acme", fmt.Sprintf("x%d", i))
		var all []execution.Branch
		for item := range items {
			all = append(all, b.branch(x, 0, item))
		}
		b.begin(t, x, all...)
	}
	var mu sync.Mutex
	times := map[execution.BranchID]int{}
	counts := atOnce(t, claimers, func(int) error {
		for empty := 0; empty < 3; {
			got, err := b.Claim(t.Context(), 7, hold)
			if err != nil {
				return err
			}
			if len(got) == 0 {
				empty++
			}
			mu.Lock()
			for i := range got {
				times[got[i].BranchID]++
			}
			mu.Unlock()
		}
		return nil
	})
	same(t, "errors", map[error]int{nil: claimers}, counts)
	for range b.claim(t, 100, hold) {
		t.Error("one was left")
	}
	if len(times) != executions*items {
		t.Errorf("%d of %d were claimed", len(times), executions*items)
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("%+v was claimed %d times", id, n)
		}
	}
}

func sent(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1")
	b.begin(t, x, b.branch(x, 0, 0), b.branch(x, 0, 1), b.branch(x, 0, 2))
	var lease []execution.Branch
	for _, branch := range b.claim(t, 10, hold) {
		branch.Epoch++
		branch.What, branch.Due = execution.Lease, x.Created.Add(time.Hour)
		lease = append(lease, branch)
	}
	b.save(t, x, execution.Change{Changed: true, Remove: []execution.BranchID{lease[1].BranchID}})
	lease[2].Epoch = 9 // another sent it
	gone := lease[0]
	gone.Execution = "none"
	got, err := b.Sent(t.Context(), append(lease, gone))
	is(t, "sending", err, nil)
	same(t, "what stands", lease[:1], got)
	if branches := b.load(t, "x1").Branches; !slices.Contains(branches, lease[0]) || len(branches) != 3 {
		t.Errorf("stored %+v", branches)
	}
	got, err = b.Sent(t.Context(), lease[:1])
	is(t, "sending again", err, nil)
	same(t, "what stands, again", []execution.Branch(nil), got)
	if r := b.load(t, "x1").Execution.Revision; r != x.Revision {
		t.Errorf("the revision moved from %d to %d", x.Revision, r)
	}
	same(t, "claimed", []execution.Branch(nil), b.claim(t, 10, hold))
}

func voids(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1")
	lease, later := b.branch(x, 0, 0), b.branch(x, 1, 0)
	lease.What, lease.Epoch, lease.Due = execution.Lease, 1, x.Created.Add(time.Hour)
	later.Due = x.Created.Add(time.Hour)
	b.begin(t, x, lease, later, b.branch(x, 2, 0))
	b.claim(t, 10, hold)
	b.accept(t, "acme", "x2")
	b.admit(t, record.Admission{Most: 1, Hold: hold})
	n, err := b.Voids(t.Context())
	if err != nil || n != 1 {
		t.Fatalf("%d leases, %v", n, err)
	}
	got := b.claim(t, 10, hold)
	if len(got) != 2 || got[0].Segment+got[1].Segment != 2 {
		t.Errorf("claimed %+v", got)
	}
	same(t, "admitted again", []string{"x2"}, b.admit(t, record.Admission{Most: 1, Hold: hold}))
}

func concurrency(t *testing.T, b *bench) {
	var all []*execution.Execution
	for i := range 5 {
		all = append(all, b.accept(t, "acme", fmt.Sprintf("x%d", i), func(a *record.Acceptance) { a.Concurrency = 2 }))
	}
	b.accept(t, "acme", "y", func(a *record.Acceptance) { a.Concurrency, a.Execution.Version = 2, 4 })
	b.accept(t, "acme", "z", func(a *record.Acceptance) { a.Execution.Pipeline = "" })
	b.accept(t, "other", "o", func(a *record.Acceptance) { a.Concurrency = 2 })
	a := record.Admission{Most: 100, Hold: hold}
	got := b.admit(t, a)
	slices.Sort(got)
	same(t, "first", []string{"o", "x0", "x1", "y", "z"}, got)
	same(t, "while they are admitted", []string(nil), b.admit(t, a))
	b.begin(t, all[0])
	b.begin(t, all[1])
	same(t, "while they run", []string(nil), b.admit(t, a))
	b.end(t, all[0], execution.Succeeded)
	same(t, "after one has ended", []string{"x2"}, b.admit(t, a))
	b.end(t, all[2], execution.Cancelled)
	b.end(t, all[1], execution.Failed)
	same(t, "after two have", []string{"x3", "x4"}, b.admit(t, a))
}

func perTenant(t *testing.T, b *bench) {
	for i := range 6 {
		b.accept(t, "greedy", fmt.Sprintf("g%d", i), func(a *record.Acceptance) { a.Execution.Pipeline = fmt.Sprint(i % 2) })
	}
	b.accept(t, "small", "s1")
	for _, want := range []struct {
		tenant string
		n      int
	}{{"greedy", 6}, {"greedy", 3}, {"small", 1}} {
		n, err := b.Waiting(t.Context(), want.tenant, want.n)
		if err != nil || n != want.n {
			t.Errorf("%s has %d waiting, %v; want %d", want.tenant, n, err, want.n)
		}
	}
	got := b.admit(t, record.Admission{Most: 2, PerTenant: 3, Hold: hold})
	if len(got) != 2 || !slices.Contains(got, "s1") {
		t.Errorf("admitted %v: each tenant has its turn", got)
	}
	if got := b.admit(t, record.Admission{Most: 100, PerTenant: 3, Hold: hold}); len(got) != 2 {
		t.Errorf("admitted %v, want two", got)
	}
	if n, err := b.Waiting(t.Context(), "greedy", 100); err != nil || n != 3 {
		t.Errorf("%d are waiting, %v", n, err)
	}
}

func admitOrder(t *testing.T, b *bench) {
	b.accept(t, "acme", "low", func(a *record.Acceptance) { a.Execution.Priority = -1 })
	b.accept(t, "acme", "later", func(a *record.Acceptance) { a.Execution.RunAt = time.Now().Add(time.Hour) })
	b.accept(t, "acme", "high", func(a *record.Acceptance) { a.Execution.Priority = 2 })
	b.accept(t, "acme", "middle")
	one := record.Admission{Most: 1, Hold: hold}
	for _, want := range [][]string{{"high"}, {"middle"}, {"low"}, nil} {
		same(t, "admitted", want, b.admit(t, one))
	}
	b.db.Do(t, "UPDATE due SET due_at = 1 WHERE execution = 'later'")
	same(t, "once its time has come", []string{"later"}, b.admit(t, one))
}

func admissionEnds(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1")
	for range 3 {
		same(t, "admitted", []string{"x1"}, b.admit(t, record.Admission{Most: 2}))
	}
	b.admit(t, record.Admission{Most: 2, Hold: hold})
	same(t, "while it is held", []string(nil), b.admit(t, record.Admission{Most: 2}))
	b.begin(t, x)
	b.db.Do(t, "UPDATE due SET free_at = 1")
	same(t, "once it has begun", []string(nil), b.admit(t, record.Admission{Most: 2}))
}

func admitRace(t *testing.T, b *bench) {
	const n, bound, admitters = 30, 20, 6
	for i := range n {
		b.accept(t, "acme", fmt.Sprintf("x%02d", i), func(a *record.Acceptance) { a.Concurrency = bound })
	}
	var mu sync.Mutex
	times := map[string]int{}
	counts := atOnce(t, admitters, func(int) error {
		for range 4 {
			got, err := b.Admit(t.Context(), record.Admission{Most: 3, Hold: hold})
			if err != nil {
				return err
			}
			mu.Lock()
			for i := range got {
				times[got[i].Execution]++
			}
			mu.Unlock()
		}
		return nil
	})
	same(t, "errors", map[error]int{nil: admitters}, counts)
	if len(times) != bound {
		t.Errorf("%d were admitted, %d may run", len(times), bound)
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s was admitted %d times", id, n)
		}
	}
}

func backlog(t *testing.T, b *bench) {
	count := func(want record.Backlog) {
		t.Helper()
		got, err := b.Backlog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Due > 0 && (got.Age < 0 || got.Age > time.Minute) {
			t.Errorf("it has been due for %v", got.Age)
		}
		got.Age = 0
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	count(record.Backlog{})
	x := b.accept(t, "acme", "x1")
	b.accept(t, "other", "x2", func(a *record.Acceptance) { a.Execution.RunAt = time.Now().Add(hold) })
	count(record.Backlog{Queued: 2})
	b.begin(t, x, b.branch(x, 0, 0), b.branch(x, 0, 1))
	count(record.Backlog{Queued: 1, Running: 1, Due: 2})
	if got, err := b.Claim(t.Context(), 1, hold); err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	count(record.Backlog{Queued: 1, Running: 1, Due: 1})
}
