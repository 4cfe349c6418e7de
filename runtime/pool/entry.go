package pool

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/batch"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// entry is a version that is loading, loaded, or failed to load. Its fields
// are under Pool.mu; loaded, info and err do not change once done is closed,
// as long as anyone holds it.
type entry struct {
	ref    model.Ref
	tag    string        // of what was published when the load began; "" is not known
	done   chan struct{} // closed when the load has ended
	loaded *Loaded
	info   *serve.ModelInfo
	err    error

	queue   *batch.Queue
	cold    atomic.Pointer[infer.Timing] // reported once, with the first answer
	outputs []string                     // all of them, by name

	leases     int
	used       time.Time
	evicted    bool      // out of the map; closed with its last lease
	superseded bool      // another version took over; evicted with its last lease
	beside     bool      // began to load while another version answered in its place
	byPolicy   bool      // calls got it, or will, that left the version to the policy
	byNumber   time.Time // when a call last named it
	retryAt    time.Time // after a failure
	failures   int

	trimmed         bool // since it was last held
	failedForMemory bool // beside the version that answered in its place

	counted  bool // in the ledger, with bytes
	bytes    int64
	measured atomic.Int64 // when the session was last asked for them, in ns
}

func (e *entry) loading() bool {
	select {
	case <-e.done:
		return false
	default:
		return true
	}
}

// ready reports whether e answers calls at once; nil does not.
func (e *entry) ready() bool { return e != nil && !e.loading() && e.err == nil }

// broken reports whether e failed to load; nil did not.
func (e *entry) broken() bool { return e != nil && !e.loading() && e.err != nil }

// Acquire implements serve.Backend.
func (p *Pool) Acquire(ctx context.Context, name, version string) (serve.Lease, error) {
	deleted := false
	for tries := 1; ; tries++ {
		c, err := p.resolve(ctx, name, version, deleted)
		if err != nil {
			return nil, err
		}
		l, err := p.acquire(ctx, c)
		if err == nil {
			return l, nil
		}
		// The version was deleted since the listing was read, and another is meant;
		// or it failed to load, and one before it may answer.
		code := problem.CodeOf(err)
		deleted = code == problem.ModelNotFound
		most := 1
		if c.first {
			most = maxOlder
		}
		if tries > most || c.named || !deleted && code != problem.ModelUnavailable {
			return nil, err
		}
	}
}

// acquire holds the version that answers a call, and waits for its load.
func (p *Pool) acquire(ctx context.Context, c choice) (*lease, error) {
	e, err := p.hold(c)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.done:
	case <-ctx.Done():
		p.release(e, 0)
		return nil, fmt.Errorf("wait for model %s to load: %w", e.ref, ctx.Err())
	}
	if e.err != nil {
		p.release(e, 0)
		return nil, unavailable(e)
	}
	return &lease{pool: p, entry: e, alias: c.alias, stats: p.answers(c, e)}, nil
}

// hold counts one lease on the version that answers a call: the one that it is
// for, or what stands in while that one is loaded or cannot be.
func (p *Pool) hold(c choice) (*entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errStopping()
	}
	e, err := p.find(c)
	if err != nil {
		return nil, err
	}
	e.superseded, e.trimmed = false, false
	e.leases++
	p.work.Add(1)
	e.used = time.Now()
	return e, nil
}

// find is the version that answers a call, whose load may begin with it.
func (p *Pool) find(c choice) (*entry, error) {
	before, known := p.before(c)
	old := p.entries[before]
	if known && c.first && !old.ready() && p.entries[c.ref].broken() {
		if e, err := p.begin(before, false); err == nil {
			return e, nil // what failed is tried again beside it
		}
	}
	e, err := p.begin(c.ref, old.ready())
	switch {
	case err == nil && (e.ready() || !old.ready()):
		return e, nil
	case old.ready(): // the new one is on its way, or its failure is remembered
		return old, nil
	case known:
		return p.begin(before, false)
	}
	return nil, err
}

// release takes one lease off e. bytes is what its session now takes; 0 is not
// asked.
func (p *Pool) release(e *entry, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.work.Done()
	if bytes > 0 && e.counted {
		p.memory.resize(e, bytes)
		p.shrink(e)
	}
	e.leases--
	if e.leases > 0 {
		return
	}
	switch {
	case e.evicted:
		p.destroy(e)
	case e.superseded:
		p.evict(e, evictedSuperseded)
	case !e.trimmed:
		p.trimLater()
	}
	p.memory.signal()
}

// evict takes e out of the map and closes it when nobody holds it.
func (p *Pool) evict(e *entry, reason string) {
	if p.entries[e.ref] == e {
		delete(p.entries, e.ref)
	}
	e.evicted = true
	if reason != "" && e.ready() {
		p.metrics.evictions.WithLabelValues(reason).Inc()
		p.logger.Info("model unloaded", "model", e.ref.Name, "version", e.ref.Version, "reason", reason)
	}
	if e.leases == 0 {
		p.destroy(e)
	}
}

// destroy closes an entry's session in the background: nobody holds it. Its
// memory counts until it is closed.
func (p *Pool) destroy(e *entry) {
	if e.loaded == nil {
		return
	}
	session := e.loaded.Session
	e.loaded = nil
	p.memory.closing++
	p.memory.coming += e.bytes
	p.work.Go(func() {
		if err := session.Close(); err != nil {
			p.logger.Error("cannot unload a model", "model", e.ref.Name, "version", e.ref.Version, "error", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.memory.closing--
		p.memory.coming -= e.bytes
		p.memory.free(e)
	})
}
