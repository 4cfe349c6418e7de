package dispatch

import (
	"maps"
	"sync"
	"time"
)

// maxWaits bounds the executions of which is known how long they have waited; others wait
// longer.
const maxWaits = 4096

// waits is since when executions that could not begin have been tried, in this process.
type waits struct {
	most time.Duration

	mu    sync.Mutex
	since map[string]time.Time
}

func newWaits(most time.Duration) *waits { return &waits{most: most, since: map[string]time.Time{}} }

// tooLong notes that an execution could not begin, and reports whether that has lasted for
// longer than it may.
func (w *waits) tooLong(execution string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	since, known := w.since[execution]
	if known {
		return now.Sub(since) >= w.most
	}
	if len(w.since) >= maxWaits { // another process began some of them, or they were cancelled
		maps.DeleteFunc(w.since, func(_ string, since time.Time) bool { return now.Sub(since) >= 2*w.most })
	}
	if len(w.since) < maxWaits {
		w.since[execution] = now
	}
	return false
}

// over forgets an execution.
func (w *waits) over(execution string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.since, execution)
}
