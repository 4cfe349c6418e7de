package limit

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// Of a call whose count could not be read.
var (
	errTurn   = errors.New("too many calls of the tenant wait for their quotas' counts")
	errUnread = errors.New("quotas' counts cannot be read")
)

// readable notes whether the ledger could be read.
func (l *Limiter) readable(err error) {
	if l.unread.Swap(err != nil) == (err != nil) {
		return
	}
	if err != nil {
		l.logger.Error("quotas' counts cannot be read from the database: calls that they are for are treated as redis_down says", "error", err)
	} else {
		l.logger.Info("quotas' counts can be read again")
	}
}

// seed reads the quotas' counts that are missing. One that cannot be read is left out of
// what is decided, or refuses the call, as Down says.
func (l *Limiter) seed(ctx context.Context, p *plan, g *Grant, tenant string) error {
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), mostWait)
	defer cancel()
	if g.seeds == nil {
		g.seeds = make([]seed, len(g.uses))
	}
	for i, u := range g.uses {
		a := &g.answers[i]
		if !a.Missing || g.seeds[i].unread {
			continue
		}
		n, err := l.read(waiting, u, tenant, a.Period)
		switch {
		case err == nil && n == 0 && slices.Contains(u.Per, ByKey) && !l.begun.room(begins{u.Name, tenant, a.Period}):
			if !u.Report {
				return g.noRoom(i)
			}
			g.seeds[i] = seed{Total: Total{Period: a.Period}, unread: true, uncounted: true}
		case err == nil:
			g.seeds[i] = seed{Total: Total{a.Period, n}}
		case errors.Is(err, errTurn):
			return problem.New(problem.Overloaded, "%v", err).WithRetryAfter(time.Second)
		case p.down == Closed && !u.Report:
			l.metrics.unlimited.Inc()
			return unknown()
		default:
			l.metrics.unlimited.Inc()
			g.seeds[i] = seed{Total: Total{Period: a.Period}, unread: true}
		}
	}
	return nil
}

// read reads a quota's count, once for all calls of a tenant that need it. While the
// ledger cannot be read one call at a time tries.
func (l *Limiter) read(ctx context.Context, u use, tenant, period string) (int64, error) {
	if l.unread.Load() && l.trying.Load() {
		return 0, errUnread
	}
	n, err, _ := l.reads.Do(tenant+" "+u.key+" "+period, func() (any, error) {
		leave, ok := l.readers.enter(ctx, tenant)
		if !ok {
			return nil, errTurn
		}
		defer leave()
		if l.unread.Load() { // found out while this one waited
			if !l.trying.CompareAndSwap(false, true) {
				return nil, errUnread
			}
			defer l.trying.Store(false)
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), readWait)
		defer cancel()
		n, err := l.ledger.Count(bounded, u.Name, u.combination, period)
		if l.readable(err); err == nil {
			l.sender.forgetCount(u.key, period)
		}
		return n, err //nolint:wrapcheck // readable logs it
	})
	count, _ := n.(int64)
	return count, err //nolint:wrapcheck // as above
}

// mostBegun is how many counts of one quota a tenant may begin in a period, at each
// gateway. Each is kept in Redis and in the ledger until the period is over, and there
// may be any number of subjects, and of keys that are made anew.
const mostBegun = 100_000

// begins is whose counts are begun, of which quota and when.
type begins struct{ rule, tenant, period string }

// begun counts counts that were begun, of the latest 10,000 tenants and quotas.
type begun struct {
	most int // for each

	mu sync.Mutex
	by map[begins]int
}

// room counts one more, and is false where there is no room for it.
func (b *begun) room(of begins) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, known := b.by[of]
	if n >= b.most {
		return false
	}
	if !known && len(b.by) >= mostEntries {
		for other := range b.by { // any; maps have no order
			delete(b.by, other)
			if len(b.by) < mostEntries*9/10 {
				break
			}
		}
	}
	b.by[of] = n + 1
	return true
}

// noRoom is the refusal of a call whose quota can have no count.
func (g *Grant) noRoom(i int) error {
	u := g.uses[i]
	g.of.metrics.refused.WithLabelValues(u.Name).Inc()
	wait := time.Duration(math.Ceil(max(g.answers[i].Retry.Seconds(), 1))) * time.Second
	err := problem.New(problem.QuotaExceeded, "the limit %q has counts of %d keys and subjects of a tenant each %s; come again in %v", u.Name, g.of.begun.most, u.Period, wait)
	err.Limit = u.Name
	return err.WithRetryAfter(wait)
}
