package build

import (
	"context"
	"slices"
	"sync"
)

// turns lets one build run at a time. Of those that wait, the first that a request
// waits for is next, else the first of all.
type turns struct {
	mu    sync.Mutex
	taken bool
	queue []*turn
}

type turn struct {
	wanted func() bool // whether a request waits for it by now
	come   chan struct{}
}

// take returns when it is the caller's turn, who ends it with give, or with the
// error of ctx.
func (t *turns) take(ctx context.Context, wanted func() bool) error {
	t.mu.Lock()
	if !t.taken {
		t.taken = true
		t.mu.Unlock()
		return nil
	}
	mine := &turn{wanted: wanted, come: make(chan struct{})}
	t.queue = append(t.queue, mine)
	t.mu.Unlock()
	select {
	case <-mine.come:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.queue, mine)
	if i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 { // it came at the same moment
		t.give()
	}
	return ctx.Err()
}

// give ends a turn.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.taken = false
		return
	}
	i := max(0, slices.IndexFunc(t.queue, func(w *turn) bool { return w.wanted() }))
	next := t.queue[i]
	t.queue = slices.Delete(t.queue, i, i+1)
	close(next.come)
}
