package limit_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/test/redistest"
)

// ledger is a Ledger in memory.
type ledger struct {
	mu     sync.Mutex
	counts map[string]int64
	reads  int
	err    error
}

func (l *ledger) Count(_ context.Context, rule, combination, period string) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	return l.counts[rule+" "+combination+" "+period], l.err
}

func (l *ledger) Add(rule, combination, period string, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[rule+" "+combination+" "+period] += n
}

func (l *ledger) total() (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, count := range l.counts {
		n += count
	}
	return n
}

// replica is a Limiter that runs.
type replica struct {
	*limit.Limiter
	ledger *ledger
	log    *logtest.Log
	kill   func() // and waits; places are not given back
}

var replicas atomic.Int64

// start starts a Limiter over the Redis at a URL.
func start(t *testing.T, url string, down limit.Down, rules ...limit.Rule) *replica {
	t.Helper()
	name := fmt.Sprintf("r%d", replicas.Add(1))
	counters, err := redislimit.Open(url, "test", name)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{ledger: &ledger{counts: map[string]int64{}}, log: &logtest.Log{}}
	if r.Limiter, err = limit.New(counters, r.ledger, name, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(r.log, nil))); err != nil {
		t.Fatal(err)
	}
	r.Use(rules, down)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	r.kill = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(func() {
		r.kill()
		_ = counters.Close()
	})
	return r
}

func of(tenant string) *limit.Subject {
	return &limit.Subject{
		Tenant: tenant, Key: "k1", Route: "/v2/models/{model}/infer", Path: "/v2/models/churn/infer", Model: "churn",
		Known: func() bool { return true }, Address: netip.MustParseAddr("192.0.2.1"),
	}
}

// admit admits a call, which ends at once with what it took.
func (r *replica) admit(t *testing.T, s *limit.Subject, used infer.Usage) (*limit.Grant, error) {
	t.Helper()
	g, err := r.Admit(t.Context(), s)
	if err == nil {
		g.Done(used)
	}
	return g, err
}

// refused holds that a call is refused, and returns why.
func (r *replica) refused(t *testing.T, s *limit.Subject, code problem.Code) (*limit.Grant, *problem.Error) {
	t.Helper()
	g, err := r.Admit(t.Context(), s)
	if problem.CodeOf(err) != code {
		t.Fatalf("error %v, want %s", err, code)
	}
	return g, problem.From(err)
}

// await waits for what another goroutine does.
func await(until func() bool) {
	for !until() {
		runtime.Gosched()
	}
}

var perTenant = limit.Rule{Name: "per-tenant", Per: []limit.By{limit.ByTenant}, Rate: 0.001, Burst: 3, Cost: limit.Requests}

func TestACallIsLimitedAndSaysSo(t *testing.T) {
	t.Parallel()
	r := start(t, redistest.Start(t).URL(), limit.Closed, perTenant)
	for n := range 3 {
		g, err := r.admit(t, of("a"), infer.Usage{})
		if err != nil {
			t.Fatal(err)
		}
		h := g.Header()
		left := fmt.Sprintf(`"per-tenant";r=%d;t=`, 2-n)
		if !strings.HasPrefix(h.Get("RateLimit"), left) || h.Get("RateLimit-Policy") != `"per-tenant";q=3;w=3000` {
			t.Errorf("call %d: %v", n, h)
		}
	}
	for range 3 {
		g, why := r.refused(t, of("a"), problem.RateLimited)
		if !strings.HasPrefix(why.Detail, `the limit "per-tenant" allows 3.6 requests each hour, 3 at once for each tenant; come again in `) {
			t.Error(why.Detail)
		}
		if why.Limit != "per-tenant" || why.RetryAfter < 990*time.Second || why.RetryAfter > 1001*time.Second ||
			!strings.HasPrefix(g.Header().Get("RateLimit"), `"per-tenant";r=0;t=`) {
			t.Errorf("%+v, %v", why, g.Header())
		}
	}
	if _, err := r.admit(t, of("b"), infer.Usage{}); err != nil {
		t.Errorf("another tenant: %v", err)
	}
}

func TestWhichCallsARuleIsFor(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t).URL()
	other := func(change func(*limit.Subject)) *limit.Subject {
		s := of("a")
		change(s)
		return s
	}
	for name, tc := range map[string]struct {
		match       limit.Match
		per         []limit.By
		subject     *limit.Subject
		first, same bool // whether the rule is for the subject; whether it shares the count of the plain one
	}{
		"everything":                       {limit.Match{}, nil, of("b"), true, true},
		"a star":                           {limit.Match{Tenant: "*", Route: "*", Model: "*", Path: "*", Key: "*"}, nil, of("b"), true, true},
		"another tenant":                   {limit.Match{Tenant: "a"}, nil, of("ab"), false, false},
		"beginnings":                       {limit.Match{Model: "chu*", Path: "/v2/*"}, nil, of("b"), true, true},
		"no model, of a rule for models":   {limit.Match{Model: "*"}, nil, other(func(s *limit.Subject) { s.Model = "" }), false, false},
		"no model, of counts by model":     {limit.Match{}, []limit.By{limit.ByModel}, other(func(s *limit.Subject) { s.Model = "" }), false, false},
		"another key":                      {limit.Match{Key: "k1"}, nil, other(func(s *limit.Subject) { s.Key = "k2" }), false, false},
		"counts by key":                    {limit.Match{}, []limit.By{limit.ByKey}, other(func(s *limit.Subject) { s.Key = "k2" }), true, false},
		"counts by route":                  {limit.Match{}, []limit.By{limit.ByRoute}, other(func(s *limit.Subject) { s.Route = "/v1/keys" }), true, false},
		"counts by tenant and key":         {limit.Match{}, []limit.By{limit.ByTenant, limit.ByKey}, other(func(s *limit.Subject) { s.Tenant, s.Key = "ak", "1" }), true, false},
		"counts by address":                {limit.Match{}, []limit.By{limit.ByAddress}, other(func(s *limit.Subject) { s.Address = netip.MustParseAddr("192.0.2.2") }), true, false},
		"a model that there is not":        {limit.Match{}, []limit.By{limit.ByModel}, other(func(s *limit.Subject) { s.Model, s.Known = "made-up", func() bool { return false } }), true, false},
		"a model that there is not either": {limit.Match{}, []limit.By{limit.ByTenant}, other(func(s *limit.Subject) { s.Model, s.Known = "made-up", func() bool { return false } }), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rule := limit.Rule{Name: "r" + fmt.Sprint(replicas.Add(1)), Match: tc.match, Per: tc.per, Rate: 0.001, Burst: 1, Cost: limit.Requests}
			r := start(t, url, limit.Closed, rule)
			plain := of("a")
			if tc.subject.Tenant == "b" { // of one that shares all
				plain.Tenant = "a"
			}
			if _, err := r.admit(t, plain, infer.Usage{}); err != nil {
				t.Fatal(err)
			}
			g, err := r.admit(t, tc.subject, infer.Usage{})
			switch {
			case !tc.first && (g != nil || err != nil):
				t.Errorf("the rule is for it: %v", err)
			case tc.first && tc.same != (err != nil):
				t.Errorf("shares the count: %v, want %v", err, tc.same)
			}
		})
	}
}

// TestIPv6IsLimitedByNetwork holds that the addresses of one /64 share a count.
func TestIPv6IsLimitedByNetwork(t *testing.T) {
	t.Parallel()
	r := start(t, redistest.Start(t).URL(), limit.Closed, limit.Rule{Name: "a", Per: []limit.By{limit.ByAddress}, Rate: 0.001, Burst: 1, Cost: limit.Requests})
	at := func(address string) *limit.Subject {
		s := of("a")
		s.Address = netip.MustParseAddr(address)
		return s
	}
	if _, err := r.admit(t, at("2001:db8::1"), infer.Usage{}); err != nil {
		t.Fatal(err)
	}
	r.refused(t, at("2001:db8::2"), problem.RateLimited)
	if _, err := r.admit(t, at("2001:db8:0:1::1"), infer.Usage{}); err != nil {
		t.Error(err)
	}
}

func TestAQuotaIsCountedInTheLedger(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rule := limit.Rule{Name: "daily", Per: []limit.By{limit.ByTenant}, Quota: 5, Period: limit.Day, Cost: limit.Requests}
	r := start(t, server.URL(), limit.Closed, rule)
	for range 3 {
		if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
			t.Fatal(err)
		}
	}
	if r.ledger.total() != 3 || r.ledger.reads != 1 {
		t.Errorf("%d in the ledger, %d reads", r.ledger.total(), r.ledger.reads)
	}
	if err := server.Client().FlushAll(t.Context()).Err(); err != nil { // Redis lost all
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
			t.Fatal(err)
		}
	}
	_, why := r.refused(t, of("a"), problem.QuotaExceeded)
	if why.Limit != "daily" || why.RetryAfter > 24*time.Hour || r.ledger.reads != 2 {
		t.Errorf("%+v; %d reads", why, r.ledger.reads)
	}
	for key := range r.ledger.counts { // what other replicas did is found out
		parts := strings.Split(key, " ")
		fresh := start(t, server.URL(), limit.Closed, limit.Rule{Name: "daily", Per: rule.Per, Quota: 9, Period: limit.Day, Cost: limit.Requests})
		fresh.Raised("daily", parts[1], limit.Total{Period: parts[2], Count: 9})
		for {
			if _, err := fresh.admit(t, of("a"), infer.Usage{}); problem.CodeOf(err) == problem.QuotaExceeded {
				break
			}
		}
	}
}

func TestAQuotaWithoutItsLedgerIsAsWithoutRedis(t *testing.T) {
	t.Parallel()
	rule := limit.Rule{Name: "daily", Quota: 5, Period: limit.Day, Cost: limit.Requests}
	for down, want := range map[limit.Down]problem.Code{limit.Closed: problem.Unavailable, limit.Open: ""} {
		r := start(t, redistest.Start(t).URL(), down, rule)
		r.ledger.err = context.DeadlineExceeded
		if _, err := r.admit(t, of("a"), infer.Usage{}); problem.CodeOf(err) != want {
			t.Errorf("%s: %v", down, err)
		}
	}
}

func TestAQuotaThatReportsAdmits(t *testing.T) {
	t.Parallel()
	r := start(t, redistest.Start(t).URL(), limit.Closed, limit.Rule{Name: "daily", Quota: 2, Period: limit.Day, Report: true, Cost: limit.Requests})
	for range 5 {
		if _, err := r.admit(t, of("a"), infer.Usage{}); err != nil {
			t.Fatal(err)
		}
	}
	if r.ledger.total() != 5 {
		t.Errorf("%d counted", r.ledger.total())
	}
}

var twoAtOnce = limit.Rule{Name: "at-once", Per: []limit.By{limit.ByTenant}, Concurrency: 2, Cost: limit.Requests}

func TestPlacesAreFreeAsSoonAsCallsEnd(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t).URL()
	r := start(t, url, limit.Closed, twoAtOnce)
	first, err := r.Admit(t.Context(), of("a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := start(t, url, limit.Closed, twoAtOnce).Admit(t.Context(), of("a")); err != nil {
		t.Fatal(err)
	}
	_, why := r.refused(t, of("a"), problem.RateLimited)
	if why.RetryAfter != time.Second {
		t.Errorf("%+v", why)
	}
	for range 50 { // one call after the other
		first.Done(infer.Usage{})
		first.Done(infer.Usage{}) // which frees nobody else's
		if first, err = r.Admit(t.Context(), of("a")); err != nil {
			t.Fatal(err)
		}
		r.refused(t, of("a"), problem.RateLimited)
	}
}

// TestPlacesOfAKilledReplicaComeBack holds that they do, and that those of calls that go
// on do not.
func TestPlacesOfAKilledReplicaComeBack(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t).URL()
	killed, lives := start(t, url, limit.Closed, twoAtOnce), start(t, url, limit.Closed, twoAtOnce)
	for _, r := range []*replica{killed, lives} {
		if _, err := r.Admit(t.Context(), of("a")); err != nil {
			t.Fatal(err)
		}
	}
	killed.kill()
	began := time.Now()
	for {
		if _, err := lives.Admit(t.Context(), of("a")); err == nil {
			break
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Logf("after %v", took) // 8 s, as far as the machine allows
	}
	lives.refused(t, of("a"), problem.RateLimited)
}

func TestACallerWhoLeavesTurnsNothingOff(t *testing.T) {
	t.Parallel()
	r := start(t, redistest.Start(t).URL(), limit.Closed, perTenant)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if _, err := r.Admit(gone, of("a")); err != nil {
			t.Fatal(err)
		}
	}
	if r.Trouble() != "" {
		t.Error(r.Trouble())
	}
}

func TestRulesChangeWhileCallsRun(t *testing.T) {
	t.Parallel()
	r := start(t, redistest.Start(t).URL(), limit.Closed, twoAtOnce)
	first, err := r.Admit(t.Context(), of("a"))
	if err != nil {
		t.Fatal(err)
	}
	r.Use(nil, limit.Closed)
	if g, err := r.Admit(t.Context(), of("a")); g != nil || err != nil {
		t.Errorf("%v, %v", g, err)
	}
	r.Use([]limit.Rule{{Name: "at-once", Per: twoAtOnce.Per, Concurrency: 1, Cost: limit.Requests}}, limit.Closed)
	r.refused(t, of("a"), problem.RateLimited)
	first.Done(infer.Usage{})
	for {
		if _, err := r.Admit(t.Context(), of("a")); err == nil {
			break
		}
	}
}

func TestEveryLimitIsReported(t *testing.T) {
	t.Parallel()
	daily := limit.Rule{Name: "daily", Quota: 9, Period: limit.Day, Cost: limit.Requests}
	r := start(t, redistest.Start(t).URL(), limit.Closed, perTenant, twoAtOnce, daily)
	g, err := r.admit(t, of("a"), infer.Usage{})
	if err != nil {
		t.Fatal(err)
	}
	h := g.Header()
	if diff := cmp.Diff(`"per-tenant";q=3;w=3000, "at-once";q=2, "daily";q=9;w=86400`, h.Get("RateLimit-Policy")); diff != "" {
		t.Error(diff)
	}
	for _, item := range []string{`"per-tenant";r=2;t=`, `, "at-once";r=1, `, `"daily";r=8;t=`} {
		if !strings.Contains(h.Get("RateLimit"), item) {
			t.Errorf("no %s in %s", item, h.Get("RateLimit"))
		}
	}
}
