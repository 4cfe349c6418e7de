package batch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

func TestAFullQueueWaitsForNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(time.Millisecond, 0)}
		_, q := newQueue(t, 1, 4, f, func(m *Model) { m.MaxRows, m.MaxDelay = 64, time.Hour })
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if _, err := ask(t.Context(), t, q, request("", float32(i))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took > time.Second {
			t.Errorf("a full queue waited %v for more", took)
		}
	})
}

func TestFullQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(0, 10*time.Second)}
		_, q := newQueue(t, 1, 4, f, func(m *Model) { m.Points = points(f.cost, 1) })
		for range 2 { // the first run of a shape is not learned from
			if _, err := ask(t.Context(), t, q, request("", 1)); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		errs := map[string]*atomic.Int32{"flood": {}, "light": {}}
		send := func(tenant string, v float32) {
			wg.Go(func() {
				_, err := ask(t.Context(), t, q, request(tenant, v))
				if err == nil {
					return
				}
				errs[tenant].Add(1)
				var p *problem.Error
				if !errors.As(err, &p) || p.Code != problem.Overloaded || p.RetryAfter < 20*time.Second || p.RetryAfter > time.Minute {
					t.Errorf("%s: %v, retry after %v", tenant, err, p.RetryAfter)
				}
			})
			synctest.Wait()
		}
		for i := range 7 { // one runs, four wait, two are refused
			send("flood", float32(i))
		}
		if n := errs["flood"].Load(); n != 2 {
			t.Errorf("%d refused", n)
		}
		send("light", 1) // a flood does not fill the queue for others
		send("light", 2)
		if a, b := errs["flood"].Load(), errs["light"].Load(); a != 4 || b != 0 {
			t.Errorf("flood refused %d times, light %d", a, b)
		}
		send("light", 3) // and they have their share
		wg.Wait()
		if a, b := errs["flood"].Load(), errs["light"].Load(); a+b != 5 || b != 1 {
			t.Errorf("flood refused %d times, light %d", a, b)
		}
	})
}

// TestRefusalsOfAFloodAreHeld holds that a few refusals are returned at once, those
// of a flood when its callers were to come back, and no more of them are kept
// than the bound.
func TestRefusalsOfAFloodAreHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(time.Hour, 0)}
		_, q := newQueue(t, 1, 1, f, func(m *Model) { m.MaxRows = 1 })
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 2 { // one runs and one waits
			wg.Go(func() { _, _ = q.Run(ctx, request("", 1), []string{"y"}) })
			synctest.Wait()
		}
		var now, later atomic.Int32
		began := time.Now()
		var refused sync.WaitGroup
		for range 1000 {
			refused.Go(func() {
				_, err := q.Run(t.Context(), request("", 1), []string{"y"})
				if problem.CodeOf(err) != problem.Overloaded {
					t.Error(err)
				}
				switch time.Since(began) {
				case 0:
					now.Add(1)
				case refusalHold:
					later.Add(1)
				}
			})
		}
		refused.Wait()
		if n, l := now.Load(), later.Load(); n != 1000-maxHeld || l != maxHeld {
			t.Errorf("%d are returned at once and %d held", n, l)
		}
		cancel()
		wg.Wait()
	})
}

func waiting(q *Queue) int {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	return q.waiting
}
