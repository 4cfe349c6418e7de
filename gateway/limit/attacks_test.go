package limit_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/test/redistest"
)

// willing are counts that admit everything, and note what is applied.
type willing struct {
	mu      sync.Mutex
	applied []limit.Change
}

func (*willing) Decide(_ context.Context, asks []limit.Ask) (*limit.Decision, error) {
	d := &limit.Decision{Admitted: true, Answers: make([]limit.Answer, len(asks))}
	for i := range d.Answers {
		d.Answers[i] = limit.Answer{Admits: true, Left: 5}
	}
	return d, nil
}

func (w *willing) Apply(_ context.Context, changes []limit.Change) ([]limit.Known, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = append(w.applied, changes...)
	return make([]limit.Known, len(changes)), nil
}

// TestEachPlaceOfACallIsHeld holds that a call of two limits keeps its place in both.
func TestEachPlaceOfACallIsHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		counters := &willing{}
		l, err := limit.New(counters, &ledger{counts: map[string]int64{}}, "r", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		l.Use([]limit.Rule{twoAtOnce, {Name: "many", Concurrency: 50, Cost: limit.Requests}}, limit.Closed)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.Run(ctx) })
		defer running.Wait()
		defer cancel()
		g, err := l.Admit(ctx, of("a"))
		if err != nil {
			t.Fatal(err)
		}
		count := func(kind limit.ChangeKind) int {
			counters.mu.Lock()
			defer counters.mu.Unlock()
			var keys []string
			for _, c := range counters.applied {
				if c.Kind == kind && !slices.Contains(keys, c.Key) {
					keys = append(keys, c.Key)
				}
			}
			return len(keys)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := count(limit.Hold); n != 2 {
			t.Errorf("%d of two places are held", n)
		}
		g.Done(infer.Usage{})
		synctest.Wait()
		if n := count(limit.Free); n != 2 {
			t.Errorf("%d of two places are freed", n)
		}
	})
}

// TestAFloodTurnsNothingOff holds that a tenant without quota, however many they call
// with, is refused, and that no other one's limits go.
func TestAFloodTurnsNothingOff(t *testing.T) {
	t.Parallel()
	r := start(t, redistest.Start(t).URL(), limit.Open, limit.Rule{Name: "q", Per: []limit.By{limit.ByTenant}, Quota: 1, Period: limit.Month, Cost: limit.Requests})
	if _, err := r.admit(t, of("x"), infer.Usage{}); err != nil {
		t.Fatal(err)
	}
	var admitted atomic.Int64
	var calls sync.WaitGroup
	for range 5000 {
		calls.Go(func() {
			for range 3 {
				if _, err := r.Admit(t.Context(), of("x")); err == nil {
					admitted.Add(1)
				}
			}
		})
	}
	calls.Wait()
	if n := admitted.Load(); n > 0 || r.Trouble() != "" {
		t.Errorf("%d calls over the quota were admitted; %q", n, r.Trouble())
	}
}

func TestOfSeveralLimitsTheLongestAnswers(t *testing.T) {
	t.Parallel()
	r := start(t, redistest.Start(t).URL(), limit.Closed,
		limit.Rule{Name: "rate", Rate: 0.1, Burst: 1, Cost: limit.Requests},
		limit.Rule{Name: "daily", Quota: 1, Period: limit.Month, Cost: limit.Requests})
	if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the later ones by what is remembered
		if _, why := r.refused(t, of("a"), problem.QuotaExceeded); why.Limit != "daily" {
			t.Errorf("%+v", why)
		}
	}
}

// TestAQuotaThatReportsSaysWhatIsLeft holds that, and that it refuses nothing while Redis
// is gone.
func TestAQuotaThatReportsSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := start(t, server.URL(), limit.Closed, limit.Rule{Name: "q", Quota: 10, Period: limit.Month, Report: true, Cost: limit.Requests})
	g, err := r.admit(t, of("a"), infer.Usage{})
	if err != nil || !strings.HasPrefix(g.Header().Get("RateLimit"), `"q";r=9;`) {
		t.Errorf("%v, %v", g.Header(), err)
	}
	server.Kill(t)
	await(func() bool { return r.Trouble() != "" })
	if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
		t.Error(err)
	}
}

// TestAQuotaIsCountedOnce holds that what was used while Redis was gone is counted once,
// in a Redis that comes back empty.
func TestAQuotaIsCountedOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := start(t, server.URL(), limit.Open, limit.Rule{Name: "daily", Quota: 1000, Period: limit.Day, Cost: limit.Rows})
	if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
		t.Fatal(err)
	}
	server.Pause(t)
	await(func() bool { return r.Trouble() != "" })
	for range 10 {
		if _, err := r.admit(t, of("a"), infer.Usage{Rows: 10}); err != nil {
			t.Fatal(err)
		}
	}
	server.Resume(t)
	if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	await(func() bool { return r.Trouble() == "" })
	for range 3 {
		g, err := r.admit(t, of("a"), infer.Usage{})
		if err != nil || !strings.HasPrefix(g.Header().Get("RateLimit"), `"daily";r=900;`) {
			t.Errorf("100 rows were used: %v, %v", g.Header(), err)
		}
	}
}

// TestAnEmptyRedisForgivesNothing holds that of debts and of places.
func TestAnEmptyRedisForgivesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := start(t, server.URL(), limit.Closed, limit.Rule{Name: "rows", Match: limit.Match{Tenant: "a"}, Rate: 1, Burst: 10, Cost: limit.Rows},
		limit.Rule{Name: "one", Match: limit.Match{Tenant: "b"}, Concurrency: 1, Cost: limit.Requests})
	if _, err := r.admit(t, of("a"), infer.Usage{Rows: 1000}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Admit(t.Context(), of("b")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		r.refused(t, of("b"), problem.RateLimited)
	}
	await(func() bool {
		_, err := r.Admit(t.Context(), of("a"))
		return err != nil
	})
	if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	r.refused(t, of("a"), problem.RateLimited)
}

// TestAClockThatWasAheadStopsNothing holds that what a clock of an hour later left is
// taken as of now.
func TestAClockThatWasAheadStopsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rules := []limit.Rule{
		{Name: "rate", Match: limit.Match{Tenant: "a"}, Rate: 20, Burst: 1, Cost: limit.Requests},
		{Name: "one", Match: limit.Match{Tenant: "b"}, Concurrency: 1, Cost: limit.Requests},
		{Name: "daily", Match: limit.Match{Tenant: "c"}, Quota: 3, Period: limit.Day, Cost: limit.Requests},
	}
	r := start(t, server.URL(), limit.Closed, rules...)
	for _, tenant := range []string{"a", "c", "c", "c"} {
		if _, err := r.admit(t, of(tenant), infer.Usage{}); err != nil {
			t.Fatal(err)
		}
	}
	place, err := r.Admit(t.Context(), of("b"))
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour).UnixMicro()
	for prefix, put := range map[string]func(key string) error{
		"b:rate:": func(key string) error {
			return server.Client().Set(t.Context(), key, fmt.Sprintf("0e0 %d", later), time.Hour).Err()
		},
		"c:one:": func(key string) error {
			return server.Client().Do(t.Context(), "ZADD", key, later, "pdead.other").Err()
		},
		"q:daily:": func(key string) error { return server.Client().Set(t.Context(), key, "2036-01-01 0", time.Hour).Err() },
	} {
		keys, err := server.Client().Keys(t.Context(), "{test}:"+prefix+"*").Result()
		if err != nil || len(keys) != 1 {
			t.Fatalf("%s: %v, %v", prefix, keys, err)
		}
		if err := put(keys[0]); err != nil {
			t.Fatal(err)
		}
	}
	place.Done(infer.Usage{})
	for _, tenant := range []string{"a", "b"} {
		await(func() bool {
			_, err := r.admit(t, of(tenant), infer.Usage{})
			return err == nil
		})
	}
	r.refused(t, of("c"), problem.QuotaExceeded)
}

// TestAnotherCostIsAnotherCount holds that a rule whose cost or period changes under its
// name carries on nothing of another unit, and forgets nothing of its own.
func TestAnotherCostIsAnotherCount(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := start(t, server.URL(), limit.Closed, limit.Rule{Name: "b", Rate: 1, Burst: 10, Cost: limit.Elements})
	if _, err := r.admit(t, of("a"), infer.Usage{Elements: 1_000_000}); err != nil {
		t.Fatal(err)
	}
	await(func() bool {
		_, err := r.Admit(t.Context(), of("a"))
		return err != nil
	})
	r.Use([]limit.Rule{{Name: "b", Rate: 1, Burst: 10, Cost: limit.Requests}}, limit.Closed)
	if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
		t.Error(err)
	}
	for _, rule := range []limit.Rule{
		{Name: "q", Quota: 10, Period: limit.Day, Cost: limit.Requests}, {Name: "q", Quota: 10, Period: limit.Month, Cost: limit.Requests},
	} {
		r.Use([]limit.Rule{rule}, limit.Closed)
		for n := range 3 {
			g, err := r.admit(t, of("a"), infer.Usage{})
			if want := fmt.Sprintf(`"q";r=%d;`, 9-n); err != nil || !strings.HasPrefix(g.Header().Get("RateLimit"), want) {
				t.Errorf("%v, %v; want %s", g.Header(), err, want)
			}
			if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
