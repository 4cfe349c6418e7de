package ort

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// maxShapes bounds the input shapes that a session remembers the outputs of.
const maxShapes = 256

// shapeCache remembers which output shapes followed from which input shapes,
// so that outputs are allocated before the run. A model whose output shape
// depends on the data disproves itself once and is not preallocated for again.
type shapeCache struct {
	dependent atomic.Bool

	mu    sync.RWMutex
	known map[string][]knownShape
}

// knownShape is one output's; the shape is nil when it is not preallocated.
type knownShape struct {
	dims  []int64
	bytes int
}

// key differs for runs whose output shapes may differ.
func (c *shapeCache) key(buf []byte, inputs []infer.Tensor, outputs []string) []byte {
	for _, name := range outputs {
		buf = binary.AppendUvarint(buf, uint64(len(name)))
		buf = append(buf, name...)
	}
	for i := range inputs {
		buf = binary.AppendUvarint(buf, uint64(len(inputs[i].Name)))
		buf = append(buf, inputs[i].Name...)
		buf = binary.AppendUvarint(buf, uint64(len(inputs[i].Shape)))
		for _, d := range inputs[i].Shape {
			buf = binary.AppendVarint(buf, d)
		}
	}
	return buf
}

func (c *shapeCache) get(key []byte) []knownShape {
	if c.dependent.Load() {
		return nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.known[string(key)]
}

// put learns from a run whose outputs ONNX Runtime allocated.
func (c *shapeCache) put(key []byte, outputs []infer.Tensor) {
	if c.dependent.Load() {
		return
	}
	shapes := make([]knownShape, len(outputs))
	for i := range outputs {
		if outputs[i].DataType != infer.Bytes {
			shapes[i] = knownShape{dims: slices.Clone(outputs[i].Shape), bytes: len(outputs[i].Data)}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxShapes || c.known == nil {
		c.known = make(map[string][]knownShape)
	}
	c.known[string(key)] = shapes
}

// disprove ends preallocation: the same input shapes gave other output shapes.
func (c *shapeCache) disprove() {
	c.dependent.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = nil
}
