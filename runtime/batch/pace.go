package batch

import (
	"context"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// pacing holds refusals of a flood back. Refusing costs a server about as much
// as reading the request did, and who is refused at once asks again at once; so
// of what is refused for a full queue only so many a second are answered at once,
// and others when they were to come back anyway. A few refusals are never held.
//
// It is under Scheduler.mu.
type pacing struct {
	tokens float64
	last   time.Time
	held   int
}

// Bounds on refusals: how many are answered at once in a second and in one moment,
// how long others are held, how many of them, and of what size, for they keep
// their memory. The experiment is in docs/batching.md, "Refusals in a flood".
const (
	refusalsRate  = 200
	refusalsBurst = 100
	refusalHold   = time.Second
	maxHeld       = 512
	maxHeldBytes  = 64 << 10
)

// hold reports whether a refusal of a request of so many bytes is to be held.
func (p *pacing) hold(now time.Time, bytes int64) bool {
	p.tokens = min(p.tokens+refusalsRate*now.Sub(p.last).Seconds(), refusalsBurst)
	p.last = now
	if p.tokens >= 1 {
		p.tokens--
		return false
	}
	if p.held >= maxHeld || bytes > maxHeldBytes {
		return false
	}
	p.held++
	return true
}

// pace waits before a refusal is returned, when there are many, for as long as the
// caller does. It is called without mu.
func (s *Scheduler) pace(ctx context.Context, inputs []infer.Tensor) {
	s.mu.Lock()
	hold := s.refusals.hold(time.Now(), size(inputs))
	s.mu.Unlock()
	if !hold {
		return
	}
	timer := time.NewTimer(refusalHold)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals.held--
}
