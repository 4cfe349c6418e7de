package auth

import (
	"context"
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"
)

// How much failed attempts are slowed. They stay failures, a good credential is
// never held up, and nobody is refused for where they come from.
const (
	delayStep    = 10 * time.Millisecond // for each recent failure
	longestDelay = 250 * time.Millisecond
	forgiven     = time.Second // one failure is forgotten in it
	mostFailures = 100         // remembered of one source
	mostDelayed  = 1000        // at once; more are answered without a delay
	sources      = 4096        // remembered; two that share a place forget each other
)

// Throttle slows failed attempts by where they come from.
type Throttle struct {
	seed    maphash.Seed
	delayed chan struct{}

	mu     sync.Mutex
	places [sources]failures
}

type failures struct {
	source netip.Prefix
	count  float64
	at     time.Time
}

// NewThrottle makes a Throttle that knows of no failure.
func NewThrottle() *Throttle {
	return &Throttle{seed: maphash.MakeSeed(), delayed: make(chan struct{}, mostDelayed)}
}

// Failed notes a failed attempt from an address and holds its answer up: 10 ms for
// each recent one, at most 250 ms, less when ctx ends.
func (t *Throttle) Failed(ctx context.Context, from netip.Addr) {
	select {
	case t.delayed <- struct{}{}:
		defer func() { <-t.delayed }()
	default:
		_ = t.note(from, time.Now())
		return
	}
	timer := time.NewTimer(t.note(from, time.Now()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// note counts a failure and returns what it is slowed by.
func (t *Throttle) note(from netip.Addr, now time.Time) time.Duration {
	source := sourceOf(from)
	t.mu.Lock()
	defer t.mu.Unlock()
	f := &t.places[maphash.Comparable(t.seed, source)%sources]
	if f.source != source {
		*f = failures{source: source}
	}
	f.count = max(0, f.count-now.Sub(f.at).Seconds()/forgiven.Seconds())
	f.count, f.at = min(f.count+1, mostFailures), now
	return min(time.Duration(math.Ceil(f.count))*delayStep, longestDelay)
}

// sourceOf is what counts as one source: an address of IPv4, and of IPv6 the network
// that one customer has.
func sourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil { // no address
		return netip.Prefix{}
	}
	return p
}
