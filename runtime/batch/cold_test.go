package batch

import (
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gpu is a model on a GPU: rows cost as much as the next power of two, and the
// first run of each of those makes plans that the runs beside it wait for.
type gpu struct {
	mu    sync.Mutex
	ready [16]time.Time
}

const planning = 500 * time.Millisecond

func (g *gpu) cost(rows, running int) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := bits.Len(uint(rows - 1))
	if g.ready[at].IsZero() {
		g.ready[at] = time.Now().Add(planning)
	}
	whole := float64(int(1) << at)
	// As text-recognize was measured on an H100: past 8 rows it gains nothing.
	ms := (1.8 + 0.45*whole + 0.5*max(whole-8, 0)) * (0.6 + 0.1*float64(running))
	return max(time.Until(g.ready[at]), 0) + time.Duration(ms*float64(time.Millisecond))
}

// TestPlansAreNotLearned holds that runs which wait for a shape's plans, for a
// hundred times what they take later, are not taken for its cost: batches of it would
// never be tried again.
func TestPlansAreNotLearned(t *testing.T) {
	t.Parallel()
	rate := func(fixed int) float64 {
		var answers atomic.Int64
		synctest.Test(t, func(t *testing.T) {
			_, q := newQueue(t, 4, 200, &fake{cost: (&gpu{}).cost}, func(m *Model) { m.MaxRows = fixed })
			began := time.Now()
			var wg sync.WaitGroup
			for i := range 32 {
				wg.Go(func() {
					for time.Since(began) < 4*time.Second {
						if _, err := ask(t.Context(), t, q, request("", float32(i))); err != nil {
							t.Error(err)
						}
						if time.Since(began) > 2*time.Second {
							answers.Add(1)
						}
						time.Sleep(100 * time.Microsecond)
					}
				})
			}
			wg.Wait()
		})
		return float64(answers.Load())
	}
	learned := rate(0)
	best := max(rate(1), rate(2), rate(4), rate(8))
	if os.Getenv("MS_SIM") != "" {
		t.Logf("learned/best %.3f", learned/best)
	}
	if learned < 0.9*best {
		t.Errorf("learned %.0f answers, %.0f with the best fixed size", learned, best)
	}
}
