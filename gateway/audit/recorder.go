package audit

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
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

	// refusalsASecond is how many entries one chain gets of the refusals of a
	// second; the others are counted in one more.
	refusalsASecond = 20

	// keptFor and mostKept bound what waits for a database that does not answer.
	keptFor  = 5 * time.Minute
	mostKept = 10_000

	mostAtOnce = 500    // entries of one transaction
	mostHeads  = 10_000 // that are logged, or trimmed, in one round
	trimAtOnce = 10_000 // that Store.Trim removes
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
	store     Store
	retention Retention
	logger    *slog.Logger
	metrics   recorderMetrics

	mu      sync.Mutex
	pending map[refusal]*Entry
	counts  map[chainSecond]int // of entries in pending
	lost    int64               // refusals of which nothing could be kept
	failing bool                // the last batch was not stored
}

// chainSecond is a second of a chain.
type chainSecond struct {
	tenant string
	second int64
}

// refusal is what one entry is for.
type refusal struct {
	chainSecond

	source, action string
	others         bool // of the second, that have none of their own
}

func refusalOf(e *Entry) refusal {
	return refusal{chainSecond{e.Tenant, e.At.Unix()}, e.Address, e.Action, e.Action == OthersAction}
}

type recorderMetrics struct {
	failures, lost prometheus.Counter
}

// NewRecorder makes a Recorder; Run has it store.
func NewRecorder(store Store, retention Retention, registry prometheus.Registerer, logger *slog.Logger) (*Recorder, error) {
	r := &Recorder{
		store: store, retention: retention, logger: logger, pending: map[refusal]*Entry{}, counts: map[chainSecond]int{},
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
	of := refusalOf(&e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending[of] == nil && r.counts[of.chainSecond] >= refusalsASecond {
		e = others(&e)
		of = refusalOf(&e)
	}
	if before := r.pending[of]; before != nil {
		before.merge(&e)
		return
	}
	if len(r.pending) >= mostKept {
		r.lost++
		r.metrics.lost.Inc()
		return
	}
	r.pending[of] = &e
	r.counts[of.chainSecond]++
}

// OthersAction is the action of an entry that counts the refusals of a second that
// have none of their own.
const OthersAction = "refusals.others"

func others(e *Entry) Entry {
	return Entry{
		At: e.At, Tenant: e.Tenant, Action: OthersAction, Outcome: Refused, Count: 1,
		Reason: fmt.Sprintf("more than %d sources and actions in one second", refusalsASecond),
	}
}

// merge counts another refusal in an entry: what differs is left out.
func (e *Entry) merge(other *Entry) {
	e.Count++
	if e.Action == OthersAction {
		return
	}
	for _, field := range []struct{ of, other *string }{
		{&e.Actor, &other.Actor},
		{&e.Resource, &other.Resource},
		{&e.Reason, &other.Reason},
		{&e.RequestID, &other.RequestID},
	} {
		if *field.of != *field.other {
			*field.of = ""
		}
	}
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
	ready := r.take(before)
	for batch := range slices.Chunk(ready, mostAtOnce) {
		if !r.append(ctx, batch) {
			r.putBack(batch)
		}
	}
	r.reportLost(ctx)
}

// take takes the refusals of the seconds before one, in order of time.
func (r *Recorder) take(before int64) []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ready []Entry
	for of, e := range r.pending {
		if of.second < before {
			ready = append(ready, *e)
			delete(r.pending, of)
		}
	}
	maps.DeleteFunc(r.counts, func(of chainSecond, _ int) bool { return of.second < before })
	slices.SortFunc(ready, func(a, b Entry) int { return a.At.Compare(b.At) })
	return ready
}

func (r *Recorder) append(ctx context.Context, batch []Entry) bool {
	writing, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	err := r.store.Append(writing, batch)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.failing = false
		return true
	}
	r.metrics.failures.Inc()
	if !r.failing {
		r.logger.Error("refusals could not be stored in the audit log, and are tried again for a while", "error", err, "for", keptFor.String())
	}
	r.failing = true
	return false
}

// putBack has entries stored later, but for those that are too old.
func (r *Recorder) putBack(batch []Entry) {
	oldest := time.Now().Add(-keptFor)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range batch {
		of := refusalOf(&e)
		if e.At.Before(oldest) || len(r.pending) >= mostKept {
			r.lost += e.Count
			r.metrics.lost.Add(float64(e.Count))
			continue
		}
		r.pending[of] = &e
		r.counts[of.chainSecond]++
	}
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
	stored := r.append(ctx, []Entry{{
		At: time.Now(), Tenant: Platform, Actor: "gateway", Action: LostAction, Outcome: Refused, Count: lost,
		Reason: "the database did not answer for too long",
	}})
	if stored {
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
	heads, err := r.store.Heads(reading, since, mostHeads)
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
	heads, err := r.store.Heads(ctx, time.Time{}, mostHeads)
	if err != nil {
		r.failed(ctx, "the audit log's chains could not be listed; what is old stays for another hour", err)
		return
	}
	for _, h := range heads {
		if err := r.trimChain(ctx, h.Tenant); err != nil {
			r.failed(ctx, "old entries of the audit log could not be removed, and stay for another hour", err)
			return
		}
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
		n, err := r.store.Trim(ctx, tenant, before, most)
		if err != nil || n < trimAtOnce {
			return err
		}
	}
}
