package limit_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/limit"
)

// lender are counts that admit every call and lease what is wanted, but for calls of a
// lease that is to be replaced while it is held.
type lender struct {
	asked   atomic.Int64
	holds   atomic.Bool
	holding chan struct{} // a call is held
	release chan int64    // what it is leased
	mu      sync.Mutex
	charged float64
}

func (l *lender) Decide(_ context.Context, asks []limit.Ask) (*limit.Decision, error) {
	d := &limit.Decision{Admitted: true, Answers: make([]limit.Answer, len(asks))}
	for i := range asks {
		d.Answers[i] = limit.Answer{Admits: true, Left: asks[i].Burst, Leased: asks[i].Want}
	}
	if asks[0].Key == "probe" {
		return d, nil
	}
	l.mu.Lock()
	l.charged += asks[0].Owed
	l.mu.Unlock()
	l.asked.Add(1)
	if asks[0].Back > 0 && l.holds.CompareAndSwap(true, false) {
		l.holding <- struct{}{}
		d.Answers[0].Leased = <-l.release
	}
	return d, nil
}

func (l *lender) Apply(_ context.Context, changes []limit.Change) ([]limit.Known, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		l.charged += c.Amount
	}
	return make([]limit.Known, len(changes)), nil
}

// TestOneCallAsksForTheNextLease holds that others go on by what is left meanwhile, and
// that it is charged where the next lease does not have it.
func TestOneCallAsksForTheNextLease(t *testing.T) {
	t.Parallel()
	const meanwhile = 10
	for name, tc := range map[string]struct{ leased, charged int64 }{
		"that has it":      {500, 0},
		"that has a part":  {4, meanwhile - 4},
		"that has nothing": {0, meanwhile},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			counts := &lender{holding: make(chan struct{}), release: make(chan int64)}
			l, err := limit.New(counts, &ledger{counts: map[string]int64{}}, "r", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			l.Use([]limit.Rule{{Name: "a", Rate: 1e5, Burst: 1e5, Cost: limit.Requests}}, limit.Closed)
			var running sync.WaitGroup
			defer running.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			running.Go(func() { l.Run(ctx) })
			admit := func() {
				if _, err := l.Admit(t.Context(), of("a")); err != nil {
					t.Error(err)
				}
			}
			for range 2000 { // until leases are large
				admit()
			}
			counts.holds.Store(true)
			running.Go(func() {
				for counts.holds.Load() {
					admit()
				}
			})
			<-counts.holding
			before := counts.asked.Load()
			for range meanwhile {
				admit()
			}
			if after := counts.asked.Load(); after != before {
				t.Errorf("%d of %d calls asked", after-before, meanwhile)
			}
			counts.release <- tc.leased
			var charged float64
			await(func() bool {
				counts.mu.Lock()
				defer counts.mu.Unlock()
				charged = counts.charged
				return charged >= float64(tc.charged)
			})
			if charged != float64(tc.charged) {
				t.Errorf("%v were charged, want %d", charged, tc.charged)
			}
		})
	}
}
