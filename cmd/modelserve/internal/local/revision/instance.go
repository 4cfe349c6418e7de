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

// Restarts after failures: at once after a good life, then 0.5 s doubling up to
// 30 s.
const (
	backoffFirst  = 500 * time.Millisecond
	backoffMost   = 30 * time.Second
	goodLife      = 10 * time.Second // after which an end is a first failure again
	provingStarts = 3
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
	breaker  *queue.Breaker // nil without a limit

	called  time.Time     // when it was decided
	spawned time.Duration // from there to the process
	readied time.Duration // from there to ready
	first   bool          // no request has had it yet

	grace time.Duration
	empty chan struct{} // closed when draining and nothing is in flight
	drop  chan struct{} // closed when draining
	once  sync.Once
}

// start adds an instance and brings it up in a goroutine of its own. Called
// with mu held.
func (r *Revision) start(now time.Time) {
	i := &instance{called: now, first: true, empty: make(chan struct{}), drop: make(chan struct{})}
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

	if err := r.untilReady(i, handle); err != nil {
		handle.Stop(0)
		r.dead(i, err)
		return
	}
	readyAt := time.Now()
	r.mu.Lock()
	i.readied = readyAt.Sub(i.called) - i.spawned
	if i.state == stateStarting {
		i.state = stateReady
		r.reason, r.proving = nil, 0
		if !isClosed(r.ready) {
			close(r.ready)
		}
		r.waiting.grant(r.pick)
	}
	r.mu.Unlock()
	r.cfg.Changed()

	select {
	case <-handle.Done():
		r.mu.Lock()
		drained := i.state == stateDraining
		if time.Since(readyAt) >= goodLife {
			r.failures = 0
		}
		r.mu.Unlock()
		if drained {
			r.dead(i, nil)
			return
		}
		err := handle.Err()
		if err == nil {
			err = errors.New("exited with status 0")
		}
		r.dead(i, err)
	case <-i.drop:
		r.finish(i, handle)
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
		return errors.New("exited with status 0 before it was ready")
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
	r.failures, r.notBefore = 0, time.Time{} // it served and went when told to
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
		r.cfg.Logger.Warn("instance failed", slog.String("revision", r.cfg.Name), slog.String("reason", err.Error()),
			slog.Int("failures", r.failures+1))
		r.failed(time.Now(), err)
	}
	r.mu.Unlock()
	r.wake()
}
