package serve

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/modelserveai/modelserve/problem"
)

// retrySoon is when to come back after a bound that empties by itself was hit.
const retrySoon = time.Second

// memory is the process's budget of bytes for requests in flight.
type memory struct {
	size int64
	wait time.Duration
	free *semaphore.Weighted
}

func newMemory(l Limits) *memory {
	return &memory{size: l.Inflight, wait: l.InflightWait, free: semaphore.NewWeighted(l.Inflight)}
}

// hold is what one request has of the memory. Its methods may be called from
// many goroutines.
type hold struct {
	memory *memory

	mu    sync.Mutex
	taken int64
	ended bool
}

func (m *memory) hold() *hold { return &hold{memory: m} }

// take takes n more bytes, waiting a little when they are not free. What could
// never be free, as the request itself holds the rest, is refused at once.
func (h *hold) take(ctx context.Context, n int64) error {
	if n <= 0 {
		return nil
	}
	h.mu.Lock()
	taken := h.taken
	h.mu.Unlock()
	if n > h.memory.size-taken {
		return tooMuch(taken, n, h.memory.size)
	}
	if !h.memory.free.TryAcquire(n) {
		if err := h.await(ctx, n); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended { // a codec's goroutine outlived its request
		h.memory.free.Release(n)
		return errors.New("memory reserved after the request ended")
	}
	h.taken += n
	return nil
}

func (h *hold) await(ctx context.Context, n int64) error {
	waiting, cancel := context.WithTimeout(ctx, h.memory.wait)
	defer cancel()
	if h.memory.free.Acquire(waiting, n) == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return problem.New(problem.Overloaded, "the server's memory for requests is in use").WithRetryAfter(retrySoon)
}

// tooMuch is the error of a request that needs more than there is.
func tooMuch(taken, n, size int64) error {
	if taken == 0 {
		return problem.New(problem.PayloadTooLarge, "the request needs %d bytes of memory; %d are the most for all requests together", n, size)
	}
	return problem.New(problem.PayloadTooLarge, "the request needs %d bytes of memory beside the %d that it holds; %d are the most for all requests together", n, taken, size)
}

// give returns n of the bytes taken.
func (h *hold) give(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n = min(n, h.taken)
	h.taken -= n
	h.memory.free.Release(n)
}

// end returns everything, for good.
func (h *hold) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.memory.free.Release(h.taken)
	h.taken, h.ended = 0, true
}
