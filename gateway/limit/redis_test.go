package limit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/test/netfault"
	"github.com/modelserveai/modelserve/test/redistest"
)

// TestRedisGone holds what limits do while Redis is refused or black-holed, and that it
// is noticed, said and ends by itself.
func TestRedisGone(t *testing.T) {
	t.Parallel()
	for _, down := range []limit.Down{limit.Closed, limit.Open} {
		for _, hang := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, hanging %v", down, hang), func(t *testing.T) {
				t.Parallel()
				server := redistest.Start(t)
				proxy := netfault.NewProxy(t, server.Addr)
				r := start(t, strings.Replace(server.URL(), server.Addr, proxy.Address(), 1), down, perTenant, twoAtOnce)
				if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
					t.Fatal(err)
				}
				if hang {
					proxy.Hang(true)
				} else {
					server.Kill(t)
				}
				await(func() bool { return r.Trouble() != "" }) // also while nobody calls
				if !strings.Contains(r.log.String(), "cannot be reached") {
					t.Errorf("the log has %s", r.log.String())
				}
				for range 100 {
					g, err := r.admit(t, of("a"), infer.Usage{})
					switch {
					case down == limit.Open && (err != nil || g.Header().Get("RateLimit") != ""):
						t.Fatalf("%v, %v", err, g.Header())
					case down == limit.Closed && (problem.CodeOf(err) != problem.Unavailable || problem.From(err).RetryAfter != time.Second):
						t.Fatal(err)
					}
				}
				if hang {
					proxy.Hang(false)
				} else {
					server.Restart(t)
				}
				await(func() bool { return r.Trouble() == "" })
				for range 2 {
					if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
						t.Fatal(err)
					}
				}
				r.refused(t, of("a"), problem.RateLimited)
			})
		}
	}
}

// TestRedisThatTakesNoWritesIsNoticed holds that it is, also while calls are refused in a
// loop, which writes nothing and works.
func TestRedisThatTakesNoWritesIsNoticed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ stop, start []any }{
		"no memory":  {[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}},
		"a read one": {[]any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			r := start(t, server.URL(), limit.Closed, perTenant, twoAtOnce)
			for range 3 {
				if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := server.Client().Do(t.Context(), tc.stop...).Err(); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			var calls sync.WaitGroup
			defer calls.Wait()
			defer stop()
			for range 4 {
				calls.Go(func() {
					for ctx.Err() == nil {
						if _, err := r.Admit(ctx, of("a")); err == nil {
							t.Error("a call was admitted")
						}
					}
				})
			}
			await(func() bool { return r.Trouble() != "" })
			if err := server.Client().Do(t.Context(), tc.start...).Err(); err != nil {
				t.Fatal(err)
			}
			await(func() bool { return r.Trouble() == "" })
		})
	}
}

// failing are counts whose probes fail while failing, and which refuse all calls.
type failing struct {
	willing

	fails atomic.Bool
}

func (f *failing) Decide(_ context.Context, asks []limit.Ask) (*limit.Decision, error) {
	if f.fails.Load() && asks[0].Key == "probe" {
		return nil, errors.New("OOM command not allowed")
	}
	return &limit.Decision{Admitted: asks[0].Key == "probe", Answers: make([]limit.Answer, len(asks))}, nil
}

// TestTwoProbesThatFailSuffice holds that calls which were refused between them, and
// charges that were sent, do not clear the first, nor end what two of them began.
func TestTwoProbesThatFailSuffice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		counters := &failing{}
		l, err := limit.New(counters, &ledger{counts: map[string]int64{}}, "r", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		l.Use([]limit.Rule{perTenant}, limit.Open)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.Run(ctx) })
		defer running.Wait()
		defer cancel()
		synctest.Wait()
		for _, fails := range []bool{true, false} {
			counters.fails.Store(fails)
			for range 40 { // of 10 ms: two probes fall within
				_, _ = l.Admit(ctx, of("a"))
				l.Raised("daily", "of-nobody", limit.Total{Period: "2026-11", Count: 1})
				time.Sleep(10 * time.Millisecond)
				synctest.Wait()
			}
			if down := l.Trouble() != ""; down != fails {
				t.Errorf("probes fail: %v; down: %v", fails, down)
			}
		}
	})
}

// TestRedisThatLostAllGivesNothingTwice holds that a bucket of a Redis that begins anew
// has no more than its gateways know that it has.
func TestRedisThatLostAllGivesNothingTwice(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := start(t, server.URL(), limit.Closed, perTenant)
	for range 3 {
		if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	r.refused(t, of("a"), problem.RateLimited)
}

// TestWhatIsKnownOfABucketTakesNothing holds that a bucket fills by Redis' clock alone,
// however long answers take, and that a call which another limit refused leaves it.
func TestWhatIsKnownOfABucketTakesNothing(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	now := time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)
	m.SetTime(now)
	r := start(t, "redis://"+m.Addr(), limit.Closed,
		limit.Rule{Name: "wide", Rate: 1, Burst: 2, Cost: limit.Requests},
		limit.Rule{Name: "narrow", Match: limit.Match{Tenant: "a"}, Rate: 0.001, Burst: 1, Cost: limit.Requests})
	for _, tenant := range []string{"a", "b"} {
		if _, err := r.admit(t, of(tenant), infer.Usage{}); err != nil {
			t.Fatal(err)
		}
	}
	m.SetTime(now.Add(2 * time.Second))
	r.refused(t, of("a"), problem.RateLimited)
	for range 2 {
		if _, err := r.admit(t, of("b"), infer.Usage{}); err != nil {
			t.Error(err)
		}
	}
}

// gone are counts that cannot be reached, and how often they were asked.
type gone struct{ asked atomic.Int64 }

func (g *gone) Decide(ctx context.Context, _ []limit.Ask) (*limit.Decision, error) {
	g.asked.Add(1)
	<-ctx.Done() // a black hole
	return nil, ctx.Err()
}

func (g *gone) Apply(ctx context.Context, _ []limit.Change) ([]limit.Known, error) {
	g.asked.Add(1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestNobodyWaitsForWhatIsKnownToBeGone holds that it is known within a second, that no
// call asks or waits from then on, and that what calls took is kept.
func TestNobodyWaitsForWhatIsKnownToBeGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		counters := &gone{}
		l, err := limit.New(counters, &ledger{counts: map[string]int64{}}, "r", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		l.Use([]limit.Rule{perTenant, {Name: "rows", Rate: 1, Burst: 10, Cost: limit.Rows}, twoAtOnce}, limit.Open)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.Run(ctx) })
		defer running.Wait()
		defer cancel()
		began := time.Now()
		for range 100 { // at once: all wait for the same
			running.Go(func() {
				if _, err := l.Admit(ctx, of("a")); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("a call waited for %v", took)
				}
			})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if l.Trouble() == "" {
			t.Error("nothing is known after a second")
		}
		asked, began := counters.asked.Load(), time.Now()
		for range 1000 {
			g, err := l.Admit(ctx, of("a"))
			if err != nil {
				t.Fatal(err)
			}
			g.Done(infer.Usage{Rows: 3})
		}
		if took := time.Since(began); took > 0 || counters.asked.Load() > asked {
			t.Errorf("a thousand calls waited for %v, and asked %d times", took, counters.asked.Load()-asked)
		}
	})
}

// TestLimitsOutliveTheirGateways holds that a gateway that starts anew gives nothing
// twice, and that two Redis are two counts.
func TestLimitsOutliveTheirGateways(t *testing.T) {
	t.Parallel()
	one, other := redistest.Start(t), redistest.Start(t)
	rules := []limit.Rule{perTenant, {Name: "another", Per: perTenant.Per, Rate: 0.001, Burst: 2, Cost: limit.Requests}}
	for n, want := range []int{2, 0} { // the second gateway finds what the first left
		r := start(t, one.URL(), limit.Closed, rules...)
		admitted := 0
		for range 4 {
			if _, err := r.admit(t, of("a"), infer.Usage{}); err == nil {
				admitted++
			}
		}
		if admitted != want {
			t.Errorf("gateway %d admits %d, want %d", n, admitted, want)
		}
		r.kill()
	}
	r := start(t, one.URL(), limit.Closed, perTenant)
	if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
		t.Errorf("one of the first limit's is left: %v", err)
	}
	r = start(t, other.URL(), limit.Closed, rules...)
	if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
		t.Errorf("another Redis: %v", err)
	}
}
