package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// bound is how a device's runs reach its memory: through an I/O binding, over
// host memory of the kind that the device copies from by itself (for CUDA,
// page-locked). It is the session's.
type bound struct {
	lib       *Library
	memory    *C.OrtMemoryInfo
	allocator *C.OrtAllocator
}

// newBound finds the kind of memory by its name and number.
func (s *Session) newBound(name string, number int) (*bound, error) {
	b := &bound{lib: s.lib}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	err := s.lib.check(C.ms_bound(s.lib.api, s.ptr, cname, C.int(number), &b.memory, &b.allocator))
	if err != nil {
		b.free()
		return nil, fmt.Errorf("%s memory: %w", name, err)
	}
	return b, nil
}

func (b *bound) free() {
	C.ms_bound_free(b.lib.api, b.memory, b.allocator)
	b.memory, b.allocator = nil, nil
}

// staging is one call's memory of that kind: inputs are copied into it and
// outputs out of it. It grows to the largest run and is kept, because
// page-locking memory takes longer than most runs.
type staging struct {
	bound *bound
	data  unsafe.Pointer
	size  int
}

// stagingAlign is what the elements in it begin at a multiple of.
const stagingAlign = 256

func stagedSize(n int) int { return (n + stagingAlign - 1) &^ (stagingAlign - 1) }

// grow makes room for size bytes; what was there is lost.
func (g *staging) grow(size int) error {
	if size <= g.size {
		return nil
	}
	g.free()
	l := g.bound.lib
	if err := l.check(C.ms_alloc(l.api, g.bound.allocator, C.size_t(size), &g.data)); err != nil {
		return fmt.Errorf("%d bytes of host memory for the device: %w", size, err)
	}
	g.size = size
	return nil
}

func (g *staging) free() {
	C.ms_free(g.bound.lib.api, g.bound.allocator, g.data)
	g.data, g.size = nil, 0
}

// stage copies the inputs into the call's staging memory, and puts the slots
// of them and of the outputs of known shape over it.
func (c *call) stage(inputs []infer.Tensor) error {
	size := 0
	for i := range inputs {
		if inputs[i].DataType != infer.Bytes {
			size += stagedSize(len(inputs[i].Data))
		}
	}
	for i := range c.outputs() {
		if c.buffers[i] != nil {
			size += stagedSize(max(int(c.outputs()[i].len), 1))
		}
	}
	if err := c.staging.grow(size); err != nil {
		return err
	}
	at := 0
	place := func(slot *C.ms_slot, n int) []byte {
		if n == 0 && c.staging.data == nil {
			return nil
		}
		slot.data = unsafe.Add(c.staging.data, at)
		at += stagedSize(n)
		return unsafe.Slice((*byte)(slot.data), n)
	}
	for i := range inputs {
		if inputs[i].DataType != infer.Bytes {
			copy(place(&c.inputs()[i], len(inputs[i].Data)), inputs[i].Data)
		}
	}
	for i := range c.outputs() {
		if c.buffers[i] != nil {
			c.s.lib.buffers.fill(place(&c.outputs()[i], max(int(c.outputs()[i].len), 1)))
		}
	}
	return nil
}

// unstage copies the outputs that were written there into their buffers.
func (c *call) unstage() {
	for i := range c.outputs() {
		if slot := &c.outputs()[i]; c.inPlace(i) && slot.len > 0 {
			copy(c.buffers[i].bytes(int(slot.len)), unsafe.Slice((*byte)(slot.data), int(slot.len)))
		}
	}
}
