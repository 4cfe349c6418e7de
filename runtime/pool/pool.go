// Package pool keeps models loaded in one process and runs them: it loads a
// version once however many ask, holds it while a request uses it, lets the
// least recently used go when there are too many, and bounds how many runs are
// under way and waiting.
//
// It implements serve.Backend and serve.Repository. It knows neither S3 nor
// ONNX Runtime: a Source loads, and hands it Sessions.
package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Source is where models come from.
type Source interface {
	// Names lists the published models.
	Names(ctx context.Context) ([]string, error)

	// Versions lists a model's published versions, newest first; none is
	// problem.ModelNotFound.
	Versions(ctx context.Context, name string) ([]int, error)

	// Describe reads a version's manifest and its digest.
	Describe(ctx context.Context, ref artifact.Ref) (*artifact.Manifest, string, error)

	// Load fetches a version and makes it ready to run.
	Load(ctx context.Context, ref artifact.Ref) (*Loaded, error)
}

// Session runs one loaded model. Run may be called from many goroutines; the
// outputs are valid until release is called.
type Session interface {
	Run(ctx context.Context, inputs []infer.Tensor, outputs []string) (results []infer.Tensor, release func(), err error)
	Close() error
}

// Loaded is a version ready to run.
type Loaded struct {
	Session  Session
	Manifest artifact.Manifest
	Digest   string
	Device   string
	Timing   infer.Timing // Fetch, Verify and Load
}

// Config bounds a pool.
type Config struct {
	// Models are the versions to serve; empty serves whatever is published.
	Models []artifact.Ref

	MaxLoaded int           // versions in memory at once
	Slots     int           // runs at once, of all models together
	Queue     int           // requests waiting for a slot; more are refused
	Fresh     time.Duration // how long a listing of versions is believed
	LoadLimit time.Duration // one load may take this long
	MaxOutput int64         // bytes of the smallest answer that a run may have; 0 is no bound
	Device    string        // where models run: "cpu"
}

// The waits between attempts to load what failed to load.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// Pool is the models of one process.
type Pool struct {
	cfg    Config
	source Source
	logger *slog.Logger
	slots  *slots

	ctx    context.Context //nolint:containedctx // the pool's own life, which loads outlive callers by
	cancel context.CancelFunc
	work   sync.WaitGroup // loads, unloads and leases

	listings singleflight.Group

	mu       sync.Mutex
	closed   bool
	entries  map[artifact.Ref]*entry
	stats    map[artifact.Ref]*modelStats
	versions map[string]listing
}

// New makes an empty pool.
func New(cfg Config, source Source, logger *slog.Logger) (*Pool, error) {
	switch {
	case cfg.MaxLoaded < 1:
		return nil, errors.New("pool: MaxLoaded must be at least 1")
	case cfg.Slots < 1:
		return nil, errors.New("pool: Slots must be at least 1")
	case cfg.Queue < 0:
		return nil, errors.New("pool: Queue must not be negative")
	case cfg.MaxOutput < 0:
		return nil, errors.New("pool: MaxOutput must not be negative")
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Pool{
		cfg:      cfg,
		source:   source,
		logger:   logger,
		slots:    newSlots(cfg.Slots, cfg.Queue),
		ctx:      ctx,
		cancel:   cancel,
		entries:  map[artifact.Ref]*entry{},
		stats:    map[artifact.Ref]*modelStats{},
		versions: map[string]listing{},
	}, nil
}

// entry is a version that is loading, loaded, or failed to load. Its fields
// are under Pool.mu; loaded and info do not change once done is closed.
type entry struct {
	ref    artifact.Ref
	done   chan struct{} // closed when the load has ended
	loaded *Loaded
	info   *serve.ModelInfo
	err    error

	leases   int
	used     time.Time
	evicted  bool          // out of the map; closed with its last lease
	cold     *infer.Timing // told once, with the first answer
	retryAt  time.Time     // after a failure
	failures int
}

func (e *entry) loading() bool {
	select {
	case <-e.done:
		return false
	default:
		return true
	}
}

// Acquire implements serve.Backend.
func (p *Pool) Acquire(ctx context.Context, name, version string) (serve.Lease, error) {
	ref, err := p.resolve(ctx, name, version)
	if err != nil {
		return nil, err
	}
	e, err := p.hold(ref)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.done:
	case <-ctx.Done():
		p.release(e)
		return nil, fmt.Errorf("wait for model %s@%d to load: %w", ref.Name, ref.Version, ctx.Err())
	}
	if e.err != nil {
		p.release(e)
		return nil, unavailable(e)
	}
	return &lease{pool: p, entry: e, stats: p.statsOf(ref)}, nil
}

// hold finds or begins the entry of ref and counts one lease on it.
func (p *Pool) hold(ref artifact.Ref) (*entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, problem.New(problem.Unavailable, "this server is stopping; call again")
	}
	e := p.entries[ref]
	failures := 0
	if e != nil && !e.loading() && e.err != nil {
		if time.Now().Before(e.retryAt) {
			return nil, unavailable(e)
		}
		failures, e = e.failures, nil
	}
	if e == nil {
		if err := p.makeRoom(ref); err != nil {
			return nil, err
		}
		e = &entry{ref: ref, done: make(chan struct{}), failures: failures}
		p.entries[ref] = e
		p.work.Go(func() { p.load(e) })
	}
	e.leases++
	p.work.Add(1)
	e.used = time.Now()
	return e, nil
}

// makeRoom lets go of the least recently used version nobody holds, if one more
// would be too many. Failed entries take no memory and do not count.
func (p *Pool) makeRoom(ref artifact.Ref) error {
	live := 0
	var oldest *entry
	for _, e := range p.entries {
		if e.ref == ref || (!e.loading() && e.err != nil) {
			continue
		}
		live++
		if e.leases == 0 && !e.loading() && (oldest == nil || e.used.Before(oldest.used)) {
			oldest = e
		}
	}
	if live < p.cfg.MaxLoaded {
		return nil
	}
	if oldest == nil {
		return problem.New(problem.Overloaded, "all %d models that fit in memory are in use, and %s@%d is not one of them; call again",
			p.cfg.MaxLoaded, ref.Name, ref.Version).WithRetryAfter(time.Second)
	}
	p.evict(oldest)
	return nil
}

// evict takes e out of the map and closes it when nobody holds it.
func (p *Pool) evict(e *entry) {
	if p.entries[e.ref] == e {
		delete(p.entries, e.ref)
	}
	e.evicted = true
	if e.leases == 0 {
		p.destroy(e)
	}
}

// destroy closes an entry's session in the background: nobody holds it.
func (p *Pool) destroy(e *entry) {
	if e.loaded == nil {
		return
	}
	session := e.loaded.Session
	e.loaded = nil
	p.work.Go(func() {
		if err := session.Close(); err != nil {
			p.logger.Error("cannot unload a model", "model", e.ref.Name, "version", e.ref.Version, "error", err)
		}
	})
}

// release takes one lease off e.
func (p *Pool) release(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.work.Done()
	e.leases--
	if e.leases == 0 && e.evicted {
		p.destroy(e)
	}
}

// load fills e. It runs on the pool's own time: the caller that began it may
// go away, others wait for it too.
func (p *Pool) load(e *entry) {
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.LoadLimit)
	defer cancel()
	loaded, err := p.source.Load(ctx, e.ref)
	if err == nil {
		began := time.Now()
		if err = warmUp(ctx, loaded); err != nil {
			err = errors.Join(err, loaded.Session.Close())
		}
		loaded.Timing.Warm = time.Since(began)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(e.done)
	if err != nil {
		e.err = err
		e.failures++
		e.retryAt = time.Now().Add(min(lastRetry, firstRetry<<min(e.failures-1, 5)))
		p.logger.Error("cannot load a model", "model", e.ref.Name, "version", e.ref.Version,
			"error", err, "retry_in", time.Until(e.retryAt).Round(time.Millisecond))
		return
	}
	e.loaded, e.cold = loaded, &loaded.Timing
	e.info = describe(&loaded.Manifest, loaded.Digest, loaded.Device)
	if e.leases == 0 && e.evicted {
		p.destroy(e)
	}
	p.logger.Info("model loaded", "model", e.ref.Name, "version", e.ref.Version, "digest", loaded.Digest,
		"device", loaded.Device, "fetch", rounded(loaded.Timing.Fetch), "verify", rounded(loaded.Timing.Verify),
		"load", rounded(loaded.Timing.Load), "warm", rounded(loaded.Timing.Warm))
}

// rounded is a duration as people read it: JSON would have nanoseconds.
func rounded(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }

// unavailable is what a caller is told of a version that failed to load.
func unavailable(e *entry) error {
	var known *problem.Error
	if errors.As(e.err, &known) && known.Code == problem.ModelNotFound {
		return e.err
	}
	return problem.New(problem.ModelUnavailable, "model %s@%d failed to load: %w", e.ref.Name, e.ref.Version, e.err).
		WithRetryAfter(max(time.Second, time.Until(e.retryAt)))
}

// Close unloads everything and waits for loads under way and leases held.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	for _, e := range p.entries {
		p.evict(e)
	}
	p.mu.Unlock()
	p.cancel()
	p.work.Wait()
}
