package revision

import (
	"cmp"
	"slices"
	"time"
)

// waiters are the requests that wait for a slot. Tenants share the slots by start-time
// fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queuing", SIGCOMM 1996), as they
// share a pool's: each has a tag, the time for which it has held slots; whoever has the
// least gets the next one. A tenant that had none begins at the present, so that it
// neither saved up nor owes. Those of one tenant are served in the order in which they
// came.
//
// They are under the revision's mu.
type waiters struct {
	most    int // requests that may wait
	waiting int
	running int

	now     time.Duration // the tag of who was served last
	mean    time.Duration // that a slot is held, of late
	tenants map[string]*tenant
	active  []*tenant // those with something waiting
}

// tenant is a caller who shares the slots with others.
type tenant struct {
	name    string
	tag     time.Duration
	running int
	queue   []*waiter
}

type waiter struct {
	of      *tenant
	granted chan grant // holds one
}

type grant struct {
	slot *slot
	err  error
}

// firstMean is what a slot is taken to be held for before one was.
const firstMean = 100 * time.Millisecond

func newWaiters(most int) waiters {
	return waiters{most: most, mean: firstMean, tenants: map[string]*tenant{}}
}

func (w *waiters) len() int { return w.waiting }

// tenant finds or makes a tenant, who has nothing or is known.
func (w *waiters) tenant(name string) *tenant {
	t := w.tenants[name]
	if t == nil {
		t = &tenant{name: name}
		w.tenants[name] = t
	}
	if len(t.queue) == 0 && t.running == 0 {
		t.tag = max(t.tag, w.now)
	}
	return t
}

// due is what a tenant has had, with what it is expected to have of the slots it holds.
func (w *waiters) due(t *tenant) time.Duration { return t.tag + time.Duration(t.running)*w.mean }

// join queues a tenant's request; nil where it has as many there as others may have
// beside them, which is half of all where it is alone.
func (w *waiters) join(name string) *waiter {
	t := w.tenant(name)
	if len(t.queue)+1 > w.most-w.waiting {
		w.forget(t)
		return nil
	}
	if len(t.queue) == 0 {
		w.active = append(w.active, t)
	}
	one := &waiter{of: t, granted: make(chan grant, 1)}
	t.queue = append(t.queue, one)
	w.waiting++
	return one
}

func (w *waiters) leave(one *waiter) {
	if k := slices.Index(one.of.queue, one); k >= 0 {
		w.remove(one.of, k)
		w.forget(one.of)
	}
}

func (w *waiters) remove(t *tenant, k int) {
	t.queue = slices.Delete(t.queue, k, k+1)
	w.waiting--
	if len(t.queue) == 0 {
		w.active = slices.DeleteFunc(w.active, func(other *tenant) bool { return other == t })
	}
}

// grant gives slots to those whose turn it is while pick finds any.
func (w *waiters) grant(pick func() *slot) {
	for w.waiting > 0 {
		s := pick()
		if s == nil {
			return
		}
		t := slices.MinFunc(w.active, func(a, b *tenant) int { return cmp.Compare(w.due(a), w.due(b)) })
		w.begin(t)
		s.of = t
		t.queue[0].granted <- grant{slot: s}
		w.remove(t, 0)
	}
}

// begin notes that a tenant has one slot more.
func (w *waiters) begin(t *tenant) {
	w.now = max(w.now, t.tag)
	w.running++
	t.running++
}

// end notes that a tenant has held a slot for so long.
func (w *waiters) end(t *tenant, held time.Duration) {
	const weight = 8 // of what was seen before, as TCP's of its round trips (RFC 6298)
	w.mean += (held - w.mean) / weight
	w.running--
	t.running--
	t.tag += held
	w.forget(t)
}

// mostTenants bounds those that are remembered for what they have had.
const mostTenants = 1000

// forget drops a tenant who has nothing here and owes nothing. When nobody has, nothing
// is owed to anybody.
func (w *waiters) forget(t *tenant) {
	switch {
	case w.waiting == 0 && w.running == 0:
		clear(w.tenants)
	case len(t.queue) > 0 || t.running > 0:
	case t.tag <= w.now || len(w.tenants) > mostTenants:
		delete(w.tenants, t.name)
	}
}

// fail ends the wait of all requests with an error.
func (w *waiters) fail(err error) {
	for _, t := range w.active {
		for _, one := range t.queue {
			one.granted <- grant{err: err}
		}
		t.queue = nil
		w.forget(t)
	}
	w.active, w.waiting = nil, 0
}
