package grpcwire

import (
	"context"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/problem"
)

// share is what one call has of its tenant's room, in bytes.
type share struct {
	of       room.Tenant
	patience time.Duration // that it waits for room which nothing of its own gives back

	mu   sync.Mutex
	held int64
	over bool // all was given back, and nothing is taken any more
}

// take waits for n bytes more: while the call holds what will come back, and then
// for as long as the patience goes. It takes all of them or none.
func (s *share) take(ctx context.Context, n int64, comesBack func() bool) error {
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	for {
		freed := s.of.Freed()
		if s.try(n) {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			if !comesBack() {
				return problem.New(problem.Overloaded, "messages that are being handed on take all the memory there is for them; call again").WithRetryAfter(time.Second)
			}
			timer.Reset(s.patience)
		}
	}
}

func (s *share) try(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || !s.of.TryAcquire(n) {
		return false
	}
	s.held += n
	return true
}

func (s *share) release(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over { // else it is back already
		s.held -= n
		s.of.Release(n)
	}
}

// end gives back all that is left. Ending twice is safe.
func (s *share) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.of.Release(s.held)
		s.held, s.over = 0, true
	}
}
