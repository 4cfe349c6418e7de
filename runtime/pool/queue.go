package pool

import (
	"strings"
	"time"

	"github.com/modelserveai/modelserve/runtime/batch"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// newQueue makes the queue of a version that was loaded.
func (p *Pool) newQueue(e *entry, l *Loaded, stats *modelStats) *batch.Queue {
	sig := &l.Manifest.Signature
	m := batch.Model{
		Name: e.ref.Name, Signature: sig, Runner: l.Session, Points: pointsOf(l), MaxOutput: p.cfg.MaxOutput,
		Check:    func(outputs []infer.Tensor) error { return checkOutputs(sig, outputs) },
		Executed: stats.executed,
		Hold:     func() func() { return p.keep(e) },
		Rules:    &stats.rules,
		Misfit: func(rule string, why error) {
			what := "a model gives other answers to rows together than to each alone: its requests are not joined any more"
			if rule == batch.RuleRagged {
				what = "a model gives other answers to padded rows than it was proven to: its requests of different lengths are not joined any more"
			}
			p.logger.Error(what, "model", e.ref.Name, "version", e.ref.Version, "error", why)
		},
	}
	if set := l.Manifest.Batching; set != nil {
		m.MaxRows, m.MaxDelay = set.MaxBatchSize, time.Duration(set.MaxDelay)*time.Microsecond
	}
	return p.runs.NewQueue(m)
}

// pointsOf is a manifest's cost as the scheduler begins with it. It was measured
// on a CPU, and does not apply to a GPU: there, what is seen is all that is known.
func pointsOf(l *Loaded) []batch.Point {
	cost := l.Manifest.Cost
	if cost == nil || strings.HasPrefix(l.Device, "cuda") {
		return nil
	}
	points := make([]batch.Point, len(cost.Batches))
	for i, b := range cost.Batches {
		points[i] = batch.Point{Size: b.Size, Alone: time.Duration(b.Alone), Busy: time.Duration(b.Busy)}
	}
	return points
}

// keep holds a version for a shared run, whose callers hold it now but may go
// before it ends.
func (p *Pool) keep(e *entry) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.leases++
	p.work.Add(1)
	return func() { p.release(e, 0) }
}
