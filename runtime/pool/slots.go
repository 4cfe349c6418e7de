package pool

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/problem"
)

// slots bounds the runs under way and the requests waiting for one, first come
// first served.
type slots struct {
	free  chan struct{}
	queue int

	mu      sync.Mutex
	waiting int
	pace    time.Duration // a moving average of how long a slot is held
}

func newSlots(n, queue int) *slots {
	s := &slots{free: make(chan struct{}, n), queue: queue}
	for range n {
		s.free <- struct{}{}
	}
	return s
}

// take waits for a slot. The release it returns must be called once.
func (s *slots) take(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("before the run: %w", err)
	}
	select {
	case <-s.free:
		return s.held(), nil
	default:
	}
	if err := s.join(); err != nil {
		return nil, err
	}
	defer s.leave()
	select {
	case <-s.free:
		return s.held(), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a slot to run in: %w", ctx.Err())
	}
}

func (s *slots) held() func() {
	began := time.Now()
	return func() {
		s.mu.Lock()
		s.pace += (time.Since(began) - s.pace) / 8
		s.mu.Unlock()
		s.free <- struct{}{}
	}
}

func (s *slots) join() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting >= s.queue {
		drain := s.pace * time.Duration(s.waiting+1) / time.Duration(cap(s.free))
		return problem.New(problem.Overloaded, "%d requests run and %d wait already; call again later", cap(s.free), s.waiting).
			WithRetryAfter(max(time.Second, drain))
	}
	s.waiting++
	return nil
}

func (s *slots) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
}
