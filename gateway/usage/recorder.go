package usage

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	flushEvery  = time.Second
	trimEvery   = time.Hour
	storeWithin = 5 * time.Second // one flush
	trimWithin  = 30 * time.Second

	mostAtOnce = 1000 // sums of one flush, and as many quotas

	keptQuotas   = 35 * 24 * time.Hour // no period is longer than a month
	keptReplicas = 24 * time.Hour
)

// Recorder sums what calls come to, and has a Store add the sums each second. What the
// Store does not take is sent again as it was until it does.
type Recorder struct {
	store    Store
	age      time.Duration // that usage is kept for; 0: another process sees to it
	replica  string
	logger   *slog.Logger
	failures prometheus.Counter
	lost     prometheus.Counter

	mu      sync.Mutex
	pending pending
	sent    int64 // the sequence of the last flush that was added
	waiting []*Flush
	failing bool
	totals  func([]Quota)
}

// NewRecorder makes a Recorder that keeps usage for an age, or leaves removing what is old
// to another process, where that is 0; Run has it store.
func NewRecorder(store Store, age time.Duration, registry prometheus.Registerer, logger *slog.Logger) (*Recorder, error) {
	r := &Recorder{
		store: store, age: age, replica: rand.Text(), logger: logger, pending: newPending(), totals: func([]Quota) {},
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_gateway_usage_failures_total", Help: "Flushes of usage and quotas that the gateway's database did not take, which are sent again, and removals of what is old.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_gateway_usage_lost_total", Help: "Counts of quotas that are not in the gateway's database, because it was away for too long.",
		}),
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "modelserve_gateway_usage_waiting", Help: "Sums of usage and quotas that wait to be stored.",
	}, func() float64 { return float64(r.waits()) })
	for _, c := range []prometheus.Collector{r.failures, r.lost, waiting} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register usage's metrics: %w", err)
		}
	}
	return r, nil
}

// OnTotals has do called after each flush with how much is used of the quotas in it, by
// all replicas. It is for before Run.
func (r *Recorder) OnTotals(do func([]Quota)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.totals = do
}

// Add counts calls of a tenant to a model, of the day of a time. It waits for nothing.
func (r *Recorder) Add(tenant, model string, at time.Time, c Counts) {
	key := Key{Plain(tenant), Plain(model), DayOf(at)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending.add(key, c)
}

// AddQuota counts n of a quota: of a limit, for a combination of what it is per, in a
// period, such as 2026-11. It waits for nothing.
func (r *Recorder) AddQuota(limit, combination, period string, n int64) {
	key := QuotaKey{Plain(limit), Plain(combination), Plain(period)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.pending.addQuota(key, n) {
		r.lost.Inc()
	}
}

// Usage returns what is stored: all but the last second's.
func (r *Recorder) Usage(ctx context.Context, q *Query) ([]Row, error) { return r.store.Usage(ctx, q) }

// Unstored is how much of a quota was counted here and is not on its way to the store.
func (r *Recorder) Unstored(key QuotaKey) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending.quotas[key]
}

// waits is how many sums are not stored.
func (r *Recorder) waits() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.pending.len()
	for _, f := range r.waiting {
		n += len(f.Sums) + len(f.Quotas)
	}
	return n
}

// Run stores the sums each second, and removes what is old each hour, until ctx ends;
// then it stores what is left.
func (r *Recorder) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		every(ctx, flushEvery, func() { r.flush(ctx) })
		r.last(context.WithoutCancel(ctx))
	})
	if r.age == 0 {
		return
	}
	work.Go(func() {
		r.trim(ctx)
		every(ctx, trimEvery, func() { r.trim(ctx) })
	})
}

func every(ctx context.Context, d time.Duration, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// last stores what is left, as far as that can be done.
func (r *Recorder) last(ctx context.Context) {
	if r.flush(ctx) {
		r.flush(ctx) // what was counted beside what waited
	}
	if n := r.waits(); n > 0 {
		r.logger.ErrorContext(ctx, "usage is lost: the gateway ends, and its database does not take it", "sums", n)
	}
}

// flush has the store add what waits, or else what is pending. It reports whether all
// of that was.
func (r *Recorder) flush(ctx context.Context) bool {
	for _, f := range r.next() {
		f.At = time.Now()
		storing, cancel := context.WithTimeout(ctx, storeWithin)
		totals, err := r.store.AddUsage(storing, f)
		cancel()
		if err != nil {
			r.failed(ctx, err)
			return false
		}
		if do := r.added(ctx, f); len(totals) > 0 {
			do(totals)
		}
	}
	return true
}

// next is what is to be sent, in order. What was tried and is not known to be added goes
// first, and stays as it was.
func (r *Recorder) next() []*Flush {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		r.waiting = r.pending.take()
		for i, f := range r.waiting {
			f.Replica, f.Sequence = r.replica, r.sent+int64(i)+1
		}
	}
	return r.waiting
}

// added notes that the first flush that waits was added, and returns what is called with
// its totals.
func (r *Recorder) added(ctx context.Context, f *Flush) func([]Quota) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting, r.sent = r.waiting[1:], f.Sequence
	if r.failing {
		r.failing = false
		r.logger.InfoContext(ctx, "the gateway's database takes usage again")
	}
	return r.totals
}

func (r *Recorder) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // the last flush sends it again
	}
	r.failures.Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.failing {
		r.failing = true
		r.logger.ErrorContext(ctx, "usage could not be stored: it is kept, and sent again each second", "error", err)
	}
}

// trim removes what is old, in small steps.
func (r *Recorder) trim(ctx context.Context) {
	now := time.Now()
	old := Old{Usage: DayOf(now.Add(-r.age)), Quotas: DayOf(now.Add(-keptQuotas)), Flush: now.Add(-keptReplicas)}
	for ctx.Err() == nil {
		n, err := r.trimOnce(ctx, old)
		if err != nil && ctx.Err() == nil {
			r.failures.Inc()
			r.logger.WarnContext(ctx, "old usage could not be removed, and stays for another hour", "error", err)
		}
		if err != nil || n == 0 {
			return
		}
	}
}

func (r *Recorder) trimOnce(ctx context.Context, old Old) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, trimWithin)
	defer cancel()
	return r.store.TrimUsage(ctx, old)
}
