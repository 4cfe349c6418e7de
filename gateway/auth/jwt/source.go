package jwt

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/gateway/internal/detach"
)

// fetched is a set of keys, and how long it is good for without asking again.
type fetched struct {
	set   *keySet
	fresh time.Duration
}

// source keeps an issuer's keys. It fetches them at most once each cooldown, when
// they are needed, and stays with the last good ones while it cannot.
type source struct {
	issuer   string
	cooldown time.Duration
	timeout  time.Duration // of one fetch
	fetch    func(context.Context) (fetched, error)
	group    *detach.Group
	metrics  *metrics
	logger   *slog.Logger

	held  atomic.Pointer[held]
	begun atomic.Pointer[time.Time] // when the last fetch did; nil is none yet

	mu      sync.Mutex
	running chan struct{} // closed when the fetch under way ends; nil is none
	waiting int           // callers

	failing string // what the log has of the fetches that fail; of the one under way
}

// held is what is in use. It does not change.
type held struct {
	set   *keySet
	at    time.Time // when its fetch began
	fresh time.Duration
}

// maxWaiting bounds the callers that wait for an issuer: unknown keys are forged at
// no cost.
const maxWaiting = 1000

// current is the set in use, nil where there never was one. Old ones are fetched
// again behind the caller's back; one that nobody used for as long again is fetched
// before it is used, so that what the issuer took back meanwhile is not believed.
func (s *source) current(ctx context.Context) (*keySet, error) {
	held := s.held.Load()
	if held == nil {
		return s.newer(ctx, nil)
	}
	now := time.Now()
	if now.Sub(held.at) < held.fresh {
		return held.set, nil
	}
	if now.Sub(*s.begun.Load()) >= 2*held.fresh {
		return s.newer(ctx, held.set)
	}
	s.mu.Lock()
	s.begin(ctx)
	s.mu.Unlock()
	return held.set, nil
}

// newer is a set that is not than, if the issuer has one: it waits for the fetch
// under way, or for one that the cooldown allows. Else it is than.
func (s *source) newer(ctx context.Context, than *keySet) (*keySet, error) {
	s.mu.Lock()
	if held := s.held.Load(); held != nil && held.set != than {
		s.mu.Unlock()
		return held.set, nil
	}
	s.begin(ctx)
	running := s.running
	if running == nil || s.waiting >= maxWaiting {
		s.mu.Unlock()
		return than, nil
	}
	s.waiting++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	}()
	select {
	case <-running:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if held := s.held.Load(); held != nil {
		return held.set, nil
	}
	return than, nil
}

// begin starts a fetch, unless one runs or the last one began less than a cooldown
// ago. It is called with mu held.
func (s *source) begin(ctx context.Context) {
	now := time.Now()
	if last := s.begun.Load(); s.running != nil || last != nil && now.Sub(*last) < s.cooldown {
		return
	}
	running := make(chan struct{})
	err := s.group.Go(ctx, func(ctx context.Context) {
		s.run(ctx, now)
		s.mu.Lock()
		s.running = nil
		s.mu.Unlock()
		close(running)
	})
	if err == nil { // else it is closed
		s.running = running
		s.begun.Store(&now)
	}
}

func (s *source) run(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	got, err := s.fetch(ctx)
	s.metrics.fetched(s.issuer, err)
	last := s.held.Load()
	if err != nil {
		if s.failing != err.Error() { // once, however long it lasts
			s.logger.WarnContext(ctx, "an issuer's keys cannot be fetched; the last ones stay in use",
				"issuer", s.issuer, "error", err, "has_keys", last != nil)
		}
		s.failing = err.Error()
		return
	}
	if s.failing != "" {
		s.logger.InfoContext(ctx, "an issuer's keys are fetched again", "issuer", s.issuer)
	}
	s.failing = ""
	if last != nil && last.set.same(got.set) {
		got.set = last.set // tokens that it verified stay so
	} else {
		s.logger.InfoContext(ctx, "an issuer's keys", "issuer", s.issuer, "keys", len(got.set.keys), "ignored", got.set.ignored)
	}
	s.metrics.holds(s.issuer, len(got.set.keys))
	s.held.Store(&held{set: got.set, at: now, fresh: got.fresh})
}
