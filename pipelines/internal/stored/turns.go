package stored

import (
	"cmp"
	"slices"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// Pipeline names the executions that count together: those of a version of a pipeline,
// for one tenant.
type Pipeline struct {
	Tenant  string
	Owner   string
	Name    string
	Version int64
}

// Queue is queued executions of a pipeline and a priority.
type Queue struct {
	Pipeline

	Priority    int64
	Concurrency int64 // 0 is no bound
	Most        int64 // that may begin now
}

// Head is one of a queue whose time has come.
type Head struct {
	Pipeline

	Priority  int64
	DueAt     int64
	Execution string
}

// Room is how many executions may begin beside those that run.
type Room struct {
	a       record.Admission
	running map[Pipeline]int64
	tenants map[string]int64
	bounds  map[Pipeline]int64
}

// NewRoom counts those that run; the map is its own from now on.
func NewRoom(a record.Admission, running map[Pipeline]int64) *Room {
	r := &Room{a: a, running: running, tenants: map[string]int64{}, bounds: map[Pipeline]int64{}}
	for p, n := range running {
		r.tenants[p.Tenant] += n
	}
	return r
}

// left is how many of a pipeline may begin still.
func (r *Room) left(p Pipeline) int64 {
	n := int64(r.a.Most)
	if r.a.PerTenant > 0 {
		n = min(n, int64(r.a.PerTenant)-r.tenants[p.Tenant])
	}
	if bound := r.bounds[p]; bound > 0 {
		n = min(n, bound-r.running[p])
	}
	return max(n, 0)
}

// Open are the queues of which executions may begin, with Most set.
func (r *Room) Open(queues []Queue) []Queue {
	for _, q := range queues {
		if q.Concurrency > 0 {
			r.bounds[q.Pipeline] = q.Concurrency // one version has one
		}
	}
	open := make([]Queue, 0, len(queues))
	for _, q := range queues {
		if q.Most = r.left(q.Pipeline); q.Most > 0 {
			open = append(open, q)
		}
	}
	return open
}

// Choose are the executions that begin. Each tenant has its turn; of one tenant higher
// priorities come first, then those that waited longest.
func (r *Room) Choose(heads []Head) []string {
	heads = inTurns(heads, len(heads), func(h *Head) turn { return turn{h.Tenant, h.Priority, h.DueAt, h.Execution} })
	ids := make([]string, 0, min(len(heads), r.a.Most))
	for _, h := range heads {
		if len(ids) == r.a.Most {
			break
		}
		if r.left(h.Pipeline) == 0 {
			continue
		}
		r.running[h.Pipeline]++
		r.tenants[h.Tenant]++
		ids = append(ids, h.Execution)
	}
	return ids
}

// Turns are the rows that are taken of those that are due, as in Choose.
func Turns(due []Due, most int) []Due {
	return inTurns(due, most, func(d *Due) turn { return turn{d.Tenant, d.Priority, d.FreeAt, d.Execution} })
}

// turn is what decides when something has its turn.
type turn struct {
	tenant   string
	priority int64
	at       int64
	id       string
}

// compare orders a tenant's own: higher priorities first.
func (t turn) compare(o turn) int {
	return cmp.Or(cmp.Compare(o.priority, t.priority), t.longest(o))
}

// longest orders tenants: whose has waited longest comes first, whatever their priorities.
func (t turn) longest(o turn) int { return cmp.Or(cmp.Compare(t.at, o.at), cmp.Compare(t.id, o.id)) }

// inTurns are the first of all: each tenant's first, then each one's second, and so on.
func inTurns[T any](all []T, most int, of func(*T) turn) []T {
	slices.SortStableFunc(all, func(a, b T) int {
		x, y := of(&a), of(&b)
		return cmp.Or(cmp.Compare(x.tenant, y.tenant), x.compare(y))
	})
	type numbered struct {
		item *T
		n    int
	}
	order := make([]numbered, len(all))
	for i := range all {
		order[i] = numbered{item: &all[i]}
		if i > 0 && of(&all[i-1]).tenant == of(&all[i]).tenant {
			order[i].n = order[i-1].n + 1
		}
	}
	slices.SortStableFunc(order, func(a, b numbered) int { return cmp.Or(cmp.Compare(a.n, b.n), of(a.item).longest(of(b.item))) })
	first := make([]T, 0, min(most, len(order)))
	for _, o := range order[:min(most, len(order))] {
		first = append(first, *o.item)
	}
	return first
}

// InOrder sorts what was taken: higher priorities first, then what is due longest.
func InOrder(due []Due) {
	slices.SortFunc(due, func(a, b Due) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.DueAt, b.DueAt),
			cmp.Compare(a.Execution, b.Execution), cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Item, b.Item))
	})
}

// Standing are the branches that a store took, of those that were sent.
func Standing(sent []execution.Branch, stands map[execution.BranchID]bool) []execution.Branch {
	all := make([]execution.Branch, 0, len(stands))
	for i := range sent {
		if stands[sent[i].BranchID] {
			all = append(all, sent[i])
		}
	}
	return all
}
