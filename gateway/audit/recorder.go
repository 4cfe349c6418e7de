package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	flushEvery  = time.Second
	headsEvery  = time.Minute
	trimEvery   = time.Hour
	storeWithin = 5 * time.Second // one batch

	trimWithin = 30 * time.Second

	keptFor    = 5 * time.Minute // what a database that does not answer does not take
	mostAtOnce = 500             // entries of one transaction
	mostHeads  = 10_000          // that are logged in one round
)

// Retention is how much is kept of each chain. Zero fields keep all.
type Retention struct {
	Age     time.Duration
	Entries int64
}

// Recorder collects what was refused, and stores it each second: one entry for a
// source, action and second, however often it happened. It also logs the heads of
// chains, and removes what is old.
type Recorder struct {
	log       Store
	retention Retention
	logger    *slog.Logger
	metrics   recorderMetrics

	mu      sync.Mutex
	pending pending
	lost    int64 // refusals of which nothing could be kept
	failing bool  // some of what was ready last was not stored
}

type recorderMetrics struct {
	failures, lost prometheus.Counter
}

// NewRecorder makes a Recorder; Run has it store.
func NewRecorder(store Store, retention Retention, registry prometheus.Registerer, logger *slog.Logger) (*Recorder, error) {
	r := &Recorder{
		log: store, retention: retention, logger: logger, pending: newPending(),
		metrics: recorderMetrics{
			failures: prometheus.NewCounter(prometheus.CounterOpts{
				Name: "modelserve_gateway_audit_failures_total", Help: "Reads and writes of the audit log that the gateway's database did not answer.",
			}),
			lost: prometheus.NewCounter(prometheus.CounterOpts{
				Name: "modelserve_gateway_audit_lost_total", Help: "Refusals that are not in the audit log, because the database was away for too long.",
			}),
		},
	}
	for _, c := range []prometheus.Collector{r.metrics.failures, r.metrics.lost} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the audit log's metrics: %w", err)
		}
	}
	return r, nil
}

// Refused notes a refusal, of which the Seq, Count, Previous and Hash are not looked
// at. It waits for nothing.
func (r *Recorder) Refused(e Entry) {
	e.Outcome, e.Count = Refused, 1
	e = e.plain()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose(r.pending.note(e))
}

// lose counts refusals of which nothing is kept.
func (r *Recorder) lose(n int64) {
	r.lost += n
	r.metrics.lost.Add(float64(n))
}

// Run stores refusals each second, logs heads each minute and removes what is old
// each hour, until ctx ends; then it stores what is left.
func (r *Recorder) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		every(ctx, flushEvery, func() { r.flush(ctx, time.Now().Unix()) })
		r.flush(context.WithoutCancel(ctx), time.Now().Unix()+1)
	})
	work.Go(func() {
		since := time.Now()
		every(ctx, headsEvery, func() { since = r.logHeads(ctx, since) })
	})
	work.Go(func() { every(ctx, trimEvery, func() { r.trim(ctx) }) })
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

// flush stores the refusals of the seconds before one.
func (r *Recorder) flush(ctx context.Context, before int64) {
	r.mu.Lock()
	ready := r.pending.take(before)
	r.mu.Unlock()
	var left []Entry
	var failed error
	for batch := range slices.Chunk(ready, mostAtOnce) {
		if errors.Is(failed, errAway) {
			left = append(left, batch...)
			continue
		}
		rest, err := r.store(ctx, batch)
		left, failed = append(left, rest...), cmp.Or(err, failed)
	}
	if len(ready) > 0 {
		r.putBack(left, failed)
	}
	r.reportLost(ctx)
}

// errAway is why no chain could be added to.
var errAway = errors.New("the database does not take them")

// store stores refusals: all at once, or else those of one chain after the other,
// for one that is damaged is not to lose those of others. It returns the rest.
func (r *Recorder) store(ctx context.Context, batch []Entry) (rest []Entry, err error) {
	if err = r.append(ctx, batch); err == nil {
		return nil, nil
	}
	chains := map[string][]Entry{}
	for _, e := range batch {
		chains[e.Tenant] = append(chains[e.Tenant], e)
	}
	if len(chains) == 1 {
		return batch, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	stored := 0
	for _, of := range chains { // in any order, so that none is always the last
		if failed := r.append(ctx, of); failed != nil {
			rest, err = append(rest, of...), failed
			continue
		}
		stored++
	}
	if stored == 0 {
		err = fmt.Errorf("%w: %w", errAway, err)
	}
	return rest, err
}

func (r *Recorder) append(ctx context.Context, batch []Entry) error {
	writing, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	err := r.log.Append(writing, batch)
	if err != nil {
		r.metrics.failures.Inc()
	}
	return err
}

// putBack has entries stored later, but for those that are too old.
func (r *Recorder) putBack(left []Entry, err error) {
	oldest := time.Now().Add(-keptFor)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range left {
		if e.At.Before(oldest) {
			r.lose(e.Count)
			continue
		}
		r.lose(r.pending.keep(e))
	}
	if len(left) > 0 && !r.failing {
		r.logger.Error("refusals could not be stored in the audit log, and are tried again for a while", "error", err, "entries", len(left), "for", keptFor.String())
	}
	r.failing = len(left) > 0
}

// LostAction is the action of the entry in the platform's chain that says how many
// refusals could not be stored.
const LostAction = "refusals.lost"

func (r *Recorder) reportLost(ctx context.Context) {
	r.mu.Lock()
	lost := r.lost
	r.mu.Unlock()
	if lost == 0 {
		return
	}
	err := r.append(ctx, []Entry{{
		At: time.Now(), Tenant: Platform, Actor: gateway, Action: LostAction, Outcome: Refused, Count: lost,
		Reason: "the database did not answer for too long",
	}})
	if err == nil {
		r.mu.Lock()
		r.lost -= lost
		r.mu.Unlock()
	}
}

// logHeads logs the heads of the chains that were added to since a time, and
// returns the time to ask from next.
func (r *Recorder) logHeads(ctx context.Context, since time.Time) time.Time {
	next := time.Now().Add(-storeWithin) // what is being stored now may be older
	reading, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	heads, err := r.log.Heads(reading, since, mostHeads)
	if err != nil {
		r.failed(ctx, "the heads of the audit log's chains could not be read, and are tried again in a minute", err)
		return since
	}
	for _, h := range heads {
		r.logger.Info("the head of a chain of the audit log", "chain", h.Tenant, "seq", h.Seq, "hash", h.Hash)
	}
	if len(heads) == mostHeads {
		r.logger.Warn("more chains of the audit log were added to than are logged", "logged", mostHeads)
	}
	return next
}

func (r *Recorder) failed(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		r.metrics.failures.Inc()
		r.logger.Warn(what, "error", err)
	}
}

// trim removes what is old of every chain.
func (r *Recorder) trim(ctx context.Context) {
	if r.retention == (Retention{}) {
		return
	}
	chains, err := Chains(ctx, r.log)
	if err != nil {
		r.failed(ctx, "the audit log's chains could not be listed; what is old stays for another hour", err)
		return
	}
	var failed []error
	for _, chain := range chains {
		if err := r.trimChain(ctx, chain.Tenant); err != nil {
			failed = append(failed, fmt.Errorf("the chain %q: %w", chain.Tenant, err))
		}
	}
	if len(failed) > 0 {
		r.failed(ctx, "old entries of the audit log could not be removed, and stay for another hour",
			fmt.Errorf("%d of %d chains, the first: %w", len(failed), len(chains), failed[0]))
	}
}

func (r *Recorder) trimChain(ctx context.Context, tenant string) error {
	var before time.Time
	if r.retention.Age > 0 {
		before = time.Now().Add(-r.retention.Age)
	}
	most := r.retention.Entries
	if most <= 0 {
		most = 1<<63 - 1
	}
	for {
		n, err := r.trimOnce(ctx, tenant, before, most)
		if err != nil || n == 0 {
			return err
		}
	}
}

func (r *Recorder) trimOnce(ctx context.Context, tenant string, before time.Time, most int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, trimWithin)
	defer cancel()
	return r.log.Trim(ctx, tenant, before, most)
}
