package pool

import (
	"sort"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/runtime/batch"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// maxBatchSizes bounds the batch sizes counted apart; rarer ones are counted
// in the totals only.
const maxBatchSizes = 64

// modelStats counts one version's runs since the process began. It outlives
// the version's loads and unloads.
type modelStats struct {
	mu      sync.Mutex
	total   serve.ModelStats
	batches map[int]*serve.BatchStats
	rules   batch.Rules // that it was seen to break
	took    took        // when it was loaded last; under Pool.mu
}

// took is the memory, in bytes, of what was published with a tag.
type took struct {
	tag   string
	bytes int64
}

// record counts a request of so many rows.
func (s *modelStats) record(began time.Time, rows int, res *infer.Response, err error) {
	took := time.Since(began)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		add(&s.total.Fail, took)
		return
	}
	t := &res.Timing
	s.total.LastInference = began
	s.total.InferenceCount += uint64(max(rows, 0))
	add(&s.total.Success, took)
	add(&s.total.Queue, t.Queue)
	add(&s.total.ComputeInput, t.Input)
	add(&s.total.ComputeInfer, t.Infer)
	add(&s.total.ComputeOutput, t.Output)
}

// executed counts a run of the model, of one request or several.
func (s *modelStats) executed(t infer.Timing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.ExecutionCount++
	b := s.batches[t.BatchSize]
	if b == nil {
		if len(s.batches) >= maxBatchSizes {
			return
		}
		b = &serve.BatchStats{BatchSize: uint64(max(t.BatchSize, 0))}
		s.batches[t.BatchSize] = b
	}
	add(&b.ComputeInput, t.Input)
	add(&b.ComputeInfer, t.Infer)
	add(&b.ComputeOutput, t.Output)
}

func add(d *serve.Duration, took time.Duration) {
	d.Count++
	d.Total += took
}

func (s *modelStats) snapshot() serve.ModelStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.total
	for _, b := range s.batches {
		out.Batches = append(out.Batches, *b)
	}
	sort.Slice(out.Batches, func(i, j int) bool { return out.Batches[i].BatchSize < out.Batches[j].BatchSize })
	return out
}
