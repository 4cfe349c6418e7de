package revision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"knative.dev/serving/pkg/queue"
)

type state int

const (
	stateStarting state = iota
	stateReady
	stateDraining // takes no new request
	stateDead
)

// Starts after others that never became ready: at once, then after 0.5 s doubling
// up to 30 s. One that had become ready ends such a series: another is started
// at once, or backoffFirst after it was ready when it ended sooner.
const (
	backoffFirst  = 500 * time.Millisecond
	backoffMost   = 30 * time.Second
	provingStarts = 3
)

// Requests wait while starts fail, at most so many in a row: more of those that
// somebody, or the system for want of memory, has killed, for that is no fault
// of the function. The last of those waits comes 3.5 s of pauses after the first.
const (
	mostFaults = 1
	mostKills  = 4
)

func backoff(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	return min(backoffFirst<<min(failures-1, 10), backoffMost)
}

// instance is one copy as its revision keeps it. Its fields are under the
// revision's mu.
type instance struct {
	Instance // nil until started
	state    state
	inFlight int
	suspect  bool           // a request met a broken connection, and nobody knows yet why
	breaker  *queue.Breaker // nil without a limit

	called  time.Time     // when it was decided
	spawned time.Duration // from there to the process
	readied time.Duration // from there to ready
	first   bool          // no request has had it yet

	wasReady bool

	grace   time.Duration
	recheck chan struct{} // holds one, when suspect
	empty   chan struct{} // closed when draining and nothing is in flight
	drop    chan struct{} // closed when draining
	once    sync.Once
}

// start adds an instance and brings it up in a goroutine of its own. Called
// with mu held.
func (r *Revision) start(now time.Time) {
	i := &instance{called: now, first: true, recheck: make(chan struct{}, 1), empty: make(chan struct{}), drop: make(chan struct{})}
	if cc := r.cfg.ContainerConcurrency; cc > 0 {
		i.breaker = queue.NewBreaker(queue.BreakerParams{QueueDepth: 10 * cc, MaxConcurrency: cc, InitialCapacity: cc})
	}
	r.instances = append(r.instances, i)
	r.wg.Go(func() { r.life(i) })
}

// life is one instance's life, from start to end.
func (r *Revision) life(i *instance) {
	defer r.cfg.Changed()
	r.cfg.Changed()
	handle, err := r.cfg.Start(r.ctx)
	if err != nil {
		r.dead(i, err)
		return
	}
	r.mu.Lock()
	i.Instance, i.spawned = handle, time.Since(i.called)
	r.mu.Unlock()
	over := make(chan struct{})
	defer close(over)
	r.wg.Go(func() {
		select {
		case <-r.kill:
			handle.Stop(0) // though it is being stopped with more grace
		case <-over:
		}
	})

	if err := r.untilReady(i, handle); err != nil {
		handle.Stop(0)
		r.dead(i, err)
		return
	}
	readyAt := time.Now()
	r.mu.Lock()
	i.readied = readyAt.Sub(i.called) - i.spawned
	if i.state == stateStarting {
		i.state, i.wasReady = stateReady, true
		r.reason, r.refusing, r.failures, r.faults, r.proving = nil, false, 0, 0, 0
		if !isClosed(r.ready) {
			close(r.ready)
		}
		r.waiting.grant(r.pick)
	}
	r.mu.Unlock()
	r.cfg.Changed()
	r.serve(i, handle, readyAt)
}

// serve is the life of an instance that has become ready. It gets no request
// while it is suspect.
func (r *Revision) serve(i *instance, handle Instance, readyAt time.Time) {
	for {
		select {
		case <-handle.Done():
			r.ended(i, handle.Err(), readyAt)
			return
		case <-i.drop:
			r.finish(i, handle)
			return
		case <-i.recheck:
		}
		err := r.untilReady(i, handle)
		switch {
		case errors.Is(err, errNotWanted):
			r.finish(i, handle)
			return
		case err != nil:
			handle.Stop(0) // it may have ended
			r.ended(i, err, readyAt)
			return
		}
		r.mu.Lock()
		i.suspect = false
		r.waiting.grant(r.pick)
		r.mu.Unlock()
	}
}

// ended notes the end of an instance that had become ready.
func (r *Revision) ended(i *instance, err error, readyAt time.Time) {
	r.mu.Lock()
	drained := i.state == stateDraining
	if !drained {
		r.notBefore = readyAt.Add(backoffFirst)
	}
	r.mu.Unlock()
	switch {
	case drained:
		r.dead(i, nil)
	case err == nil:
		r.dead(i, errors.New("it exited with status 0"))
	default:
		r.dead(i, err)
	}
}

// untilReady waits until the instance is ready, has ended, or is not wanted.
func (r *Revision) untilReady(i *instance, handle Instance) error {
	ctx, cancel := context.WithTimeoutCause(r.ctx, r.cfg.StartTimeout,
		fmt.Errorf("not ready within %v", r.cfg.StartTimeout))
	defer cancel()
	var err error
	probed := make(chan struct{})
	r.wg.Go(func() {
		defer close(probed)
		err = handle.Ready(ctx)
	})
	select {
	case <-probed:
		if err != nil && isClosed(handle.Done()) && handle.Err() != nil {
			return handle.Err()
		}
		return err
	case <-handle.Done():
		cancel()
		<-probed
		if err := handle.Err(); err != nil {
			return err
		}
		return errors.New("it exited with status 0 before it was ready")
	case <-i.drop:
		cancel()
		<-probed
		return errNotWanted
	}
}

// errNotWanted ends a start that was overtaken; it is no failure.
var errNotWanted = errors.New("not wanted any more")

// finish lets a draining instance finish its requests, at most its grace, and
// stops it.
func (r *Revision) finish(i *instance, handle Instance) {
	r.mu.Lock()
	grace := i.grace
	r.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-i.empty:
	case <-timer.C:
	case <-handle.Done():
	}
	handle.Stop(grace)
	r.mu.Lock()
	r.notBefore = time.Time{} // it served and stopped when asked to
	r.mu.Unlock()
	r.dead(i, nil)
}

// drain makes an instance take no new request and end when the ones it has are
// answered. Called with mu held.
func (i *instance) drain(grace time.Duration) {
	i.once.Do(func() {
		i.state, i.grace = stateDraining, grace
		close(i.drop)
		if i.inFlight == 0 {
			close(i.empty)
		}
	})
}

// dead removes an ended instance. A non-nil err is a failure.
func (r *Revision) dead(i *instance, err error) {
	r.mu.Lock()
	i.state = stateDead
	for k, other := range r.instances {
		if other == i {
			r.instances = append(r.instances[:k:k], r.instances[k+1:]...)
			break
		}
	}
	if err != nil && !errors.Is(err, errNotWanted) && !r.closed && r.ctx.Err() == nil {
		r.report(i, err)
		if i.wasReady {
			r.reason = err
		} else {
			r.failed(time.Now(), err)
		}
	}
	r.mu.Unlock()
	r.wake()
}

// report logs that an instance failed, with what it wrote last. Called with mu
// held.
func (r *Revision) report(i *instance, err error) {
	attrs := []any{slog.String("revision", r.cfg.Name), slog.String("reason", err.Error())}
	if !i.wasReady {
		attrs = append(attrs, slog.Int("failures", r.failures+1))
	}
	var end interface{ LastLine() string }
	if errors.As(err, &end) && end.LastLine() != "" {
		attrs = append(attrs, slog.String("last", end.LastLine()))
	}
	r.cfg.Logger.Warn("instance failed", attrs...)
}
