package batch

import (
	"slices"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// dispatch starts every run that may start now. It is called, under mu, when
// something has changed: an arrival, a run's end, a caller who left, the timer.
// A run of fresh alone is returned, to be run by its caller in place.
func (s *Scheduler) dispatch(fresh *item) (inline *run) {
	now := time.Now()
	var wake time.Time
	for (s.free > 0 || s.free == 0 && s.cfg.Brief > 0) && len(s.fair.active) > 0 {
		leader, next := s.next(now)
		if leader == nil {
			wake = next
			break
		}
		r := s.start(leader, now)
		switch {
		case r == nil: // refused: too late
		case !r.shared && leader == fresh:
			inline = r
		case !r.shared:
			leader.finish(outcome{run: r})
		default:
			s.work.Go(r.together)
		}
	}
	s.wake(wake, now)
	return inline
}

// wake sets the timer for the next moment at which something may start without
// anything else having changed; zero is never.
func (s *Scheduler) wake(at, now time.Time) {
	if at.Equal(s.wakeAt) {
		return
	}
	s.wakeAt = at
	switch {
	case at.IsZero():
		s.timer.Stop()
	case s.timer == nil:
		s.timer = time.AfterFunc(at.Sub(now), s.woken)
	default:
		s.timer.Reset(at.Sub(now))
	}
}

func (s *Scheduler) woken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeAt = time.Time{}
	s.dispatch(nil)
}

// next is the item to lead the next run: of the tenant who has had least among
// those with a class that is ready, the most urgent. Without one, wake is when a
// class will be ready if nothing else happens; zero if nothing will. Without a slot
// brief runs alone are looked for.
func (s *Scheduler) next(now time.Time) (leader *item, wake time.Time) {
	var best *tenant
	for _, t := range s.fair.active {
		if best != nil && t.due() >= best.due() {
			continue
		}
		var first *item
		for _, c := range t.classes {
			if first != nil && first.before(c.items[0]) || s.free == 0 && !c.brief(now) {
				continue
			}
			ready, at := c.ready(now)
			if ready {
				first = c.items[0]
			} else if !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
				wake = at
			}
		}
		if first != nil {
			best, leader = t, first
		}
	}
	return leader, wake
}

// brief reports whether a run of the class may go beside the slots.
func (c *class) brief(now time.Time) bool {
	return c.tenant.running == 0 && c.costs.seen() && c.costs.run(2, min(c.rows, c.limit(now))) <= float64(c.q.s.cfg.Brief)
}

// ready reports whether a run of the class should start now that a slot is free;
// otherwise, when it should if nothing else happens, zero for never.
//
// It goes at once when nothing of the class runs and nobody is expected. While
// enough of its runs are under way to use the slots as well as can be, it
// gathers: whichever ends starts the next. Before that it goes too, but may
// linger a little for callers who were just answered.
func (c *class) ready(now time.Time) (bool, time.Time) {
	if c.rows == 0 {
		return false, time.Time{}
	}
	if c.q.waiting >= c.q.s.cfg.Queue || c.allAlone() {
		return true, time.Time{} // nobody else can come, or nobody may be joined
	}
	if c.q.m.MaxDelay > 0 {
		at := c.oldest().Add(c.q.m.MaxDelay)
		if must := c.mustStart(now); !must.IsZero() && must.Before(at) {
			at = must
		}
		return c.rows >= c.limit(now) || !now.Before(at), at
	}
	away := c.linger.away(now)
	target, parallel := c.plan(now, c.rows+c.inRuns+away, c.q.s.free+c.runs)
	switch {
	case c.rows >= target || c.pressed(now):
		return true, time.Time{}
	case c.runs >= parallel:
		return false, c.mustStart(now)
	case away == 0:
		return true, time.Time{}
	}
	until := c.linger.until(now, c.saved(), away)
	if !now.Before(until) {
		return true, time.Time{}
	}
	if must := c.mustStart(now); !must.IsZero() && must.Before(until) {
		until = must
	}
	return false, until
}

// plan is how large a batch is worth gathering, and in how many runs at once,
// for the most answers per second when rows are waiting, running or expected and
// there are so many slots.
func (c *class) plan(now time.Time, rows, slots int) (target, parallel int) {
	limit := c.limit(now)
	if c.q.m.MaxRows > 0 {
		return limit, slots
	}
	best, second := 0.0, 0.0
	var other [2]int
	for k := 1; k <= max(slots, 1) && k <= rows; k++ {
		size := min(ceilDiv(rows, k), limit)
		rate := float64(min(rows, k*size)) / c.costs.run(k, size)
		// The curves are known to some hundredths only: of what is as good, the
		// more at once, which makes nobody wait.
		if rate >= nearBest*best || best == 0 {
			if target > 0 {
				second, other = best, [2]int{target, parallel}
			}
			best, target, parallel = max(rate, best), size, k
		} else if rate > second {
			second, other = rate, [2]int{size, k}
		}
	}
	// What is not done is not seen: now and then the next best has its chance,
	// for a few runs.
	if c.costs.runs%probeEvery >= probeEvery-probeRuns && second >= worthProbing*best && second > 0 {
		target, parallel = other[0], other[1]
	}
	return max(target, 1), max(parallel, 1)
}

// probeRuns is how many runs of every probeEvery are made the next best way, and
// worthProbing the least part of the best throughput that it must be expected to
// have. Together they bound what probing may cost: 15% in 2 runs of 64, less than
// half a percent.
const (
	probeRuns    = 2
	worthProbing = 0.85
)

// saved is what a request's joining what waits would save.
func (c *class) saved() time.Duration { return c.costs.cost(1).saved(c.rows) }

// oldest is when the first of those that wait came.
func (c *class) oldest() time.Time {
	return slices.MinFunc(c.items, func(a, b *item) int { return a.arrived.Compare(b.arrived) }).arrived
}

// mustStart is when a run has to begin for the earliest deadline in the class;
// zero without one. Where nothing is known of how long it takes, half of each
// request's time is left to it.
func (c *class) mustStart(now time.Time) (earliest time.Time) {
	var run time.Duration
	seen := c.costs.seen()
	if seen {
		// A run takes longer now and then than it mostly does, and timers are late.
		run = time.Duration(1.5*c.costs.cost(2).run(min(c.rows, c.limit(now)))) + lateness
	}
	for _, it := range c.items {
		if it.deadline.IsZero() {
			continue
		}
		must := it.deadline.Add(-run)
		if !seen {
			must = it.deadline.Add(-it.deadline.Sub(it.arrived) / 2)
		}
		if earliest.IsZero() || must.Before(earliest) {
			earliest = must
		}
	}
	return earliest
}

// lateness is what a timer, and what comes before and after a run, may take
// beside it.
const lateness = 5 * time.Millisecond

// allAlone reports whether what waits runs alone in any case.
func (c *class) allAlone() bool {
	return !c.joins || c.most == 1 || c.alone > 0 || c.q.rules.whole.Load()
}

func (c *class) pressed(now time.Time) bool {
	must := c.mustStart(now)
	return !must.IsZero() && !now.Before(must)
}

// start makes a run led by an item, takes its members out of their class and a
// slot. It is nil when its leader is refused for its deadline. Parts are not: the
// request that they are of was let in.
func (s *Scheduler) start(leader *item, now time.Time) *run {
	c := leader.class
	if !leader.admitted {
		if err := c.tooLate(leader.kind(), leader.deadline, now); err != nil {
			c.leave(leader)
			leader.finish(outcome{err: err})
			return nil
		}
	}
	r := &leader.solo
	r.class, r.started, r.known = c, now, c.outputs
	r.only[0] = leader
	members := c.gather(leader, now, r.only[:])
	r.members, r.live, r.shared = members, len(members), len(members) > 1
	for _, it := range members {
		c.tenant.running++
		c.leave(it)
		it.run = r
		r.rows += it.rows
		c.q.metrics.waited(now.Sub(it.arrived))
	}
	s.fair.now = max(s.fair.now, c.tenant.tag)
	r.cost, r.cold = c.q.took, c.costs.cold(r.rows)
	if c.costs.seen() {
		r.cost = c.costs.cost(s.busy.used + 1).run(r.rows)
		r.brief = r.cost <= float64(s.cfg.Brief)
	}
	c.tenant.pending += r.cost
	r.from = s.busy.change(now, 1)
	s.free--
	s.fair.running++
	c.runs++
	c.inRuns += r.rows
	c.q.inRuns += r.rows
	c.linger.began()
	if r.shared {
		r.prepare()
	}
	return r
}

// tooLate refuses what by the evidence is not answered by its deadline. It is
// called under mu.
func (c *class) tooLate(k kind, deadline, now time.Time) error {
	if deadline.IsZero() {
		return nil
	}
	left := deadline.Sub(now)
	if left <= 0 {
		c.q.metrics.refused("deadline")
		return problem.New(problem.DeadlineExceeded, "%s: the request's time was over before its run began", c.q.m.Name)
	}
	took, refused := c.evidence.refuses(k, left, now, c.owner)
	if !refused {
		return nil
	}
	c.q.metrics.refused("deadline")
	return problem.New(problem.DeadlineExceeded, "%s: %s are left of the request's time, and its run takes about %s",
		c.q.m.Name, left.Round(time.Microsecond), readable(took))
}

// readable is a time with three digits.
func readable(d time.Duration) time.Duration {
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// gather chooses the members of a batch: the leader, then others of its class in
// their order, up to the limit. Whoever would be late in a batch of that size
// waits for another. members begins with the leader.
func (c *class) gather(leader *item, now time.Time, members []*item) []*item {
	if len(c.items) == 1 || c.allAlone() {
		return members
	}
	size := min(c.limit(now), c.rows)
	late := func(it *item) bool {
		return !it.deadline.IsZero() && c.costs.seen() && now.Add(time.Duration(c.costs.cost(2).run(size))).After(it.deadline)
	}
	for size > leader.rows && late(leader) {
		size /= 2
	}
	rows := leader.rows
	for _, it := range c.items {
		if rows >= size {
			break
		}
		if it != leader && rows+it.rows <= size && !late(it) {
			members = append(members, it)
			rows += it.rows
		}
	}
	return members
}
