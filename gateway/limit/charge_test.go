package limit_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/test/redistest"
)

// TestCostsAreChargedAfterTheRun holds that calls are admitted while there is more than
// none, and that each is charged what it turned out to cost, once: on a clock that
// stands still the bucket owes exactly that.
func TestCostsAreChargedAfterTheRun(t *testing.T) {
	t.Parallel()
	used := infer.Usage{Rows: 10, Elements: 1000, Compute: 30 * time.Millisecond}
	for cost, n := range map[limit.Cost]float64{limit.Rows: 10, limit.Elements: 1000, limit.Compute: 30} {
		for _, callers := range []int{1, 4, 16} {
			t.Run(fmt.Sprintf("%s, %d at once", cost, callers), func(t *testing.T) {
				t.Parallel()
				m := miniredis.RunT(t)
				m.SetTime(time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC))
				rule := limit.Rule{Name: "a", Rate: n / 1e6, Burst: n * 50.5, Cost: cost}
				r := start(t, "redis://"+m.Addr(), limit.Closed, rule)
				var admitted atomic.Int64
				var calls sync.WaitGroup
				for range callers {
					calls.Go(func() {
						for {
							g, err := r.Admit(t.Context(), of("a"))
							if err != nil {
								return
							}
							g.Done(used)
							admitted.Add(1)
						}
					})
				}
				calls.Wait()
				if admitted.Load() < 51 {
					t.Errorf("%d calls were admitted, want 51 at least", admitted.Load())
				}
				r.kill() // which sends the last charges
				fresh := start(t, "redis://"+m.Addr(), limit.Closed, rule)
				_, why := fresh.refused(t, of("a"), problem.RateLimited)
				owed := float64(admitted.Load()) - 50.5 // of the calls' cost each
				if want := time.Duration(math.Round(owed*1e6))*time.Second + time.Second; why.RetryAfter != want {
					t.Errorf("%d calls of 50.5: come again in %v, want %v", admitted.Load(), why.RetryAfter, want)
				}
			})
		}
	}
}

// TestWhatAnOutageUsedIsChargedOnce holds that what calls took while Redis was away is
// charged with the first call that it decides on again, once.
func TestWhatAnOutageUsedIsChargedOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rule := limit.Rule{Name: "rows", Rate: 1e-6, Burst: 10_000, Cost: limit.Rows}
	r := start(t, server.URL(), limit.Open, rule)
	if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
		t.Fatal(err)
	}
	server.Pause(t)
	await(func() bool { return r.Trouble() != "" })
	for range 6 {
		if _, err := r.admit(t, of("a"), infer.Usage{Rows: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	server.Resume(t)
	await(func() bool { return r.Trouble() == "" })
	has := func(r *replica) string {
		t.Helper()
		g, err := r.admit(t, of("a"), infer.Usage{})
		if err != nil {
			t.Fatal(err)
		}
		left, _, _ := strings.Cut(g.Header().Get("RateLimit"), ";t=")
		return left
	}
	var got []string
	for range 3 {
		got = append(got, has(r))
	}
	r.kill()
	got = append(got, has(start(t, server.URL(), limit.Open, rule)))
	const want = `"rows";r=4000`
	if diff := cmp.Diff([]string{want, want, want, want}, got); diff != "" {
		t.Errorf("6,000 of 10,000 rows were used: -want +got:\n%s", diff)
	}
}

// late are counts whose first answer comes when it is let go, and which note what is
// known of a bucket when they are asked.
type late struct {
	willing

	asked atomic.Int64
	held  chan struct{} // closed when the first call is asked for
	let   chan struct{}
	known chan *limit.Known
}

func (l *late) Decide(_ context.Context, asks []limit.Ask) (*limit.Decision, error) {
	if asks[0].Key == "probe" {
		return &limit.Decision{Admitted: true, Answers: []limit.Answer{{Admits: true}}}, nil
	}
	n := l.asked.Add(1)
	if n == 1 {
		close(l.held)
		<-l.let
	}
	l.known <- asks[0].Known
	return &limit.Decision{Admitted: true, Answers: []limit.Answer{{Admits: true, Left: float64(100 - n)}}, At: n}, nil
}

// TestAnOlderAnswerReplacesNoNewerOne holds that what is known of a bucket is the newest
// by the counts' clock, in whichever order answers come.
func TestAnOlderAnswerReplacesNoNewerOne(t *testing.T) {
	t.Parallel()
	counters := &late{held: make(chan struct{}), let: make(chan struct{}), known: make(chan *limit.Known, 3)}
	l, err := limit.New(counters, &ledger{counts: map[string]int64{}}, "r", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Use([]limit.Rule{{Name: "a", Rate: 1, Burst: 100, Cost: limit.Rows}}, limit.Closed)
	admit := func() {
		if _, err := l.Admit(t.Context(), of("a")); err != nil {
			t.Error(err)
		}
	}
	var first sync.WaitGroup
	first.Go(admit)
	<-counters.held
	admit()
	close(counters.let)
	first.Wait()
	admit()
	close(counters.known)
	var got []*limit.Known
	for k := range counters.known {
		got = append(got, k)
	}
	if diff := cmp.Diff([]*limit.Known{nil, nil, {Left: 98, At: 2}}, got); diff != "" {
		t.Errorf("what calls know: -want +got:\n%s", diff)
	}
}
