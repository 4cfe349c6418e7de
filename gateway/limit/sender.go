package limit

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Bounds of what waits to be sent.
const (
	mostChanges = 10_000 // of each kind; charges of one count are one
	mostSent    = 500    // in one script
)

// sender sends what became of calls, in one order: a place that ended is not held on
// afterwards. What cannot be kept any more is left out; a quota's is in the ledger.
type sender struct {
	counters Counters
	health   *health
	wake     chan struct{}

	mu      sync.Mutex
	charges map[string]change // by key, and for a quota's count its period
	totals  map[string]change
	ended   []ended
	held    map[held]bool // the places of calls under way
}

// change is one that waits.
type change struct {
	Change

	entry *entry // of a bucket's charge
}

// held is a place of a count: a call has the same in several.
type held struct{ key, place string }

// ended is a place that ended, and the entry that knows.
type ended struct {
	key, place string
	entry      *entry // nil: of a call whose decision is not known
}

func newSender(counters Counters, h *health) *sender {
	return &sender{
		counters: counters, health: h, wake: make(chan struct{}, 1),
		charges: map[string]change{}, totals: map[string]change{}, held: map[held]bool{},
	}
}

func (s *sender) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// charge takes of a bucket.
func (s *sender) charge(u use, n float64) {
	s.add(u.key, change{Change{Kind: Charge, Key: u.key, Rate: u.Rate, Burst: u.Burst, Amount: n}, u.entry})
}

// owed is what waits to be taken of a bucket, and waits no more: the caller takes it.
func (s *sender) owed(key string) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.charges[key].Amount
	delete(s.charges, key)
	return n
}

// count adds to a quota's count.
func (s *sender) count(key, period string, n float64) {
	if s.health.isUp() {
		s.add(key+" "+period, change{Change{Kind: Count, Key: key, Period: period, Amount: n}, nil})
	}
}

func (s *sender) add(by string, c change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.charges[by]
	if !known && len(s.charges) >= mostChanges {
		return
	}
	c.Amount += before.Amount
	s.charges[by] = c
	s.notify()
}

// forgetCount leaves out what waits of a quota whose count was read from the ledger: it is
// in it. What is not, the ledger's next total raises.
func (s *sender) forgetCount(key, period string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.charges, key+" "+period)
}

// forgetCounts leaves out what waits of quotas: counts that are gone come back with
// what the ledger has, and this is in it.
func (s *sender) forgetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.charges, func(_ string, c change) bool { return c.Kind == Count })
}

// raise lets a quota's count be at least t.
func (s *sender) raise(key string, t Total) {
	s.mu.Lock()
	defer s.mu.Unlock()
	by := key + " " + t.Period
	if before, known := s.totals[by]; known && before.Amount >= float64(t.Count) || !known && len(s.totals) >= mostChanges {
		return
	}
	s.totals[by] = change{Change{Kind: Raise, Key: key, Period: t.Period, Amount: float64(t.Count)}, nil}
	s.notify()
}

// hold holds a place on until it is freed.
func (s *sender) hold(key, place string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[held{key, place}] = true
}

// free ends a place. Until it is known to be freed, the next call of its count frees
// it: a caller who asks one call after the other finds it free.
func (s *sender) free(key, place string, e *entry) {
	if e != nil {
		e.mu.Lock()
		if len(e.ended) < mostSent {
			e.ended = append(e.ended, place)
		}
		e.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, held{key, place})
	if len(s.ended) < mostChanges { // else it ends by itself
		s.ended = append(s.ended, ended{key, place, e})
	}
	s.notify()
}

// freeAll ends the places of a call whose decision is not known.
func (s *sender) freeAll(asks []Ask) {
	for i := range asks {
		if asks[i].Kind == Places {
			s.free(asks[i].Key, asks[i].Place, nil)
		}
	}
}

// run sends until ctx ends, and then what is there.
func (s *sender) run(ctx context.Context) {
	tick := time.NewTicker(holdEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.flush(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			if !s.health.isUp() {
				s.forgetCounts()
				continue
			}
			s.send(ctx, s.holds())
			s.flush(ctx) // what waited for the counts to work
		case <-s.wake:
			if s.health.isUp() {
				s.flush(ctx)
			}
		}
	}
}

// flush sends what waits.
func (s *sender) flush(ctx context.Context) {
	changes, places := s.take()
	if !s.send(ctx, changes) {
		return
	}
	for _, p := range places {
		if p.entry != nil {
			p.entry.freed(p.place)
		}
	}
}

// freed forgets places that were freed.
func (e *entry) freed(places ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = slices.DeleteFunc(e.ended, func(p string) bool { return slices.Contains(places, p) })
}

// take empties what waits.
func (s *sender) take() ([]change, []ended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := make([]change, 0, len(s.charges)+len(s.totals)+len(s.ended))
	for _, waiting := range []map[string]change{s.charges, s.totals} {
		for _, c := range waiting {
			changes = append(changes, c)
		}
		clear(waiting)
	}
	for _, p := range s.ended {
		changes = append(changes, change{Change{Kind: Free, Key: p.key, Place: p.place}, nil})
	}
	places := s.ended
	s.ended = nil
	return changes, places
}

// holds are what lets the places of calls under way last on.
func (s *sender) holds() []change {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := make([]change, 0, len(s.held))
	for h := range s.held {
		changes = append(changes, change{Change{Kind: Hold, Key: h.key, Place: h.place, Lifetime: lifetime}, nil})
	}
	return changes
}

// send sends changes, in their order, and reports whether all were applied. What is
// not known to have been applied is not sent again, so that what is on its way when ctx
// ends arrives.
func (s *sender) send(ctx context.Context, changes []change) bool {
	for some := range slices.Chunk(changes, mostSent) {
		bare := make([]Change, len(some))
		for i, c := range some {
			if bare[i] = c.Change; c.entry != nil {
				bare[i].Known = c.entry.has()
			}
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), mostWait)
		charged, err := s.counters.Apply(bounded, bare)
		cancel()
		s.health.note(err, false) // what is freed, or counted of what is gone, writes nothing
		if err != nil {
			return false
		}
		for i, c := range some {
			if c.entry != nil {
				c.entry.had(charged[i])
			}
		}
	}
	return true
}
