package limit_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/test/netfault"
	"github.com/modelserveai/modelserve/test/redistest"
)

// watched are counts which note how many calls they refused.
type watched struct {
	limit.Counters

	refused atomic.Int64
}

func (w *watched) Decide(ctx context.Context, asks []limit.Ask) (*limit.Decision, error) {
	d, err := w.Counters.Decide(ctx, asks)
	if err == nil && !d.Admitted {
		w.refused.Add(1)
	}
	return d, err
}

// exact is a replica whose calls are counted.
type exact struct {
	*limit.Limiter

	counts   *watched
	admitted atomic.Int64
}

func newExact(t *testing.T, url string, rules ...limit.Rule) *exact {
	t.Helper()
	name := fmt.Sprintf("r%d", replicas.Add(1))
	counters, err := redislimit.Open(url, "test", name)
	if err != nil {
		t.Fatal(err)
	}
	e := &exact{counts: &watched{Counters: counters}}
	if e.Limiter, err = limit.New(e.counts, &ledger{counts: map[string]int64{}}, name, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	e.Use(rules, limit.Closed)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = counters.Close()
	})
	return e
}

// exhaust calls until the counts refuse, which is not remembered from before.
func (e *exact) exhaust(t *testing.T) {
	t.Helper()
	for before := e.counts.refused.Load(); e.counts.refused.Load() == before; {
		switch g, err := e.Admit(t.Context(), of("a")); problem.CodeOf(err) {
		case "":
			g.Done(infer.Usage{})
			e.admitted.Add(1)
		case problem.RateLimited, problem.Unavailable: // of a Redis that is being replaced
		default:
			t.Error(err)
			return
		}
	}
}

// exhaustAll has replicas call at once until each is refused, and returns how many calls
// they admitted until now.
func exhaustAll(t *testing.T, all ...*exact) (admitted int64) {
	t.Helper()
	var calls sync.WaitGroup
	for _, e := range all {
		calls.Go(func() { e.exhaust(t) })
	}
	calls.Wait()
	for _, e := range all {
		admitted += e.admitted.Load()
	}
	return admitted
}

// TestReplicasTogetherKeepARate holds that three replicas whose callers are refused again
// and again admit what the rate allows, by Redis' clock: no more, and of a rate with
// leases 1% less at most, where one of them was held for too long.
func TestReplicasTogetherKeepARate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rule limit.Rule
		step time.Duration
		part float64 // of what is allowed
	}{
		{limit.Rule{Name: "small", Rate: 50, Burst: 10, Cost: limit.Requests}, 100 * time.Millisecond, 1},
		{limit.Rule{Name: "slow", Rate: 0.5, Burst: 1, Cost: limit.Requests}, 2 * time.Second, 1},
		{limit.Rule{Name: "large", Rate: 100, Burst: 400, Cost: limit.Requests}, 100 * time.Millisecond, 0.99},
		{limit.Rule{Name: "filling", Rate: 1000, Burst: 400, Cost: limit.Requests}, 300 * time.Millisecond, 0.99}, // above half
	} {
		t.Run(tc.rule.Name, func(t *testing.T) {
			t.Parallel()
			m := miniredis.RunT(t)
			now := time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)
			m.SetTime(now)
			var all []*exact
			for range 3 {
				all = append(all, newExact(t, "redis://"+m.Addr(), tc.rule))
			}
			for step := range 10 {
				want := tc.rule.Burst + math.Round(tc.rule.Rate*tc.step.Seconds()*float64(step))
				if got := float64(exhaustAll(t, all...)); got > want || got < want*tc.part {
					t.Fatalf("step %d: %v calls were admitted, want %v to %v", step, got, want*tc.part, want)
				}
				now = now.Add(tc.step)
				m.SetTime(now)
			}
		})
	}
}

// TestAFailoverGivesTheLastSecondAtMost holds that a Redis which lost the last second's
// writes gives nothing to replicas that asked in it, but for what may be leased, and that
// with others all have no more than rate and burst allow and what was given in it.
func TestAFailoverGivesTheLastSecondAtMost(t *testing.T) {
	t.Parallel()
	small := limit.Rule{Name: "small", Rate: 50, Burst: 50, Cost: limit.Requests}
	large := limit.Rule{Name: "large", Rate: 300, Burst: 400, Cost: limit.Requests} // leases
	for name, tc := range map[string]struct {
		rule      limit.Rule
		idleFirst bool
	}{
		"small": {small, false}, "small, one that was idle first": {small, true},
		"large": {large, false}, "large, one that was idle first": {large, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary, other := miniredis.RunT(t), miniredis.RunT(t)
			proxy := netfault.NewProxy(t, primary.Addr())
			now := time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)
			primary.SetTime(now)
			var all []*exact
			for range 3 {
				all = append(all, newExact(t, "redis://"+proxy.Address(), tc.rule))
			}
			asking, idle := all[:2], all[2:]
			exhaustAll(t, all...)
			for _, key := range primary.Keys() { // as it was a second ago
				text, err := primary.Get(key)
				if err == nil {
					err = other.Set(key, text)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			now = now.Add(time.Second)
			primary.SetTime(now)
			other.SetTime(now)
			known := exhaustAll(t, asking...)
			proxy.Redirect(other.Addr())
			if tc.idleFirst {
				before := idle[0].admitted.Load()
				if exhaustAll(t, idle...) == before {
					t.Error("nothing was lost")
				}
			}
			if more := exhaustAll(t, asking...) - known; more > int64(tc.rule.Burst)/100 { // what may be leased
				t.Errorf("replicas that know are given %d calls more", more)
			}
			if got, most := exhaustAll(t, all...), tc.rule.Burst+2*tc.rule.Rate; float64(got) > most {
				t.Errorf("%d calls were admitted, want %v at most", got, most)
			}
		})
	}
}

// TestABlackHoleLeavesMemoryFlat holds that calls which go on while Redis is a black hole
// leave nothing more behind than the first ones did, and that nothing of it is left
// afterwards. It is not parallel: it counts what the process has.
func TestABlackHoleLeavesMemoryFlat(t *testing.T) { //nolint:paralleltest // as above
	before := runtime.NumGoroutine()
	t.Run("while it lasts", func(t *testing.T) { //nolint:paralleltest // as above
		server := redistest.Start(t)
		r := start(t, server.URL(), limit.Open, perTenant, twoAtOnce,
			limit.Rule{Name: "rows", Per: []limit.By{limit.ByTenant}, Rate: 1, Burst: 10, Cost: limit.Rows},
			limit.Rule{Name: "daily", Per: []limit.By{limit.ByTenant}, Quota: 1000, Period: limit.Day, Cost: limit.Rows})
		tenants := func(of int) {
			var calls sync.WaitGroup
			for caller := range 64 {
				calls.Go(func() {
					for n := caller; n < of; n += 64 {
						if _, err := r.admit(t, ofTenant(n), infer.Usage{Rows: 3}); err != nil && problem.CodeOf(err) != problem.Overloaded {
							t.Error(err)
						}
					}
				})
			}
			calls.Wait()
		}
		tenants(64)
		server.Pause(t) // connections are accepted, and nothing is answered
		tenants(1000)   // until it is noticed
		await(func() bool { return r.Trouble() != "" })
		tenants(15_000) // more than is remembered, and than waits to be sent
		goroutines, heap := has()
		for range 4 {
			tenants(15_000)
		}
		if g, h := has(); g > goroutines+16 || h > heap+2<<20 {
			t.Errorf("60,000 calls grow %d goroutines to %d, and %d bytes to %d", goroutines, g, heap, h)
		}
		if mostGoroutines := before + 300; goroutines > mostGoroutines {
			t.Errorf("%d goroutines, want %d at most", goroutines, mostGoroutines)
		}
		server.Resume(t)
		await(func() bool { return r.Trouble() == "" })
		if g, err := r.admit(t, of("another"), infer.Usage{}); err != nil || g.Header().Get("RateLimit") == "" {
			t.Errorf("afterwards: %v, %v", g.Header(), err)
		}
	})
	await(func() bool { return runtime.NumGoroutine() <= before })
}

func ofTenant(n int) *limit.Subject { return of(fmt.Sprint("tenant", n)) }

// has is what the process has: goroutines, and bytes that are in use.
func has() (goroutines int, heap uint64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}
