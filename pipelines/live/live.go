// Package live wakes whoever waits for a change of an execution: a caller with
// Prefer: wait, and a stream of events.
//
// It keeps no state of executions. Whoever is woken reads the store, which is the
// truth; so a notice that is lost costs at most the time of a poll, and one too many
// costs a read.
package live

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// Notices carry changes between replicas. They may lose, double and delay.
type Notices interface {
	// Publish reports that executions changed.
	Publish(ctx context.Context, executions []string) error
	// Receive calls changed for each execution that a replica publishes, until ctx ends
	// or the connection does: then it returns why.
	Receive(ctx context.Context, changed func(execution string)) error
}

// Config bounds a Hub. All are required.
type Config struct {
	Most      int           // that wait at once
	PerTenant int           // that wait at once, of one tenant
	Poll      time.Duration // after which a waiter looks though nothing was noticed
}

const (
	queued       = 4096 // changes that wait to be published; more are left to the poll
	published    = 256  // in one call of Publish
	publishTime  = time.Second
	reconnecting = time.Second // between two tries of Receive
	full         = time.Second // Retry-After of whoever finds no place
)

// Hub is who waits, and for what. It is safe for concurrent use.
type Hub struct {
	cfg     Config
	notices Notices
	logger  *slog.Logger
	changes chan string
	noticed func(execution string)

	mu      sync.Mutex
	waiting map[string]map[*Watch]struct{} // by execution
	tenants map[string]int
	n       int
}

// New makes a Hub. notices may be nil: then it knows of the changes of this process
// alone, and of others' by the poll.
func New(cfg Config, notices Notices, logger *slog.Logger) *Hub {
	return &Hub{
		cfg: cfg, notices: notices, logger: logger, changes: make(chan string, queued),
		waiting: map[string]map[*Watch]struct{}{}, tenants: map[string]int{}, noticed: func(string) {},
	}
}

// OnNotice has do called for each change that a replica publishes, this one too. It must
// not wait. It is for before Run.
func (h *Hub) OnNotice(do func(execution string)) { h.noticed = do }

// Run carries notices until ctx ends. Without it the Hub works by its own process'
// changes and the poll.
func (h *Hub) Run(ctx context.Context) {
	if h.notices == nil {
		<-ctx.Done()
		return
	}
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { h.receive(ctx) })
	h.publish(ctx)
}

func (h *Hub) receive(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		err := h.notices.Receive(ctx, func(execution string) {
			h.wake(execution)
			h.noticed(execution)
		})
		if ctx.Err() != nil {
			return
		}
		if !failing {
			h.logger.WarnContext(ctx, "changes of executions are not noticed at once: waiters look each second", "error", err)
		}
		failing = true
		select {
		case <-ctx.Done():
		case <-time.After(reconnecting):
		}
	}
}

func (h *Hub) publish(ctx context.Context) {
	for {
		var batch []string
		select {
		case <-ctx.Done():
			return
		case id := <-h.changes:
			batch = append(batch, id)
		}
		for more := true; more && len(batch) < published; {
			select {
			case id := <-h.changes:
				batch = append(batch, id)
			default:
				more = false
			}
		}
		publishing, cancel := context.WithTimeout(ctx, publishTime)
		if err := h.notices.Publish(publishing, batch); err != nil {
			h.logger.DebugContext(ctx, "a notice of changed executions was not published", "error", err)
		}
		cancel()
	}
}

// Changed wakes whoever waits for an execution, here and in other replicas. It is called
// after the commit, and waits for nothing.
func (h *Hub) Changed(execution string) {
	h.wake(execution)
	if h.notices == nil {
		return
	}
	select {
	case h.changes <- execution:
	default:
	}
}

func (h *Hub) wake(execution string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.waiting[execution] {
		select {
		case w.woken <- struct{}{}:
		default: // it has not looked since the last
		}
	}
}

// Watch is one waiter. It is one goroutine's.
type Watch struct {
	hub               *Hub
	tenant, execution string
	woken             chan struct{}
	once              sync.Once
}

// Watch makes a waiter for an execution of a tenant, to be closed. Changes count from
// now on: whoever waits reads the store after this and before each Wait. There is a
// bound on waiters, whose error is problem.Overloaded.
func (h *Hub) Watch(tenant, execution string) (*Watch, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n >= h.cfg.Most || h.tenants[tenant] >= h.cfg.PerTenant {
		return nil, problem.New(problem.Overloaded, "too many callers wait for executions").WithRetryAfter(full)
	}
	w := &Watch{hub: h, tenant: tenant, execution: execution, woken: make(chan struct{}, 1)}
	if h.waiting[execution] == nil {
		h.waiting[execution] = map[*Watch]struct{}{}
	}
	h.waiting[execution][w] = struct{}{}
	h.tenants[tenant]++
	h.n++
	return w, nil
}

// Wait returns when the execution may have changed: after a notice, or after the time of
// a poll. Its error is ctx's.
func (w *Watch) Wait(ctx context.Context) error {
	poll := time.NewTimer(w.hub.cfg.Poll)
	defer poll.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.woken:
	case <-poll.C:
	}
	return nil
}

// Close gives the place back. Closing twice is safe.
func (w *Watch) Close() {
	w.once.Do(func() {
		h := w.hub
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiting[w.execution], w)
		if len(h.waiting[w.execution]) == 0 {
			delete(h.waiting, w.execution)
		}
		if h.tenants[w.tenant]--; h.tenants[w.tenant] == 0 {
			delete(h.tenants, w.tenant)
		}
		h.n--
	})
}

// Await asks until the answer is that it is done, at each change and poll, or until ctx
// ends: then done is false, and that is no error. Errors are Watch's and ask's.
func (h *Hub) Await(ctx context.Context, tenant, execution string, ask func(context.Context) (done bool, err error)) (bool, error) {
	w, err := h.Watch(tenant, execution)
	if err != nil {
		return false, err
	}
	defer w.Close()
	for {
		done, err := ask(ctx)
		switch {
		case ctx.Err() != nil && !done:
			return false, nil
		case err != nil || done:
			return done, err
		}
		if w.Wait(ctx) != nil {
			return false, nil
		}
	}
}
