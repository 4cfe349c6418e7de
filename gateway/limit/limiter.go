package limit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/modelserveai/modelserve/problem"
)

// Bounds of a decision.
const (
	mostWait  = 900 * time.Millisecond // for counts; that they are gone is noticed before
	readWait  = 600 * time.Millisecond // for a quota's count in the ledger
	mostTries = 3                      // with seeds: a period may end meanwhile

	// Refusals are remembered for so long at most: a limit may change, and leases come
	// back.
	remember       = 100 * time.Millisecond
	rememberPlaces = 20 * time.Millisecond // which others may leave at any time

	// places last so long, unless they are held on, which they are each holdEvery.
	lifetime  = 8 * time.Second
	holdEvery = 2 * time.Second
)

// Limiter decides on calls. It is safe for concurrent use.
type Limiter struct {
	counters Counters
	ledger   Ledger
	replica  string
	plan     atomic.Pointer[plan]
	health   *health
	sender   *sender
	number   atomic.Int64 // of the last place
	lanes    *lanes
	reads    singleflight.Group
	readers  *lanes
	begun    begun
	unread   atomic.Bool // the ledger could not be read when it was needed last
	trying   atomic.Bool // a call tries whether it can
	logger   *slog.Logger
	metrics  *metrics
}

// New makes a Limiter without rules, which somebody runs (Run). replica is a name that
// no other process has.
func New(counters Counters, ledger Ledger, replica string, registry prometheus.Registerer, logger *slog.Logger) (*Limiter, error) {
	m, err := newMetrics(registry)
	if err != nil {
		return nil, err
	}
	l := &Limiter{
		counters: counters, ledger: ledger, replica: replica, metrics: m,
		lanes: newLanes(mostOfOne, MostAsked), readers: newLanes(mostReads, mostRead), begun: begun{most: mostBegun, by: map[begins]int{}}, logger: logger,
		health: &health{logger: logger, gauge: m.up},
	}
	l.sender = newSender(counters, l.health)
	l.plan.Store(newPlan(nil, Closed))
	m.up.Set(1)
	return l, nil
}

// Use puts rules in force. Calls under way end by those they were admitted by.
func (l *Limiter) Use(rules []Rule, down Down) {
	l.plan.Store(newPlan(rules, down))
	l.health.needed.Store(len(rules) > 0)
}

// Trouble is what an operator should look at, without a name in it; "" is nothing.
func (l *Limiter) Trouble() string {
	switch p := l.plan.Load(); {
	case len(p.rules) > 0 && l.health.isUp() && l.unread.Load():
		return "quotas' counts cannot be read from the database"
	case len(p.rules) == 0 || l.health.isUp():
		return ""
	case p.down == Open:
		return "the limits' Redis cannot be reached: calls are not limited"
	default:
		return "the limits' Redis cannot be reached: calls that limits are for are refused"
	}
}

// Run sends what calls took, holds their places and probes the counts, until ctx ends.
func (l *Limiter) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.health.run(ctx, l.probe)
	}()
	l.sender.run(ctx)
	<-done
}

// probe is a decision that nothing depends on.
func (l *Limiter) probe(ctx context.Context) error {
	_, err := l.counters.Decide(ctx, []Ask{{Kind: Bucket, Key: "probe", Rate: 1, Burst: 1}})
	return err //nolint:wrapcheck // it is reported as it is
}

// Raised notes what a quota's count has in the ledger: one that lost something is put
// right.
func (l *Limiter) Raised(rule, combination string, t Total) {
	l.sender.raise("q:"+rule+":"+combination, t)
}

// Admit decides on a call. It returns nil where no rule is for it, and a refusal
// beside its error, a *problem.Error: RateLimited or QuotaExceeded, or Unavailable
// where the counts cannot be reached and Down is Closed.
func (l *Limiter) Admit(ctx context.Context, s *Subject) (*Grant, error) {
	p := l.plan.Load()
	uses := p.uses(s)
	if len(uses) == 0 {
		return nil, nil //nolint:nilnil // a nil Grant is one of nothing
	}
	g := &Grant{of: l, uses: uses}
	now := time.Now()
	if g.lease(now) {
		return g, nil
	}
	if err := g.remembered(now); err != nil {
		return g, err
	}
	if !l.health.isUp() {
		return l.without(p, g)
	}
	return l.ask(ctx, p, g, s.Tenant)
}

// without is what becomes of a call while the counts cannot be reached.
func (l *Limiter) without(p *plan, g *Grant) (*Grant, error) {
	l.metrics.unlimited.Inc()
	g.answers = nil
	if p.down == Closed && slices.ContainsFunc(g.uses, func(u use) bool { return !u.Report }) {
		return g, unknown()
	}
	g.admit(time.Now())
	return g, nil
}

// unknown is of a call that a limit is for whose count cannot be had.
func unknown() error {
	return problem.New(problem.Unavailable, "how much of its limits a call leaves cannot be found out at the moment").WithRetryAfter(time.Second)
}

// ask has the counts decide, with what is missing of quotas.
func (l *Limiter) ask(ctx context.Context, p *plan, g *Grant, tenant string) (*Grant, error) {
	place := "p" + strconv.FormatInt(l.number.Add(1), 36) + "." + l.replica
	for range mostTries {
		d, err := l.decide(ctx, g, tenant, place)
		switch {
		case errors.Is(err, errTurn) && l.health.isUp():
			return g, problem.New(problem.Overloaded, "too many calls of the tenant wait for their limits").WithRetryAfter(time.Second)
		case err != nil:
			return l.without(p, g)
		}
		g.answers = d.Answers
		if d.Admitted {
			g.admit(time.Now())
			return g, nil
		}
		if g.isRefused() {
			return g, g.refusal(l.metrics)
		}
		if err := l.seed(ctx, p, g, tenant); err != nil {
			g.answers = nil
			return g, err
		}
	}
	return l.without(p, g) // the counts contradict themselves
}

// decide asks the counts, when it is the tenant's turn. Whether they work is not the
// caller's, who may leave.
func (l *Limiter) decide(ctx context.Context, g *Grant, tenant, place string) (*Decision, error) {
	ctx = context.WithoutCancel(ctx)
	waiting, cancel := context.WithTimeout(ctx, mostWait)
	defer cancel()
	leave, ok := l.lanes.enter(waiting, tenant)
	if !ok {
		return nil, errTurn
	}
	defer leave()
	bounded, cancel := context.WithTimeout(ctx, mostWait)
	defer cancel()
	asks, d, sent := g.asks(place), &Decision{Admitted: true}, time.Now()
	if some := g.read(asks); len(some) > 0 {
		var err error
		d, err = l.counters.Decide(bounded, some)
		l.health.note(err, err == nil && d.Admitted)
		if err != nil {
			g.note(asks, nil, sent)
			l.sender.freeAll(asks)
			return nil, err //nolint:wrapcheck // it is logged as it is
		}
	}
	g.fill(d)
	g.note(asks, d, sent)
	return d, nil
}
