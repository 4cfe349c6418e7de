package limit

import (
	"context"
	"errors"
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
