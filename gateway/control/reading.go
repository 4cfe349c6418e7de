package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/problem"
)

const (
	// mostReadings is how many whole chains are read at once, one for each tenant:
	// each has a page of one in memory, and nothing of the database's meanwhile.
	mostReadings = 16

	// readingWithin is how long one may take: its caller reads as slowly as they like.
	readingWithin = 15 * time.Minute

	// readingAlone is how long one goes on when others wait for its place.
	readingAlone = time.Minute
)

// readings are the whole chains that are being read, by the tenants of who reads.
type readings struct {
	mu  sync.Mutex
	now map[string]*reading
}

type reading struct {
	began time.Time
	end   context.CancelCauseFunc
}

// errEnded is why a reading was ended for another.
var errEnded = errors.New("other tenants read the audit log, too, and this reading took the longest")

func errReading(detail string) error {
	return problem.New(problem.Overloaded, "%s", detail).WithRetryAfter(time.Second)
}

// whyRead is the error of a reading as its caller gets it. What the database says is for
// the log.
func whyRead(ctx context.Context, err error) error {
	if errors.Is(err, rights.ErrAway) {
		return problem.New(problem.Unavailable, "the gateway's database does not answer now: %w", problem.ForLog(err)).WithRetryAfter(time.Second)
	}
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errEnded) {
		err = cause
	}
	if errors.Is(err, errEnded) || errors.Is(err, audit.ErrMoved) {
		return errReading(err.Error())
	}
	return err
}

// begin has a tenant read a chain, until ctx ends or end is called. Where too many
// read at once, the reading that has taken the longest gives way, once it has had its
// time: so nobody is kept out for longer than that.
func (r *readings) begin(ctx context.Context, tenant string) (_ context.Context, end func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now[tenant] != nil {
		return nil, nil, errReading("this tenant reads or verifies a chain of the audit log already")
	}
	if len(r.now) >= mostReadings && !r.giveWay() {
		return nil, nil, errReading("others read and verify chains of the audit log")
	}
	if r.now == nil {
		r.now = map[string]*reading{}
	}
	ctx, stop := context.WithTimeout(ctx, readingWithin)
	ctx, cancel := context.WithCancelCause(ctx)
	this := &reading{time.Now(), cancel}
	r.now[tenant] = this
	return ctx, func() {
		cancel(nil)
		stop()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.now[tenant] == this {
			delete(r.now, tenant)
		}
	}, nil
}

// giveWay ends the reading that has taken the longest.
func (r *readings) giveWay() bool {
	var oldest string
	for tenant, one := range r.now {
		if before := r.now[oldest]; before == nil || one.began.Before(before.began) {
			oldest = tenant
		}
	}
	if time.Since(r.now[oldest].began) < readingAlone {
		return false
	}
	r.now[oldest].end(errEnded)
	delete(r.now, oldest)
	return true
}
