package revision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"knative.dev/networking/pkg/http/stats"

	"github.com/modelserveai/modelserve/problem"
)

// Lease is a slot of an instance, held by one request.
type Lease struct {
	Instance Instance
	Build    time.Duration // waited for the build
	Waited   time.Duration // for the slot, after it
	Cold     *Cold         // not nil for the first request of an instance

	once    sync.Once
	release func()
	broken  func()
}

// Cold is what it took to have an instance for its first request.
type Cold struct {
	Schedule time.Duration // from the request, or the end of the build, to the process
	Start    time.Duration // from there until ready
	FromZero bool          // no other instance has answered since there was none
}

// Release gives the slot back; more than once is safe.
func (l *Lease) Release() { l.once.Do(l.release) }

// ReportBroken reports that the connection to the instance broke, or could not be made.
// No request gets it until it is known to be ready still.
func (l *Lease) ReportBroken() { l.broken() }

// Acquire waits for a slot of an instance, for a tenant's request, starting one when
// there is none and wake is true. It waits for the build as long as ctx lets it, then
// at most MaxWait, beside at most MaxWaiting others, of which a tenant's are half.
func (r *Revision) Acquire(ctx context.Context, tenant string, wake bool) (*Lease, error) {
	arrived := time.Now()
	r.mu.Lock()
	if r.closed || !r.reachable && r.live() == 0 {
		r.mu.Unlock()
		return nil, ErrRetired
	}
	if !wake && r.live() == 0 {
		r.mu.Unlock()
		return nil, ErrAtZero
	}
	r.stats.HandleEvent(stats.ReqEvent{Time: arrived, Type: stats.ReqIn})
	if s := r.pick(); s != nil {
		s.of = r.waiting.tenant(tenant)
		r.waiting.begin(s.of)
		l := r.lease(s, arrived)
		r.mu.Unlock()
		return l, nil
	}
	w, err := r.join(tenant, arrived)
	r.mu.Unlock()
	if err != nil {
		r.out()
		return nil, err
	}
	r.wake()
	s, err := r.wait(ctx, w)
	if err != nil {
		r.out()
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lease(s, arrived), nil
}

// join queues a request, or returns why it cannot wait. Called with mu held.
func (r *Revision) join(tenant string, now time.Time) (*waiter, error) {
	if r.live() == 0 && r.refusing && now.Before(r.notBefore) {
		return nil, r.unavailable(now)
	}
	w := r.waiting.join(tenant)
	if w == nil {
		return nil, problem.New(problem.Overloaded, "%s: %d requests wait for it already; the bound is %d, and half of what others leave for one tenant",
			r.cfg.Name, r.waiting.len(), r.cfg.MaxWaiting).WithRetryAfter(time.Second)
	}
	return w, nil
}

// unavailable is why the revision cannot start. Called with mu held.
func (r *Revision) unavailable(now time.Time) error {
	e := problem.New(problem.Unavailable, "%s cannot start: %w", r.cfg.Name, r.reason)
	if wait := r.notBefore.Sub(now); wait > 0 {
		e.RetryAfter = wait
	}
	return e
}

// wait returns when the request has a slot or can wait no longer.
func (r *Revision) wait(ctx context.Context, w *waiter) (*slot, error) {
	var err error
	select {
	case g := <-w.granted:
		return g.slot, g.err
	case <-ctx.Done():
		err = r.gaveUp(ctx)
	case <-r.prepared:
		timer := time.NewTimer(r.cfg.MaxWait)
		defer timer.Stop()
		select {
		case g := <-w.granted:
			return g.slot, g.err
		case <-ctx.Done():
			err = r.gaveUp(ctx)
		case <-timer.C:
			err = r.tooLong()
		}
	}
	r.mu.Lock()
	r.waiting.leave(w)
	r.mu.Unlock()
	select {
	case g := <-w.granted: // at the same moment
		return g.slot, g.err
	default:
		return nil, err
	}
}

// gaveUp is the error of a request whose context ended before it had a slot.
func (r *Revision) gaveUp(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !isClosed(r.prepared) {
		why := "the function is being built"
		if r.cfg.Building != nil {
			why = r.cfg.Building()
		}
		return problem.New(problem.Unavailable, "%s: %s; call again", r.cfg.Name, why).WithRetryAfter(time.Second)
	}
	return fmt.Errorf("wait for %s: %w", r.cfg.Name, context.Cause(ctx))
}

func (r *Revision) tooLong() error {
	s := r.Status()
	why := string(s.State)
	if s.Reason != "" {
		why += ": " + s.Reason
	}
	return problem.New(problem.Unavailable, "%s: no instance was free within %v; it is %s", r.cfg.Name, r.cfg.MaxWait, why).WithRetryAfter(time.Second)
}

// slot is a place on an instance, taken by pick.
type slot struct {
	instance *instance
	of       *tenant
	free     func() // gives it back to the instance's breaker
}

// pick takes a slot of the ready instance with the fewest requests; nil when
// there is none. Called with mu held.
func (r *Revision) pick() *slot {
	var best *instance
	for _, i := range r.instances {
		if i.state == stateReady && !i.suspect && (best == nil || i.inFlight < best.inFlight) {
			best = i
		}
	}
	if best == nil {
		return nil
	}
	free := func() {}
	if best.breaker != nil {
		var ok bool
		// Reserve never waits, so the context has nothing to end.
		if free, ok = best.breaker.Reserve(context.Background()); !ok {
			return nil // the one with the fewest has no room, so none has
		}
	}
	best.inFlight++
	return &slot{instance: best, free: free}
}

// lease makes a lease of a slot. Called with mu held.
func (r *Revision) lease(s *slot, arrived time.Time) *Lease {
	i, began := s.instance, time.Now()
	built := max(0, r.builtAt.Sub(arrived))
	l := &Lease{Instance: i.Instance, Build: built, Waited: time.Since(arrived) - built}
	if i.first {
		i.first = false
		if !arrived.After(i.called.Add(i.spawned + i.readied)) {
			l.Cold = &Cold{Schedule: max(0, i.called.Sub(arrived)-built) + i.spawned, Start: i.readied, FromZero: !r.answering(i)}
		}
	}
	l.broken = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		i.suspect = true
		select {
		case i.recheck <- struct{}{}:
		default: // it is known already
		}
	}
	l.release = func() {
		r.out()
		r.mu.Lock()
		defer r.mu.Unlock()
		s.free()
		r.waiting.end(s.of, time.Since(began))
		i.inFlight--
		if i.state == stateDraining && i.inFlight == 0 {
			close(i.empty)
		}
		r.waiting.grant(r.pick)
		if r.waiting.len() == 0 && !r.reachable {
			r.wake()
		}
	}
	return l
}

// answering is true when an instance besides one has had a request. Called with
// mu held.
func (r *Revision) answering(one *instance) bool {
	return slices.ContainsFunc(r.instances, func(i *instance) bool {
		return i != one && !i.first && (i.state == stateReady || i.state == stateStarting)
	})
}

func (r *Revision) out() {
	r.stats.HandleEvent(stats.ReqEvent{Time: time.Now(), Type: stats.ReqOut})
}
