package model

import (
	"slices"
	"strconv"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Bounds on a manifest's settings and measurements of batches.
const (
	MaxBatch  = 4096       // rows of a batch
	MaxDelay  = 10_000_000 // µs that a request may be made to wait for others
	maxCosts  = 32         // sizes whose time is given
	maxRun    = 3600 * 1_000_000_000
	maxMemory = 1 << 50

	MaxRaggedBytes = 64 << 10 // of what is kept of an input that decides
	maxRaggedWith  = 16       // values of one
)

// batching checks the bounds of the publisher's settings of batches.
func (c *Checker) batching(b *Batching) {
	if b == nil {
		return
	}
	c.Require(b.MaxBatchSize >= 0 && b.MaxBatchSize <= MaxBatch, "batching.max_batch_size", "expected 0 to %d, got %d", MaxBatch, b.MaxBatchSize)
	c.Require(b.MaxDelay >= 0 && b.MaxDelay <= MaxDelay, "batching.max_delay_us", "expected 0 to %d, got %d", MaxDelay, b.MaxDelay)
}

// cost holds that a curve is one.
func (c *Checker) cost(cost *Cost) {
	if cost == nil {
		return
	}
	c.Require(cost.Memory >= 0 && cost.Memory <= maxMemory, "cost.memory_bytes", "expected 0 to %d, got %d", int64(maxMemory), cost.Memory)
	if len(cost.Batches) > maxCosts {
		c.Require(false, "cost.batches", "%d sizes, at most %d", len(cost.Batches), maxCosts)
		return
	}
	last := 0
	for i, b := range cost.Batches {
		at := "cost.batches[" + strconv.Itoa(i) + "]"
		c.Require(b.Size > last && b.Size <= MaxBatch, at+".size", "expected %d to %d, rising, got %d", last+1, MaxBatch, b.Size)
		c.Require(b.Alone > 0 && b.Alone <= maxRun, at+".alone_ns", "expected 1 to %d, got %d", int64(maxRun), b.Alone)
		c.Require(b.Busy > 0 && b.Busy <= maxRun, at+".busy_ns", "expected 1 to %d, got %d", int64(maxRun), b.Busy)
		last = max(last, b.Size)
	}
}

// ragged holds that inputs can be padded, and outputs be cut.
func (c *Checker) ragged(m *Manifest) {
	for i := range m.Inputs {
		spec, at := &m.Inputs[i], "inputs["+strconv.Itoa(i)+"].ragged"
		c.raggedWith(spec, at+"_with")
		if spec.Ragged == nil {
			continue
		}
		c.raggedAxis(m.BatchAxis, spec, at)
		_, fits := infer.AppendNumber(nil, spec.DataType, spec.Ragged.Pad)
		c.Require(fits || spec.DataType == infer.Bytes, at+".pad", "expected a finite number that %.20s has, got %v", string(spec.DataType), spec.Ragged.Pad)
		c.Require(spec.Ragged.Max >= 0, at+".up_to", "expected 0 or more, got %d", spec.Ragged.Max)
		c.Require(spec.Ragged.Before >= 0, at+".max", "expected 0 or more, got %d", spec.Ragged.Before)
		c.Require(spec.Ragged.Of == "", at+".of", "only an output follows an input, got %.100q", spec.Ragged.Of)
		c.Require(spec.Ragged.Divide == 0, at+".divide", "only an output has it, got %d", spec.Ragged.Divide)
	}
	for i := range m.Outputs {
		spec, at := &m.Outputs[i], "outputs["+strconv.Itoa(i)+"].ragged"
		c.Require(spec.RaggedWith == nil, at+"_with", "only an input has it")
		if spec.Ragged == nil {
			continue
		}
		c.raggedAxis(m.BatchAxis, spec, at)
		c.Require(spec.Ragged.Pad == 0, at+".pad", "only an input has it, got %v", spec.Ragged.Pad)
		c.Require(spec.Ragged.Max == 0, at+".up_to", "only an input has it, got %d", spec.Ragged.Max)
		c.Require(spec.Ragged.Before == 0, at+".max", "only an input has it, got %d", spec.Ragged.Before)
		c.Require(!spec.Ragged.Blank, at+".blank", "only an input has it")
		c.Require(spec.Ragged.Divide >= 0, at+".divide", "expected 0 or more, got %d", spec.Ragged.Divide)
		c.Require(slices.ContainsFunc(m.Inputs, func(in infer.TensorSpec) bool { return in.Name == spec.Ragged.Of && in.Ragged != nil }),
			at+".of", "expected an input that is ragged, got %.100q", spec.Ragged.Of)
	}
}

// raggedWith holds what is kept of an input that decides within its bounds.
func (c *Checker) raggedWith(spec *infer.TensorSpec, at string) {
	if spec.RaggedWith == nil {
		return
	}
	c.Require(spec.Ragged == nil && (spec.Unbatched || spec.DataType == infer.Bytes), at, "only an input that is unbatched or BYTES has it")
	size := 0
	for _, value := range spec.RaggedWith {
		size += len(value)
	}
	c.Require(len(spec.RaggedWith) <= maxRaggedWith && size <= MaxRaggedBytes, at, "expected at most %d values of %d bytes, got %d of %d",
		maxRaggedWith, MaxRaggedBytes, len(spec.RaggedWith), size)
}

// raggedAxis holds that requests of a batch may differ along the axis.
func (c *Checker) raggedAxis(batch *int, spec *infer.TensorSpec, at string) {
	axis := spec.Ragged.Axis
	c.Require(batch != nil, at, "the model has no batch axis")
	c.Require(!spec.Unbatched, at, "%.100q is unbatched", spec.Name)
	c.Require(spec.DataType != infer.Bytes, at, "%.100q is BYTES, which nothing pads", spec.Name)
	c.Require(batch == nil || axis != *batch, at+".axis", "%d is the batch axis", axis)
	if axis < 0 || axis >= len(spec.Shape) {
		c.Require(false, at+".axis", "expected an axis of the shape %v, got %d", spec.Shape, axis)
		return
	}
	c.Require(spec.Shape[axis] == infer.Dynamic, at+".axis", "axis %d of the shape %v is not dynamic", axis, spec.Shape)
}
