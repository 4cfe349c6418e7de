package rights

import (
	"context"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// mostChanges is how many changes of one tenant wait for each other.
const mostChanges = 32

// turns lets one change of each tenant at a time wait for the database, so that a tenant
// with many of them is one of those that wait, and not nearly all. The zero turns is
// good.
type turns struct {
	mu sync.Mutex
	of map[string]*turn // of tenants that have changes
}

type turn struct {
	taken chan struct{} // has room for one
	n     int           // that have it or wait for it
}

// wait waits for a tenant's turn, which lasts until done is called.
func (t *turns) wait(ctx context.Context, tenant string) (done func(), err error) {
	t.mu.Lock()
	if t.of == nil {
		t.of = map[string]*turn{}
	}
	mine := t.of[tenant]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, 1)}
		t.of[tenant] = mine
	}
	full := mine.n >= mostChanges
	if !full {
		mine.n++
	}
	t.mu.Unlock()
	if full {
		return nil, problem.New(problem.Overloaded, "%d changes of the tenant wait already", mostChanges).WithRetryAfter(time.Second)
	}
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.n--; mine.n == 0 {
			delete(t.of, tenant)
		}
	}
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, problem.New(problem.Unavailable, "the changes of the tenant that came before take too long").WithRetryAfter(time.Second)
	}
}
