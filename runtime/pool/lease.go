package pool

import (
	"context"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/runtime/batch"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// lease implements serve.Lease.
type lease struct {
	pool  *Pool
	entry *entry
	alias string
	stats *modelStats
	once  sync.Once
}

// Info implements serve.Lease.
func (l *lease) Info() *serve.ModelInfo { return l.entry.info }

// Release implements serve.Lease.
func (l *lease) Release() { l.once.Do(func() { l.pool.release(l.entry, l.measure()) }) }

// Alias is the alias that chose the version ("latest", "stable"); "" is none.
func (l *lease) Alias() string { return l.alias }

// measure asks the session what it takes, now and then; else it is 0.
func (l *lease) measure() int64 {
	s, ok := l.entry.loaded.Session.(sized)
	last, now := l.entry.measured.Load(), time.Now().UnixNano()
	if !ok || now-last < int64(measureEvery) || !l.entry.measured.CompareAndSwap(last, now) {
		return 0
	}
	return s.Memory()
}

// Run implements serve.Lease.
func (l *lease) Run(ctx context.Context, req *infer.Request) (*infer.Response, error) {
	began := time.Now()
	res, err := l.run(ctx, req)
	l.stats.record(began, rows(&l.entry.loaded.Manifest.Signature, req.Inputs), res, err)
	return res, err
}

func (l *lease) run(ctx context.Context, req *infer.Request) (*infer.Response, error) {
	loaded := l.entry.loaded
	if err := loaded.Manifest.Validate(req); err != nil {
		return nil, err
	}
	wanted := l.entry.outputs
	if len(req.Outputs) > 0 {
		wanted = make([]string, len(req.Outputs))
		for i, o := range req.Outputs {
			wanted[i] = o.Name
		}
	}
	if !l.stats.rules.Broken(batch.RuleRows) { // else nothing is sure before the run
		if err := checkOutput(&loaded.Manifest.Signature, req.Inputs, wanted, l.pool.cfg.MaxOutput); err != nil {
			return nil, err
		}
	}
	result, err := l.entry.queue.Run(ctx, req, wanted)
	if err != nil {
		return nil, err
	}
	if err := checkAnswer(result.Outputs, l.pool.cfg.MaxOutput); err != nil {
		result.Release()
		return nil, err
	}
	timing := l.takeCold()
	timing.Queue, timing.Input, timing.Infer, timing.Output = result.Timing.Queue, result.Timing.Input, result.Timing.Infer, result.Timing.Output
	timing.BatchSize, timing.Rows = result.Timing.BatchSize, result.Timing.Rows
	return &infer.Response{
		Model:     l.entry.info.Name,
		Version:   l.entry.info.Version,
		ID:        req.ID,
		Outputs:   result.Outputs,
		Timing:    timing,
		OnRelease: result.Release,
	}, nil
}

// takeCold returns what the load took, to the first run after it only.
func (l *lease) takeCold() infer.Timing {
	if l.entry.cold.Load() == nil { // nearly always
		return infer.Timing{}
	}
	if t := l.entry.cold.Swap(nil); t != nil {
		return *t
	}
	return infer.Timing{}
}

// rows is how many rows of the batch axis the inputs hold; 1 without one.
func rows(sig *infer.Signature, inputs []infer.Tensor) int {
	if i := batched(sig, inputs); i >= 0 {
		return int(inputs[i].Shape[*sig.BatchAxis])
	}
	return 1
}
