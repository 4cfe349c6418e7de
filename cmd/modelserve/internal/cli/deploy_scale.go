package cli

import (
	"math"
	"time"

	"github.com/modelserveai/modelserve/runtime/model"
)

// What the scale of a service follows from, beside its model's cost curve.
// config/README.md explains the same to people.
const (
	nearBest   = 0.97                   // of the best rate: more rows than that needs only wait
	processors = 2                      // that an instance is counted on to have
	ahead      = 100 * time.Millisecond // of work that may be under way in an instance
	burst      = 4                      // targets that an instance takes while others start

	// mostAtOnce is what a function queues before it refuses (MODELSERVE_QUEUE).
	mostAtOnce = 256
	// unmeasured is for a model whose cost was not measured.
	unmeasured = 32
)

// scale is how many requests one instance of a service is for.
type scale struct {
	concurrency int // at once at most: containerConcurrency
	target      int // at once, on average, before another instance starts; 0 leaves it to Knative
}

// scaleOf derives the scale from what a run of the model costs with every
// processor busy. A request has so many rows of it.
//
// The target is what keeps each processor at a run of the size that pays and
// another gathering behind it, or 100 ms of work where that is more: what is over
// it would only wait. An instance takes four times that, so that a burst waits in
// it, and not at the door, while more instances start.
func scaleOf(m *model.Manifest, rows int) scale {
	size, busy := paying(m)
	if size == 0 {
		return scale{concurrency: unmeasured}
	}
	batch := math.Ceil(float64(size) / float64(rows)) // in requests
	inTime := float64(size) / float64(rows) * float64(ahead) / float64(busy)
	target := processors * int(math.Ceil(max(2*batch, inTime)))
	target = min(target, mostAtOnce)
	return scale{concurrency: min(burst*target, mostAtOnce), target: target}
}

// paying is the smallest measured size of a run that answers about as many rows a
// second as any does, and its time; 0 when it was not measured. It is what
// runtime/batch begins with.
func paying(m *model.Manifest) (size int, busy time.Duration) {
	if m.Cost == nil {
		return 0, 0
	}
	rate := func(b model.BatchCost) float64 { return float64(b.Size) / float64(b.Busy) }
	allowed := func(b model.BatchCost) bool {
		return b.Size == 1 || m.BatchAxis != nil && (m.Batching == nil || m.Batching.MaxBatchSize == 0 || b.Size <= m.Batching.MaxBatchSize)
	}
	var best float64
	for _, b := range m.Cost.Batches {
		if allowed(b) {
			best = max(best, rate(b))
		}
	}
	for _, b := range m.Cost.Batches {
		if allowed(b) && rate(b) >= nearBest*best {
			return b.Size, time.Duration(b.Busy)
		}
	}
	return 0, 0
}

// How long a version may take to be ready: the start of its container and the
// load of its files at a rate that a busy network has.
const (
	leastDeadline = 120 * time.Second
	leastRate     = 25 << 20 // bytes a second
)

// deadlineOf is the progress deadline of a model's service, in whole seconds as
// Knative wants it.
func deadlineOf(m *model.Manifest) time.Duration {
	load := time.Duration(pushedSize(m)/leastRate) * time.Second
	return max(leastDeadline, leastDeadline/2+load)
}

// memoryOf is what a service requests of memory, in MiB: what the model was
// measured to take, and the process around it. 0 when it was not measured.
func memoryOf(m *model.Manifest) int64 {
	const process, step = 64, 32 // MiB
	if m.Cost == nil || m.Cost.Memory == 0 {
		return 0
	}
	model := m.Cost.Memory >> 20
	return (model + process + step - 1) / step * step
}
