package grpcwire

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/problem"
)

// share is what one call has of its tenant's room, in bytes.
type share struct {
	of room.Tenant

	mu   sync.Mutex
	held [room.Classes]int64
	over bool // all was given back, and nothing is taken any more
}

// wait is how long somebody waits for room.
type wait struct {
	patience  time.Duration   // 0: without end
	comesBack func() bool     // begins the patience anew; nil is never
	until     <-chan struct{} // nil: for ever
}

// errEnough is of a wait whose until was closed.
var errEnough = errors.New("waited long enough")

// take waits for n bytes more, beside part that there is of the same message. It
// takes all of them or none.
func (s *share) take(ctx context.Context, class room.Class, n, part int64, w wait) error {
	place := s.of.For(class).Ask(n, part)
	if place.Refused() {
		return noRoom()
	}
	if err := w.on(ctx, place.Given()); err != nil && place.Leave() {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		s.of.For(class).Release(n)
		return errors.New("the call is over")
	}
	s.held[class] += n
	return nil
}

// on waits until something is given.
func (w wait) on(ctx context.Context, given <-chan struct{}) error {
	select {
	case <-given: // also where the other has come as well
		return nil
	default:
	}
	var impatient <-chan time.Time
	if w.patience > 0 {
		ticker := time.NewTicker(w.patience)
		defer ticker.Stop()
		impatient = ticker.C
	}
	for {
		select {
		case <-given:
			return nil
		case <-w.until:
			return errEnough
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-impatient:
			if w.comesBack == nil || !w.comesBack() {
				return noRoom()
			}
		}
	}
}

func noRoom() *problem.Error {
	return problem.New(problem.Overloaded, "messages that are being handed on take all the memory there is for them; call again").WithRetryAfter(time.Second)
}

func (s *share) release(class room.Class, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over { // else it is back already
		s.held[class] -= n
		s.of.For(class).Release(n)
	}
}

// end gives back all that is left. Ending twice is safe.
func (s *share) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.over = true
	for class, n := range s.held {
		s.of.For(room.Class(class)).Release(n)
	}
}
