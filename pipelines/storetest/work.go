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

// prioritiesAreATenantsOwn holds that tenants with high priorities are not taken before
// others: where there is room for one of each round, the longest due is.
func prioritiesAreATenantsOwn(t *testing.T, b *bench) {
	for i, tenant := range []string{"patient", "loud", "louder"} {
		x := b.accept(t, tenant, tenant, func(a *record.Acceptance) { a.Execution.Priority = 10 * (i - 1) })
		b.begin(t, x, b.branch(x, 0, 0))
		b.db.Do(t, fmt.Sprintf("UPDATE due SET free_at = free_at - %d WHERE execution = '%s'", 1000*(3-i), tenant))
	}
	for _, want := range []string{"patient", "loud", "louder"} {
		same(t, "claimed", []string{want}, ids(b.claim(t, 1, hold)))
	}
	for i, tenant := range []string{"patient", "loud", "louder"} {
		b.accept(t, tenant, "q-"+tenant, func(a *record.Acceptance) { a.Execution.Priority = 10 * (i - 1) })
		b.db.Do(t, fmt.Sprintf("UPDATE due SET due_at = due_at - %d, free_at = free_at - %d WHERE execution = 'q-%s'", 1000*(3-i), 1000*(3-i), tenant))
	}
	for _, want := range []string{"q-patient", "q-loud", "q-louder"} {
		same(t, "admitted", []string{want}, b.admit(t, record.Admission{Most: 1, Hold: hold}))
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

func returned(t *testing.T, b *bench) {
	giveBack := func(after time.Duration, rows ...execution.Branch) {
		t.Helper()
		is(t, "giving back", b.Return(t.Context(), rows, after), nil)
	}
	first, second := b.accept(t, "acme", "x1"), b.accept(t, "acme", "x2")
	b.db.Do(t, "UPDATE due SET due_at = 1 WHERE execution = 'x1'")
	one := record.Admission{Most: 1, PerTenant: 1, Hold: hold}
	start := execution.Branch{BranchID: execution.Whole("x1"), What: execution.Start}
	same(t, "admitted", []string{"x1"}, b.admit(t, one))
	giveBack(0, start)
	same(t, "what came back at once has its turn again", []string{"x1"}, b.admit(t, one))
	same(t, "while it has the place", []string(nil), b.admit(t, one))
	start.Attempts = 3
	giveBack(hold, start)
	same(t, "what comes later leaves its place", []string{"x2"}, b.admit(t, one))
	if n, err := b.Waiting(t.Context(), "acme", 9); err != nil || n != 1 {
		t.Errorf("%d wait, %v", n, err)
	}
	b.begin(t, second, b.branch(second, 0, 0))
	sends := b.claim(t, 9, hold)
	same(t, "claimed", []string{"x2"}, ids(sends))
	giveBack(hold, sends...)
	same(t, "before it comes again", []string{}, ids(b.claim(t, 9, hold)))
	giveBack(0, sends...)
	same(t, "given back", sends, b.claim(t, 9, hold))
	lease := sends[0]
	lease.What, lease.Epoch, lease.Due = execution.Lease, 1, second.Created.Add(hold)
	if _, err := b.Sent(t.Context(), []execution.Branch{lease}); err != nil {
		t.Fatal(err)
	}
	giveBack(0, sends...)
	same(t, "what was sent meanwhile", []string{}, ids(b.claim(t, 9, hold)))
	b.end(t, second, execution.Succeeded)
	giveBack(0, append(sends, execution.Branch{BranchID: execution.Whole("x2"), What: execution.Start})...)
	b.db.Do(t, "UPDATE due SET due_at = 1")
	again, err := b.Admit(t.Context(), one)
	if err != nil || len(again) != 1 || again[0].Execution != first.ID || again[0].Attempts != 3 {
		t.Errorf("%+v, %v", again, err)
	}
}

func damaged(t *testing.T, b *bench) {
	for what, column := range map[string]string{
		"a state of a newer program": `state = '{"v":2,"steps":"a"}'`, "no state": "state = ''", "labels": "labels = 'x'", "a claim": "input_claim = '{'",
	} {
		tenant := what
		x := b.accept(t, tenant, what)
		b.accept(t, tenant, "good of "+what)
		b.begin(t, x, b.branch(x, 0, 0))
		was := b.load(t, what)
		b.db.Do(t, "UPDATE executions SET "+column+" WHERE id = '"+what+"'")
		l := b.load(t, what)
		x = l.Execution
		if x.Damage == nil || x.Damage.Why == "" || x.Steps != nil || x.Segments != nil || x.Events != 2 || x.Status != execution.Running {
			t.Fatalf("%s: %+v", what, x)
		}
		same(t, what+": what is due", was.Branches, l.Branches)
		page, err := b.List(t.Context(), record.Query{Tenant: tenant, Limit: 9})
		if err != nil || len(page.Executions) != 2 {
			t.Errorf("%s: a page of %+v, %v", what, page, err)
		}
		state := x.Damage.State
		b.end(t, x, execution.Cancelled)
		x = b.load(t, what).Execution
		if x.Status != execution.Cancelled || x.Damage == nil || x.Damage.State != state {
			t.Errorf("%s: after its end %+v", what, x)
		}
		if all, err := b.Events(t.Context(), tenant, what, 0); err != nil || len(all) != 3 || !all[2].Ends() {
			t.Errorf("%s: events %+v, %v", what, all, err)
		}
		is(t, what+": deleting it", b.Delete(t.Context(), tenant, what), nil)
	}
}
