package limit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/test/redistest"
)

func (l *ledger) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *ledger) read() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

// TestAQuotaThatCannotBeReadIsAllThatGoes holds that a call's other limits decide as ever
// where calls are admitted without the quota, that it is counted nevertheless, and that
// a call which is refused for it takes nothing of the others.
func TestAQuotaThatCannotBeReadIsAllThatGoes(t *testing.T) {
	t.Parallel()
	rate := limit.Rule{Name: "rate", Rate: 0.0001, Burst: 2, Cost: limit.Requests}
	at := limit.Rule{Name: "at-once", Concurrency: 1, Cost: limit.Requests}
	for name, tc := range map[string]struct {
		down   limit.Down
		report bool
		admits bool
	}{
		"open":                {limit.Open, false, true},
		"closed":              {limit.Closed, false, false},
		"closed, of a report": {limit.Closed, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			quota := limit.Rule{Name: "daily", Quota: 1000, Period: limit.Day, Report: tc.report, Cost: limit.Requests}
			r := start(t, redistest.Start(t).URL(), tc.down, rate, quota, at)
			r.ledger.fail(errors.New("database away"))
			if tc.admits {
				g, err := r.Admit(t.Context(), of("a"))
				if err != nil || g.Header().Get("RateLimit") == "" {
					t.Fatalf("%v, %v", err, g.Header())
				}
				if got := g.Header().Get("RateLimit"); got != `"rate";r=1;t=10000, "at-once";r=0` {
					t.Errorf("shown: %s", got)
				}
				r.refused(t, of("a"), problem.RateLimited) // by concurrency
				g.Done(infer.Usage{})
			} else {
				for range 5 {
					r.refused(t, of("a"), problem.Unavailable)
				}
			}
			if r.Trouble() == "" {
				t.Error("nothing is said")
			}
			r.ledger.fail(nil)
			for range 2 {
				if _, err := r.admit(t, of("a"), infer.Usage{}); (err == nil) == tc.admits {
					break
				}
			}
			_, why := r.refused(t, of("a"), problem.RateLimited)
			if why.Limit != "rate" || r.ledger.total() != 2 {
				t.Errorf("refused by %s; the ledger has %d", why.Limit, r.ledger.total())
			}
		})
	}
}

// TestARefusedCallReadsNoQuota holds that a call which another limit refuses is refused
// by that, whatever becomes of a quota's count that is missing.
func TestARefusedCallReadsNoQuota(t *testing.T) {
	t.Parallel()
	r := start(t, redistest.Start(t).URL(), limit.Open,
		limit.Rule{Name: "rate", Per: []limit.By{limit.ByTenant}, Rate: 0.0001, Burst: 1, Cost: limit.Requests},
		limit.Rule{Name: "q", Per: []limit.By{limit.ByKey}, Quota: 5, Period: limit.Month, Cost: limit.Requests})
	if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
		t.Fatal(err)
	}
	before := r.ledger.read()
	r.ledger.fail(errors.New("database away"))
	var calls errgroup.Group
	calls.SetLimit(32) // who waits long for their turn is refused for that
	for n := range 1000 {
		calls.Go(func() error {
			s := of("a")
			s.Key = fmt.Sprint("another", n)
			if _, err := r.Admit(t.Context(), s); problem.CodeOf(err) != problem.RateLimited {
				t.Errorf("error %v, want rate_limited", err)
			}
			return nil
		})
	}
	_ = calls.Wait()
	if after := r.ledger.read(); after != before || r.Trouble() != "" {
		t.Errorf("the ledger was read %d times; %q", after-before, r.Trouble())
	}
}

// emptied are counts that have no quota until they are seeded, and forget them again.
type emptied struct {
	willing

	hold chan struct{} // messages wait for it, where there is one
}

func (e *emptied) Decide(_ context.Context, asks []limit.Ask) (*limit.Decision, error) {
	d := &limit.Decision{Admitted: true, Answers: make([]limit.Answer, len(asks))}
	for i := range asks {
		d.Answers[i] = limit.Answer{Admits: true, Left: 5, Period: "2026-11"}
		if asks[i].Kind == limit.Quota && asks[i].Seed == nil {
			d.Admitted, d.Answers[i] = false, limit.Answer{Missing: true, Period: "2026-11"}
		}
	}
	return d, nil
}

func (e *emptied) Apply(ctx context.Context, changes []limit.Change) ([]limit.Known, error) {
	if e.hold != nil {
		<-e.hold
	}
	return e.willing.Apply(ctx, changes)
}

// slowLedger takes its time, which each read has.
type slowLedger struct {
	ledger

	takes time.Duration
}

func (l *slowLedger) Count(ctx context.Context, rule, combination, period string) (int64, error) {
	select {
	case <-time.After(l.takes):
		return l.ledger.Count(ctx, rule, combination, period)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// TestAFloodOfQuotasWaitsForItself holds that a tenant with more quotas to read than the
// database can give is refused at that moment, that no limit goes, that another tenant's calls
// are read between, and that a database which answers nothing is no flood.
func TestAFloodOfQuotasWaitsForItself(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		takes   time.Duration
		admits  func(n int64) bool // of the flood
		trouble bool
	}{
		"a slow database":                   {100 * time.Millisecond, func(n int64) bool { return n >= 16 && n <= 20 }, false},
		"a database that does not answer":   {time.Hour, func(n int64) bool { return n == 300 }, true}, // by redis_down
		"a database that answers in an eye": {time.Millisecond, func(n int64) bool { return n == 300 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, err := limit.New(&emptied{}, &slowLedger{ledger{counts: map[string]int64{}}, tc.takes}, "r", prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&logtest.Log{}, nil)))
				if err != nil {
					t.Fatal(err)
				}
				l.Use([]limit.Rule{{Name: "q", Per: []limit.By{limit.ByKey}, Quota: 5, Period: limit.Month, Cost: limit.Requests}}, limit.Open)
				var admitted atomic.Int64
				var calls sync.WaitGroup
				for n := range 300 {
					calls.Go(func() {
						s := of("evil")
						s.Key = fmt.Sprint("key", n)
						switch _, err := l.Admit(t.Context(), s); problem.CodeOf(err) {
						case "":
							admitted.Add(1)
						case problem.Overloaded:
						default:
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				began := time.Now()
				if _, err := l.Admit(t.Context(), of("b")); err != nil {
					t.Errorf("another tenant: %v", err)
				}
				if took := time.Since(began); took > max(tc.takes, time.Millisecond) && !tc.trouble {
					t.Errorf("another tenant waited for %v", took)
				}
				calls.Wait()
				if n := admitted.Load(); !tc.admits(n) || (l.Trouble() != "") != tc.trouble {
					t.Errorf("%d of 300 are admitted; %q", n, l.Trouble())
				}
			})
		})
	}
}

// TestATenantsSubjectsAreBounded holds that of a quota by key each tenant has so many
// counts in a period, that those that there are go on, and that a quota which reports
// admits, and counts no more of them either.
func TestATenantsSubjectsAreBounded(t *testing.T) {
	t.Parallel()
	const most = 100
	for name, tc := range map[string]struct {
		report bool
		want   problem.Code
	}{"that refuses": {false, problem.QuotaExceeded}, "that reports": {true, ""}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			counts := &ledger{counts: map[string]int64{}}
			l, err := limit.New(&emptied{}, counts, "r", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			l.BeginAtMost(most)
			l.Use([]limit.Rule{{Name: "q", Per: []limit.By{limit.ByKey}, Quota: 5, Period: limit.Month, Report: tc.report, Cost: limit.Requests}}, limit.Closed)
			admit := func(tenant string, n int) error {
				s := of(tenant)
				s.Key = fmt.Sprintf("https://issuer.example %s %d", tenant, n)
				g, err := l.Admit(t.Context(), s)
				g.Done(infer.Usage{})
				return err
			}
			for n := range most {
				if err := admit("evil", n); err != nil {
					t.Fatal(err)
				}
			}
			if err := admit("evil", most); problem.CodeOf(err) != tc.want || err != nil && problem.From(err).Limit != "q" {
				t.Errorf("one more: %v, want %s", err, tc.want)
			}
			for _, known := range []error{admit("evil", 0), admit("evil", most-1), admit("b", 0)} {
				if known != nil {
					t.Error(known)
				}
			}
			if rows := len(counts.counts); rows != most+1 {
				t.Errorf("%d counts in the ledger, want %d", rows, most+1)
			}
		})
	}
}

// TestWhatWasReadIsNotCountedAgain holds that what waits to be counted of a quota is not
// counted beside a count from the ledger, which has it.
func TestWhatWasReadIsNotCountedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		counters := &emptied{hold: make(chan struct{})}
		l, err := limit.New(counters, &ledger{counts: map[string]int64{}}, "r", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		l.Use([]limit.Rule{{Name: "q", Quota: 1000, Period: limit.Month, Cost: limit.Rows}}, limit.Closed)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.Run(ctx) })
		defer running.Wait()
		defer cancel()
		for _, rows := range []int64{1, 10} { // the first is under way while the second waits
			g, err := l.Admit(ctx, of("a"))
			if err != nil {
				t.Fatal(err)
			}
			g.Done(infer.Usage{Rows: rows})
			synctest.Wait()
		}
		if _, err := l.Admit(ctx, of("a")); err != nil { // reads 11
			t.Fatal(err)
		}
		close(counters.hold)
		synctest.Wait()
		var counted float64
		counters.mu.Lock()
		defer counters.mu.Unlock()
		for _, c := range counters.applied {
			counted += c.Amount
		}
		if counted != 1 {
			t.Errorf("%v are counted, want the one that was under way", counted)
		}
	})
}
