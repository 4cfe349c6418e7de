package start

import (
	"context"
	"sync"
	"time"
)

// queues is how many executions of each tenant wait to begin. Counting thousands of rows
// for each one that is accepted would be most of its cost, so a count is used for a
// second, as long as what was accepted since, here and as much again elsewhere, cannot
// have reached the bound.
type queues struct {
	count func(ctx context.Context, tenant string, most int) (int, error)
	most  int

	mu      sync.Mutex
	tenants map[string]*queue
}

type queue struct {
	at       time.Time
	counted  int
	accepted int // here, since
}

const (
	countedFor = time.Second
	maxCounted = 1024 // tenants whose counts are kept
)

// waiting is how many wait, up to the most that may.
func (q *queues) waiting(ctx context.Context, tenant string, now time.Time) (int, error) {
	q.mu.Lock()
	if known := q.tenants[tenant]; known != nil && now.Sub(known.at) < countedFor && known.counted+2*known.accepted < q.most {
		n := known.counted + known.accepted
		q.mu.Unlock()
		return n, nil
	}
	q.mu.Unlock()
	n, err := q.count(ctx, tenant, q.most)
	if err != nil {
		return 0, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.tenants) >= maxCounted {
		clear(q.tenants)
	}
	q.tenants[tenant] = &queue{at: now, counted: n}
	return n, nil
}

// accepted counts one that was stored.
func (q *queues) accepted(tenant string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if known := q.tenants[tenant]; known != nil {
		known.accepted++
	}
}
