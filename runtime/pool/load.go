package pool

import (
	"context"
	"errors"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
)

// The waits between attempts to load what failed to load.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// begin finds the entry of ref, or begins its load. beside is whether another
// version answers until it is loaded.
func (p *Pool) begin(ref model.Ref, beside bool) (*entry, error) {
	failures := 0
	if e := p.entries[ref]; e != nil {
		if e.loading() || e.ready() {
			return e, nil
		}
		if time.Now().Before(e.retryAt) {
			return nil, unavailable(e)
		}
		failures = e.failures
	}
	if p.loads >= p.cfg.MaxLoaded {
		return nil, problem.New(problem.Overloaded, "%d models are being loaded already; call again", p.loads).WithRetryAfter(time.Second)
	}
	e := &entry{
		ref: ref, done: make(chan struct{}), failures: failures, used: time.Now(),
		beside: beside, byPolicy: beside,
	}
	if m := p.models[ref.Name]; m != nil {
		e.tag = m.listing.tags[ref.Version]
	}
	if !p.spawn(func() { p.load(e) }) {
		return nil, errStopping()
	}
	p.loads++
	p.entries[ref] = e
	return e, nil
}

// load fills e. It runs on the pool's own time: the caller that began it may
// go away, others wait for it too.
func (p *Pool) load(e *entry) {
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.LoadLimit)
	defer cancel()
	loaded, err := p.loader.Load(ctx, e.ref, func(m *model.Manifest) error { return p.admit(ctx, e, m) })
	var bytes int64
	if err == nil {
		if bytes, err = p.prepare(ctx, e, loaded); err != nil {
			err = errors.Join(err, loaded.Session.Close())
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loads--
	if err != nil {
		p.failed(e, err)
		close(e.done)
		return
	}
	p.succeeded(e, loaded, bytes)
	close(e.done)
	p.followLoaded(e.ref.Name)
}

// prepare warms a loaded version up and measures it.
func (p *Pool) prepare(ctx context.Context, e *entry, l *Loaded) (bytes int64, err error) {
	began := time.Now()
	if err := warmUp(ctx, l); err != nil {
		return 0, err
	}
	l.Timing.Warm = time.Since(began)
	s, ok := l.Session.(sized)
	if ok {
		bytes = s.Memory()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !ok {
		bytes = e.bytes
	} else {
		p.statsOf(e.ref).took = took{e.tag, bytes}
	}
	return bytes, p.tooLarge(e, need{bytes, ""})
}

func (p *Pool) succeeded(e *entry, l *Loaded, bytes int64) {
	e.loaded, e.info = l, describe(&l.Manifest, l.Digest, l.Device)
	e.info.DeviceReason = problem.Redact(l.DeviceReason)
	e.queue, e.outputs = p.newQueue(e, l, p.statsOf(e.ref)), names(l.Manifest.Outputs)
	e.measured.Store(time.Now().UnixNano())
	if e.leases > 0 { // else nobody waited
		e.cold.Store(&l.Timing)
	}
	p.memory.take(e, bytes)
	p.shrink(e)
	p.metrics.loaded(e, &l.Timing)
	p.logger.Info("model loaded", "model", e.ref.Name, "version", e.ref.Version, "digest", l.Digest, "swap", e.beside,
		"device", l.Device, "memory", size(bytes), "fetch", rounded(l.Timing.Fetch), "verify", rounded(l.Timing.Verify),
		"load", rounded(l.Timing.Load), "warm", rounded(l.Timing.Warm))
	if e.evicted && e.leases == 0 {
		p.destroy(e)
	}
	p.trimLater()
}

// failed remembers why e did not load, and when to try again. What was not e's
// fault is not held against it.
func (p *Pool) failed(e *entry, err error) {
	e.err = err
	p.memory.free(e)
	stopped := p.ctx.Err() != nil
	p.metrics.failed(e, err, stopped)
	code := problem.CodeOf(err)
	if stopped || code == problem.Overloaded || code == problem.ModelNotFound {
		if p.entries[e.ref] == e {
			delete(p.entries, e.ref)
		}
		return
	}
	e.failures++
	e.retryAt = time.Now().Add(min(lastRetry, firstRetry<<min(e.failures-1, 5)))
	p.logger.Error("cannot load a model", "model", e.ref.Name, "version", e.ref.Version,
		"error", err, "retry_in", time.Until(e.retryAt).Round(time.Millisecond))
}

// rounded is a duration as people read it: JSON would have nanoseconds.
func rounded(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }

// unavailable is the error that callers get for a version that failed to load.
func unavailable(e *entry) error {
	if code := problem.CodeOf(e.err); code == problem.ModelNotFound || code == problem.Overloaded {
		return e.err
	}
	return problem.New(problem.ModelUnavailable, "model %s failed to load: %w", e.ref, e.err).
		WithRetryAfter(max(time.Second, time.Until(e.retryAt)))
}
