package rights

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

const (
	pollEvery     = 500 * time.Millisecond
	pollTimeout   = time.Second
	pollAtOnce    = 50 * time.Millisecond // between polls that somebody waits for
	mostWaiting   = 256                   // for a poll at once; more are not
	commitTimeout = 5 * time.Second       // of one change, with those before it
	useEvery      = 5 * time.Second       // within which a use of a key is stored
)

// Mirror is the copy of what is stored. It implements auth.KnownKeys and
// auth.Authorizer. Run keeps it current.
type Mirror struct {
	store   Store
	logger  *slog.Logger
	metrics *metrics
	stale   atomic.Int64 // a time.Duration
	view    atomic.Pointer[view]

	committing chan struct{} // has room for one Update at a time
	turns      turns         // of tenants that have changes

	mu      sync.Mutex // of what follows, and of changes of view
	waiting []chan error
	lost    lost
	failing bool // the last poll failed

	asked chan struct{} // someone waits
	uses  uses
	seen  seen
}

// view is what is known at one moment.
type view struct {
	state    *access.State
	position Position
	asOf     time.Time // when the read that gave it began; zero before the first
}

// NewMirror makes a Mirror that knows nothing until it has polled. What it knows then
// stays good for stale while the database is away.
func NewMirror(store Store, stale time.Duration, registry prometheus.Registerer, logger *slog.Logger) (*Mirror, error) {
	m := &Mirror{store: store, logger: logger, asked: make(chan struct{}, 1), committing: make(chan struct{}, 1)}
	m.view.Store(&view{state: access.NewState()})
	m.SetStale(stale)
	var err error
	m.metrics, err = newMetrics(registry, m)
	return m, err
}

// SetStale changes how long what is known stays good while the database is away.
func (m *Mirror) SetStale(d time.Duration) { m.stale.Store(int64(d)) }

// State is what is known now.
func (m *Mirror) State() *access.State { return m.view.Load().state }

// Key implements auth.KnownKeys.
func (m *Mirror) Key(id string) *auth.Key { return m.State().Key(id) }

// Usable implements auth.KnownKeys.
func (m *Mirror) Usable() error {
	if asOf := m.view.Load().asOf; asOf.IsZero() || time.Since(asOf) > time.Duration(m.stale.Load()) {
		return problem.New(problem.Unavailable, "credentials cannot be checked now: the gateway's database does not answer").WithRetryAfter(time.Second)
	}
	return nil
}

// Authorize implements auth.Authorizer.
func (m *Mirror) Authorize(_ context.Context, p *auth.Principal, a auth.Action) error {
	if p != nil {
		rights := m.State().Rights(p, time.Now())
		for _, need := range a.Permissions() {
			if rights.Allows(need) {
				return nil
			}
		}
	}
	return a.Denied()
}

// Run keeps the copy current until ctx ends, and then stores what is left to note.
func (m *Mirror) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { m.noteUses(ctx) })
	work.Go(func() { m.noteSeen(ctx) })
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			m.answer(m.take(), ctx.Err())
			return
		case <-tick.C:
		case <-m.asked:
			if !sleep(ctx, time.Until(last.Add(pollAtOnce))) {
				continue
			}
		}
		last = time.Now()
		waiting := m.take()
		m.answer(waiting, m.Poll(ctx))
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (m *Mirror) take() []chan error {
	m.mu.Lock()
	defer m.mu.Unlock()
	waiting := m.waiting
	m.waiting = nil
	return waiting
}

func (*Mirror) answer(waiting []chan error, err error) {
	for _, w := range waiting {
		w <- err // each has room for it
	}
}

// errBusy is why somebody does not wait for a poll.
var errBusy = errors.New("too many wait for the gateway's database")

// Renew implements auth.KnownKeys: it waits for a poll that began after it was
// called, which all who wait share.
func (m *Mirror) Renew(ctx context.Context) error {
	done := make(chan error, 1)
	m.mu.Lock()
	if len(m.waiting) >= mostWaiting {
		m.mu.Unlock()
		return errBusy
	}
	m.waiting = append(m.waiting, done)
	m.mu.Unlock()
	select {
	case m.asked <- struct{}{}:
	default: // it is asked for already
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller's own
	}
}

// Poll reads what has changed, once. Its error is logged when it begins to fail.
func (m *Mirror) Poll(ctx context.Context) error {
	began, before := time.Now(), m.view.Load()
	reading, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	update, err := m.store.Since(reading, before.position)
	if err == nil {
		m.follow(before, update, began)
		m.restore(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil && ctx.Err() == nil && !m.failing:
		m.failing = true
		m.logger.Error("the gateway's database cannot be read: known keys stay good for a while",
			"error", err, "for", time.Duration(m.stale.Load()).String())
	case err == nil && m.failing:
		m.failing = false
		m.logger.Info("the gateway's database can be read again")
	}
	if err != nil {
		m.metrics.failures.Inc()
		return fmt.Errorf("read keys, roles and grants: %w", err)
	}
	return nil
}

// follow takes over what a poll has read, unless a change of this replica came
// between.
func (m *Mirror) follow(before *view, u *Update, began time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view.Load() != before {
		return
	}
	state := before.state
	switch {
	case u.Whole:
		state = access.NewState().With(u.Tenants)
		if before.position != (Position{}) {
			m.logger.Error("the gateway's database has lost changes, or others were made since: all of it was read again",
				"known", before.position.Number, "found", u.Position.Number)
			m.lost.compare(before.state, state, time.Now())
		}
	case len(u.Tenants) > 0:
		state = state.With(u.Tenants)
	}
	m.replace(before, state, u.Position, began)
}

// replace sets what is known, and remembers what ended with it. It is called under
// mu.
func (m *Mirror) replace(before *view, state *access.State, p Position, asOf time.Time) {
	if state != before.state {
		if again := m.lost.change(state); again != nil {
			state = state.Apply(again)
		}
		m.lost.remember(before.state, state, time.Now())
	}
	m.view.Store(&view{state, p, asOf})
}

// errDiverged has a commit begin anew, when all was read again.
var errDiverged = errors.New("the database has lost changes")

// UpdateFor is Update for somebody of a tenant: of each tenant one change waits beside
// those of others, and the rest behind it.
func (m *Mirror) UpdateFor(ctx context.Context, tenant string, decide func(*access.State) (*Stored, error)) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	done, err := m.turns.wait(ctx, tenant)
	if err != nil {
		return err
	}
	defer done()
	return m.Update(ctx, decide)
}

// Update has a change stored that is decided on the newest state there is, while no
// other change comes between. The error of decide is returned as it is.
func (m *Mirror) Update(ctx context.Context, decide func(*access.State) (*Stored, error)) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	select {
	case m.committing <- struct{}{}:
		defer func() { <-m.committing }()
	case <-ctx.Done():
		return problem.New(problem.Unavailable, "the gateway's database takes no changes now").WithRetryAfter(time.Second)
	}
	err := m.commit(ctx, decide)
	if !errors.Is(err, errDiverged) {
		return err
	}
	if err = m.Poll(ctx); err == nil {
		if err = m.commit(ctx, decide); !errors.Is(err, errDiverged) {
			return err
		}
	}
	return problem.New(problem.Unavailable, "the gateway's database takes no changes now: %w", hidden{err}).WithRetryAfter(time.Second)
}

func (m *Mirror) commit(ctx context.Context, decide func(*access.State) (*Stored, error)) error {
	began, before := time.Now(), m.view.Load()
	var next *access.State
	var refused error
	position, err := m.store.Commit(ctx, before.position, func(u *Update) (*Stored, error) {
		state := before.state
		switch {
		case u.Whole && before.position != (Position{}):
			return nil, errDiverged
		case len(u.Tenants) > 0:
			state = state.With(u.Tenants)
		}
		stored, err := decide(state)
		if err != nil {
			refused = err
			return nil, err
		}
		next = state.Apply(&stored.Change)
		return stored, nil
	})
	switch {
	case refused != nil:
		return refused
	case errors.Is(err, errDiverged):
		return errDiverged
	case err != nil:
		m.metrics.failures.Inc()
		return problem.New(problem.Unavailable, "the gateway's database did not take the change, or did not say so: look before you try again: %w", hidden{err}).
			WithRetryAfter(time.Second)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.view.Load(); now.position.Number < position.Number || now == before {
		m.replace(now, next, position, began)
	}
	return nil
}

// hidden is an error whose text is for the log alone.
type hidden struct{ error }

// Error implements error.
func (hidden) Error() string { return "the store failed" }

// Unwrap returns the error.
func (h hidden) Unwrap() error { return h.error }
