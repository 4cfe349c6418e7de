package batch

import (
	"context"
	"time"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// runOne enters a request and waits for its answer. It is called under mu, and
// gives it up.
func (q *Queue) runOne(ctx context.Context, c *class, req *infer.Request, rows int, admitted bool) (*Result, error) {
	s := q.s
	it, err := q.enter(ctx, c, req, rows, admitted)
	if err != nil {
		s.mu.Unlock()
		s.pace(ctx, req.Inputs)
		return nil, err
	}
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

// enter makes an item of a request and puts it in its line. What was admitted
// before is not refused for a full queue.
func (q *Queue) enter(ctx context.Context, c *class, req *infer.Request, rows int, admitted bool) (*item, error) {
	s := q.s
	if !admitted {
		if err := q.admit(req.Tenant); err != nil {
			return nil, err
		}
	}
	t := s.fair.tenant(req.Tenant)
	s.seq++
	it := &item{
		ctx: ctx, class: c, tenant: t, inputs: req.Inputs, rows: rows, admitted: admitted,
		priority: urgency(req.Priority), seq: s.seq, arrived: time.Now(),
	}
	if d, ok := ctx.Deadline(); ok {
		it.deadline = d
	}
	c.join(it)
	return it, nil
}

// admit finds place for a tenant's request. Those that run do not count: a queue
// of 0 still serves what finds a free slot.
func (q *Queue) admit(tenant string) error {
	s := q.s
	if q.waiting < s.cfg.Queue || s.free > 0 && q.waiting == 0 {
		return nil
	}
	t := s.fair.tenant(tenant)
	defer s.fair.forget(t)
	return q.makeRoom(t)
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

// makeRoom finds place in a full queue for a tenant that holds less than its
// share, by pushing out the last request of the one that holds most. A flood
// must not fill the queue for all.
func (q *Queue) makeRoom(t *tenant) error {
	held := map[*tenant]int{}
	var most *tenant
	for _, c := range q.classes {
		for _, l := range c.lines {
			held[l.tenant] += len(l.items)
			if most == nil || held[l.tenant] > held[most] {
				most = l.tenant
			}
		}
	}
	if most == nil || held[t]+1 >= held[most] {
		q.metrics.refused("queue_full")
		return q.full()
	}
	last := q.last(most)
	if last == nil {
		q.metrics.refused("queue_full")
		return q.full()
	}
	last.class.leave(last)
	q.metrics.refused("pushed_out")
	last.finish(outcome{err: q.full()})
	return nil
}

// last is a tenant's request that would run last, of those that can be refused.
func (q *Queue) last(t *tenant) (last *item) {
	for _, l := range t.lines {
		if l.class.q != q {
			continue
		}
		for i := len(l.items) - 1; i >= 0; i-- {
			if it := l.items[i]; !it.admitted {
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
	return problem.New(problem.Overloaded, "%s: %d requests wait already, as many as may; call again later", q.m.Name, q.waiting).
		WithRetryAfter(max(time.Second, q.drain()))
}

// drain is how long the requests that wait take to run.
func (q *Queue) drain() time.Duration {
	var total float64
	for _, c := range q.classes {
		if c.rows > 0 {
			size := c.limit(time.Now())
			total += c.costs.cost(q.s.cfg.Slots).run(size) * float64(ceilDiv(c.rows, size))
		}
	}
	return time.Duration(total / float64(q.s.cfg.Slots))
}
