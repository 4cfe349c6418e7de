package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// answerLimit is how long a caller waits; cancelOf of so many gives up sooner.
const (
	answerLimit = time.Minute
	cancelOf    = 30
)

// tally counts what became of requests.
type tally struct {
	mu        sync.Mutex
	answered  int
	cancelled int
	refusals  int // of what was to be refused
	tooMany   int
	failed    int
	faults    map[string]int // what went wrong, and how often
	slowest   time.Duration
}

const maxFaults = 20

// one asks a question and takes down what came of it. It ends a little after ctx
// at most: a request under way has its answer.
func (t *tally) one(ctx context.Context, call caller, q question) {
	if q.done != nil {
		defer q.done()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerLimit)
	defer cancel()
	gaveUp := false
	if rand.IntN(cancelOf) == 0 {
		gaveUp = true
		stop := time.AfterFunc(rand.N(20*time.Millisecond), cancel)
		defer stop.Stop()
	}
	began := time.Now()
	a, err := call(ctx, &q)
	took := time.Since(began)
	if err == nil {
		err = q.check(a)
	} else if gaveUp && ctx.Err() != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.cancelled++
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.answered++
		t.slowest = max(t.slowest, took)
	case errors.Is(err, errTooMany):
		t.tooMany++
		t.fault(&q, err)
	default:
		t.failed++
		t.fault(&q, err)
	}
}

// refused takes down what came of a request that had to be refused.
func (t *tally) refused(err, want error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(err, want) {
		t.refusals++
		return
	}
	t.failed++
	t.fault(&question{model: "a request that is too large"}, fmt.Errorf("expected a refusal (%w), got %w", want, err))
}

// fault remembers some of what went wrong. It is called under mu.
func (t *tally) fault(q *question, err error) {
	text := q.model
	if q.version != "" {
		text += "@" + q.version
	}
	detail, _, _ := strings.Cut(err.Error(), `,"request_id"`) // so that like faults are counted together
	text += ": " + strings.TrimSpace(detail)
	progress("soak: %s", text)
	if t.faults == nil {
		t.faults = map[string]int{}
	}
	if len(t.faults) < maxFaults || t.faults[text] > 0 {
		t.faults[text]++
	}
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%d answered, %d cancelled, %d refused as too large, %d failed, %d too many, slowest %s",
		t.answered, t.cancelled, t.refusals, t.failed, t.tooMany, t.slowest.Round(time.Millisecond))
}

// verdict is the soak's table. It unloads every model: what is still held then is
// a lease that nobody gave back.
func (s *soaking) verdict(ctx context.Context) ([]row, error) {
	found, err := s.drain(ctx)
	if err != nil {
		return nil, err
	}
	pids, err := s.processes("pool")
	if err != nil {
		return nil, err
	}
	n := func(name string, labels ...string) int { return int(found.sum(name, labels...)) }
	evicted, swapped := n("modelserve_model_evictions_total", `reason="memory"`), n("modelserve_model_swaps_total", `outcome="ok"`)
	t := &s.tally
	rows := []row{
		{fmt.Sprintf("%d answers of right values in %s, %d cancelled, %d refused as too large", t.answered, s.took.Round(time.Second), t.cancelled, t.refusals), "failed requests", fmt.Sprint(t.failed), "0", t.failed == 0 && t.answered > 0},
		{"the slowest answer took " + t.slowest.Round(time.Millisecond).String(), "answers 429", fmt.Sprint(t.tooMany), "0", t.tooMany == 0},
		{fmt.Sprintf("%d versions pushed, %d policies changed, %d versions deleted, %d unloads; answers of %s", s.pushed, s.changed, s.deleted, s.unloads, s.versions()), "swaps", fmt.Sprint(swapped), "> 0", swapped > 0},
		{fmt.Sprintf("%d loads, %d without room; %d evicted as superseded, %d as deleted", n("modelserve_model_loads_total"), n("modelserve_model_loads_total", `outcome="no_room"`), n("modelserve_model_evictions_total", `reason="superseded"`), n("modelserve_model_evictions_total", `reason="deleted"`)), "evictions for memory", fmt.Sprint(evicted), "> 0", evicted > 0},
		{"loads that failed", "—", fmt.Sprint(n("modelserve_model_loads_total", `outcome="failed"`)), "0", n("modelserve_model_loads_total", `outcome="failed"`) == 0},
		{"once all is unloaded: requests in flight, versions loaded, bytes of models", "—", fmt.Sprintf("%d, %d, %d", n("modelserve_requests_in_flight"), n("modelserve_models_loaded"), n("modelserve_models_memory_bytes", `kind="used"`)), "0, 0, 0", idle(found)},
		{"processes of the pool", "the one it began with", fmt.Sprint(len(pids)), "1", slices.Equal(pids, []int{s.pool.pid})},
	}
	for _, figure := range []struct {
		what string
		unit float64
		of   func(sample) float64
	}{
		{"resident memory of the pool, MB", 1e6, func(s sample) float64 { return s.resident }},
		{"its goroutines", 1, func(s sample) float64 { return s.goroutines }},
		{"its open files", 1, func(s sample) float64 { return s.files }},
	} {
		second, last, err := s.pool.quarters(figure.of)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row{
			fmt.Sprintf("%s: median of the last quarter (%.0f)", figure.what, last/figure.unit), fmt.Sprintf("of the second (%.0f)", second/figure.unit),
			fmt.Sprintf("%.2f", last/second), "≤ 1.10", last <= 1.1*second,
		})
	}
	for _, text := range slices.Sorted(maps.Keys(t.faults)) {
		progress("soak: %d times: %s", t.faults[text], text)
	}
	return rows, nil
}

// versions lists how many versions of each lineage answered.
func (s *soaking) versions() string {
	var words []string
	for _, l := range []*lineage{s.newest, s.stable, s.split} {
		l.mu.Lock()
		words = append(words, fmt.Sprintf("%d of %d of %s", len(l.answered), l.newest, l.name))
		l.mu.Unlock()
	}
	return strings.Join(words, ", ")
}

// drained is how long the pool may take to give everything back.
const drained = 10 * time.Second

// drain unloads every model, and returns the pool's metrics when nothing is held
// any more, or the time is up.
func (s *soaking) drain(ctx context.Context) (series, error) {
	for _, name := range s.names() {
		if err := s.unloadOne(ctx, s.http1, name); err != nil {
			return nil, err
		}
	}
	for began := time.Now(); ; {
		found, err := s.pool.read(ctx)
		if err != nil || idle(found) || time.Since(began) > drained {
			return found, err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func idle(found series) bool {
	return found.sum("modelserve_requests_in_flight") == 0 && found.sum("modelserve_batch_queue_length") == 0 &&
		found.sum("modelserve_models_loaded") == 0 && found.sum("modelserve_models_memory_bytes", `kind="used"`) == 0
}
