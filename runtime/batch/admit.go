package batch

import (
	"context"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// runOne enters a request and waits for its answer. It is called under mu, and
// gives it up.
func (q *Queue) runOne(ctx context.Context, c *class, req *infer.Request, f *form, ahead *advance, admitted bool) (*Result, error) {
	s := q.s
	it, err := q.enter(ctx, c, req, f, admitted)
	if err != nil {
		s.mu.Unlock()
		s.pace(ctx, req.Inputs)
		return nil, err
	}
	it.ahead = ahead
	inline := s.dispatch(it)
	if inline == nil && it.early == nil {
		it.done = make(chan outcome, 1)
	}
	s.mu.Unlock()
	switch {
	case inline != nil:
		return inline.alone()
	case it.early != nil:
		return it.take(*it.early)
	}
	return it.await()
}

// enter makes an item of a request and puts it in its class. What was admitted
// before is not refused for a full queue.
func (q *Queue) enter(ctx context.Context, c *class, req *infer.Request, f *form, admitted bool) (*item, error) {
	s := q.s
	if !admitted {
		if err := q.admit(req.Tenant); err != nil {
			return nil, err
		}
	}
	c.tenant = s.fair.tenant(req.Tenant) // it may have been forgotten meanwhile
	s.seq++
	it := &item{
		ctx: ctx, class: c, held: req.Held, inputs: req.Inputs, rows: f.rows, rest: f.rest, admitted: admitted,
		priority: urgency(req.Priority), seq: s.seq, arrived: time.Now(),
	}
	if d, ok := ctx.Deadline(); ok {
		it.deadline = d
	}
	c.join(it)
	return it, nil
}

// admit finds a place for a tenant's request. Those that run do not count: a queue
// of 0 still serves what finds a free slot.
func (q *Queue) admit(tenant string) error {
	s := q.s
	if q.waiting < s.cfg.Queue || s.free > 0 && q.waiting == 0 {
		return nil
	}
	return q.pushOut(tenant)
}

// defaultPriority is where a request without a priority stands: those with a
// lower number go before it, those with a higher one after.
const defaultPriority = 100

func urgency(priority uint64) uint64 {
	if priority == 0 {
		return defaultPriority
	}
	return priority
}

// pushOut finds a place in a full queue for a tenant that holds less than its
// share, by pushing out the last request of the one that holds most. A flood
// must not fill the queue for all.
func (q *Queue) pushOut(tenant string) error {
	own, most := 0, &owner{}
	for name, o := range q.owners {
		if name == tenant {
			own = o.waiting
		}
		if o.waiting > most.waiting {
			most = o
		}
	}
	last := q.last(most.tenant)
	if own+1 >= most.waiting || last == nil {
		q.metrics.refused("queue_full")
		return q.full()
	}
	last.class.leave(last)
	q.metrics.refused("pushed_out")
	last.finish(outcome{err: q.full()})
	return nil
}

// last is a tenant's request that would run last, of those that can be refused.
func (q *Queue) last(name string) (last *item) {
	t := q.s.fair.tenants[name]
	if t == nil {
		return nil
	}
	for _, c := range t.classes {
		if c.q != q {
			continue
		}
		for _, it := range slices.Backward(c.items) {
			if !it.admitted {
				if last == nil || last.before(it) {
					last = it
				}
				break
			}
		}
	}
	return last
}

// full is the error of a request that finds no place. It knows how fast the
// queue has been draining.
func (q *Queue) full() error {
	return problem.New(problem.Overloaded, "%s: the queue is full, with %d requests waiting; call again later", q.m.Name, q.waiting).
		WithRetryAfter(max(time.Second, q.drain()))
}

// drain is how long the requests that wait take to run, as far as runs of their
// shapes were seen.
func (q *Queue) drain() time.Duration {
	var total float64
	now := time.Now()
	for _, c := range q.classes {
		if c.rows > 0 && c.costs.seen() {
			size := c.limit(now)
			total += c.costs.cost(q.s.cfg.Slots).run(size) * float64(ceilDiv(c.rows, size))
		}
	}
	return time.Duration(total / float64(q.s.cfg.Slots))
}
