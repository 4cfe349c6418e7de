// Package memo remembers what was loaded for a bounded time, in a bounded
// number of entries, and loads each key once however many ask for it.
//
// It is not a general cache: nothing is written to it, and what it holds is
// always a copy of what somebody else owns.
package memo

import (
	"context"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/internal/detach"
)

// Options bound a Cache.
type Options struct {
	// Fresh is how long a value is used, from the moment its load began: a
	// change in the source is seen Fresh and one load after it at the latest.
	Fresh time.Duration

	// Stale is how much longer a value is used while its source fails; 0 is not
	// at all.
	Stale time.Duration

	Max     int           // entries
	Timeout time.Duration // of one load
}

// Cache remembers the values of one source.
type Cache[K comparable, V any] struct {
	load    func(context.Context, K) (V, error)
	options Options
	loads   *detach.Group

	mu      sync.Mutex
	entries map[K]*entry[V]
}

type entry[V any] struct {
	value V
	at    time.Time // when the load that gave value began; zero before the first
	epoch string    // of that load
	call  *call[V]  // the load under way
}

type call[V any] struct {
	epoch string
	done  chan struct{}
	value V
	err   error
}

// New makes a Cache over load. Its owner closes it.
func New[K comparable, V any](options Options, load func(context.Context, K) (V, error)) *Cache[K, V] {
	return &Cache[K, V]{load: load, options: options, loads: detach.New(), entries: map[K]*entry[V]{}}
}

// Get returns the value of key, loading it when there is no fresh one. Those
// who ask while it loads wait for the same load; one who goes away does not end
// it for the others. Errors are not remembered.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (V, error) {
	return c.GetIn(ctx, "", key)
}

// GetIn is Get over a source that reports when it changed: a value is used in the
// epoch in which its load began, and in no other, but for Stale.
func (c *Cache[K, V]) GetIn(ctx context.Context, epoch string, key K) (V, error) {
	c.mu.Lock()
	e := c.entries[key]
	if e == nil {
		c.makeRoom()
		e = &entry[V]{}
		c.entries[key] = e
	}
	if !e.at.IsZero() && e.epoch == epoch && time.Since(e.at) < c.options.Fresh {
		value := e.value
		c.mu.Unlock()
		return value, nil
	}
	if e.call == nil || e.call.epoch != epoch {
		begun := &call[V]{epoch: epoch, done: make(chan struct{})}
		if err := c.loads.Go(ctx, func(ctx context.Context) { c.run(ctx, key, e, begun) }); err != nil {
			c.mu.Unlock()
			var none V
			return none, err //nolint:wrapcheck // it is of this cache
		}
		e.call = begun
	}
	running := e.call
	c.mu.Unlock()

	select {
	case <-running.done:
		return running.value, running.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// Close ends the loads under way and waits for them. Later ones fail; what is
// remembered stays.
func (c *Cache[K, V]) Close() { c.loads.Close() }

// Forget drops the value of key, so that the next Get loads it. A load under
// way is not used for those who ask later.
func (c *Cache[K, V]) Forget(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, key)
}

func (c *Cache[K, V]) run(ctx context.Context, key K, e *entry[V], current *call[V]) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	began := time.Now()
	value, err := c.load(ctx, key)

	c.mu.Lock()
	defer c.mu.Unlock()
	latest := e.call == current
	if latest {
		e.call = nil
	}
	switch {
	case err == nil:
		if latest || e.at.IsZero() { // else a load of a later epoch sets it
			e.value, e.at, e.epoch = value, began, current.epoch
		}
	case !e.at.IsZero() && began.Sub(e.at) < c.options.Fresh+c.options.Stale:
		value, err = e.value, nil
	default:
		if latest && c.entries[key] == e {
			delete(c.entries, key)
		}
	}
	current.value, current.err = value, err
	close(current.done)
}

// sample is how many entries makeRoom looks at: enough to meet spent ones,
// few enough that a flood of new keys costs each caller little.
const sample = 32

// makeRoom drops what is of no use any more among a few entries, else any of
// them. Map order is random, so that over time all are met.
func (c *Cache[K, V]) makeRoom() {
	if len(c.entries) < c.options.Max {
		return
	}
	var spare *K
	seen := 0
	for key, e := range c.entries {
		if seen++; seen > sample {
			break
		}
		if e.call != nil {
			continue
		}
		if time.Since(e.at) >= c.options.Fresh+c.options.Stale {
			delete(c.entries, key)
		} else {
			spare = &key
		}
	}
	if len(c.entries) >= c.options.Max && spare != nil {
		delete(c.entries, *spare)
	}
}
