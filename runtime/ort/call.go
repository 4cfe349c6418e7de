package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// maxIdleCalls bounds the calls that a session keeps for later runs.
const maxIdleCalls = 64

// call is one run's part of a session. It is kept from run to run: what it
// holds is native, and costs neither an allocation nor a crossing to have
// again.
type call struct {
	s       *Session
	c       *C.ms_call
	pinner  runtime.Pinner // keeps the memory that native tensors point at in its place
	counted int64          // of the native values, what Live knows of
	staging *staging       // of a device that copies from memory of its own kind

	copies  []*buffer // of inputs that were not aligned
	wanted  []string
	buffers []*buffer // of outputs, where they have one

	held    memory.Holder // what outputs are charged to
	charged int64         // of this run

	shrink     bool   // what a device keeps for runs, after this one
	terminate  func() // stops the run
	terminated chan struct{}
}

// calls are a session's idle ones.
type calls struct {
	mu   sync.Mutex
	idle []*call
}

func (p *calls) get() *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	c := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return c
}

// put keeps c, or returns false where there are enough.
func (p *calls) put(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= maxIdleCalls {
		return false
	}
	p.idle = append(p.idle, c)
	return true
}

// newCall takes an idle call or makes one.
func (s *Session) newCall() (*call, error) {
	if c := s.calls.get(); c != nil {
		return c, nil
	}
	c := &call{s: s, terminated: make(chan struct{}, 1)}
	c.c = C.ms_call_new(s.ptr, s.pool, s.memory(), C.size_t(len(s.inputs)), C.size_t(len(s.outputs)))
	if c.c == nil {
		return nil, errors.New("no memory for a run")
	}
	if err := s.lib.check(C.ms_call_bind(s.lib.api, c.c, s.lib.memory, s.lib.allocator)); err != nil {
		c.free()
		return nil, fmt.Errorf("I/O binding: %w", err)
	}
	if s.bound != nil {
		c.staging = &staging{bound: s.bound}
	}
	c.terminate = func() {
		// The flag is a plain store: what else could be done if it failed?
		_ = s.lib.check(C.ms_call_terminate(s.lib.api, c.c))
		c.terminated <- struct{}{}
	}
	return c, nil
}

// finish takes back what the run held, and keeps the call for another.
func (c *call) finish() {
	C.ms_call_reset(c.s.lib.api, c.c)
	c.count()
	for _, b := range c.copies {
		c.s.lib.buffers.put(b)
	}
	clear(c.copies)
	clear(c.buffers)
	c.copies, c.buffers, c.wanted = c.copies[:0], c.buffers[:0], nil
	c.held, c.charged = nil, 0
	c.pinner.Unpin()
	if !c.s.calls.put(c) {
		c.free()
	}
}

// free ends a call that no run has.
func (c *call) free() {
	if c.c.options != nil {
		c.forgetOptions()
	}
	C.ms_call_free(c.s.lib.api, c.c)
	c.c = nil
	if c.staging != nil {
		c.staging.free()
	}
}

// count adds the native values that came and went to Live.
func (c *call) count() {
	if n := int64(c.c.live); n != c.counted {
		c.s.lib.live.values.Add(n - c.counted)
		c.counted = n
	}
}

func (c *call) inputs() []C.ms_slot  { return unsafe.Slice(c.c.in, c.c.n_in) }
func (c *call) outputs() []C.ms_slot { return unsafe.Slice(c.c.out, c.c.n_out) }

// setInputs checks the inputs against the model and readies their slots.
func (c *call) setInputs(inputs []infer.Tensor) error {
	required := 0
	for i := range inputs {
		t := &inputs[i]
		port, ok := c.s.inputs[t.Name]
		if !ok {
			return invalid("the model has no input %q", t.Name)
		}
		if t.DataType != port.dataType {
			return invalid("input %q: expected %s, got %s", t.Name, port.dataType, t.DataType)
		}
		if has(c.inputs(), port.name) {
			return invalid("input %q is given twice", t.Name)
		}
		if err := c.setInput(t, port); err != nil {
			return fmt.Errorf("input %q: %w", t.Name, err)
		}
		if !port.optional {
			required++
		}
	}
	if required == c.s.required {
		return nil
	}
	for _, spec := range c.s.signature.Inputs[:c.s.required] {
		if !has(c.inputs(), c.s.inputs[spec.Name].name) {
			return invalid("input %q is missing", spec.Name)
		}
	}
	return nil
}

// setInput readies the next slot: over t's own memory where it may.
func (c *call) setInput(t *infer.Tensor, port port) error {
	if err := checkData(t); err != nil {
		return err
	}
	slot := (*C.ms_slot)(unsafe.Add(unsafe.Pointer(c.c.in), uintptr(c.c.n_in)*unsafe.Sizeof(*c.c.in)))
	slot.name, slot.element = port.name, port.element
	c.c.n_in++ // from here on, finish frees what the slot has
	if err := setShape(slot, t.Shape); err != nil {
		return err
	}
	if t.DataType == infer.Bytes {
		l := c.s.lib
		err := l.check(C.ms_call_strings(l.api, c.c, slot, l.allocator,
			(*C.uint8_t)(unsafe.Pointer(first(t.Data))), C.size_t(t.Elements())))
		c.count()
		return err
	}
	slot.len = C.size_t(len(t.Data))
	if c.staging == nil && len(t.Data) > 0 {
		c.point(slot, c.aligned(t))
	}
	return nil
}

// setOutputs readies the slots of the outputs asked for, without memory.
func (c *call) setOutputs(outputs []string) error {
	c.wanted = outputs
	for _, o := range outputs {
		port, ok := c.s.outputs[o]
		if !ok {
			return invalid("the model has no output %q", o)
		}
		if has(c.outputs(), port.name) {
			return invalid("output %q is asked for twice", o)
		}
		slot := (*C.ms_slot)(unsafe.Add(unsafe.Pointer(c.c.out), uintptr(c.c.n_out)*unsafe.Sizeof(*c.c.out)))
		slot.name, slot.element = port.name, port.element
		c.c.n_out++
		c.buffers = append(c.buffers, nil)
	}
	return nil
}

// has reports whether one of the slots is of that name, which is the session's
// own, so that comparing addresses is enough.
func has(slots []C.ms_slot, name *C.char) bool {
	for i := range slots {
		if slots[i].name == name {
			return true
		}
	}
	return false
}

func setShape(slot *C.ms_slot, shape []int64) error {
	dims := C.ms_slot_shape(slot, C.size_t(len(shape)))
	if dims == nil {
		return errors.New("no memory for a shape")
	}
	copy(unsafe.Slice((*int64)(dims), len(shape)), shape)
	return nil
}

// point puts a slot over memory of Go's, pinned until finish.
func (c *call) point(slot *C.ms_slot, data unsafe.Pointer) {
	c.pinner.Pin(data)
	slot.data = data
}

// aligned is where t's elements lie, copied if their type may not be read
// there.
func (c *call) aligned(t *infer.Tensor) unsafe.Pointer {
	data := unsafe.Pointer(&t.Data[0])
	if uintptr(data)%uintptr(t.DataType.Size()) == 0 {
		return data
	}
	b := c.s.lib.buffers.take(len(t.Data))
	c.copies = append(c.copies, b)
	copy(b.bytes(len(t.Data)), t.Data)
	return b.data()
}

// setOptions makes the run options where the run needs any.
func (c *call) setOptions(ctx context.Context) error {
	l := c.s.lib
	if c.c.options == nil && (c.shrink || ctx.Done() != nil) {
		if err := l.check(C.ms_call_options(l.api, c.c)); err != nil {
			return err
		}
		l.live.runs.Add(1)
	}
	if c.shrink {
		return l.check(C.ms_call_shrink(l.api, c.c, c.s.arenas))
	}
	return nil
}

// forgetOptions frees them: ONNX Runtime can add an entry and not remove it.
func (c *call) forgetOptions() {
	C.ms_call_forget(c.s.lib.api, c.c)
	c.s.lib.live.runs.Add(-1)
}

// invoke runs with the terminate flag tied to ctx.
func (c *call) invoke(ctx context.Context) error {
	l := c.s.lib
	if err := c.setOptions(ctx); err != nil {
		return fmt.Errorf("run options: %w", err)
	}
	if c.shrink {
		defer c.forgetOptions()
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, c.terminate)
		defer func() {
			if !stop() {
				<-c.terminated
				_ = l.check(C.ms_call_resume(l.api, c.c)) // a plain store too
			}
		}()
	}
	err := l.check(C.ms_call_run(l.api, c.c))
	c.count()
	return err
}

// first is a slice's address for C; nil when it is empty.
func first[T any](s []T) *T {
	if len(s) == 0 {
		return nil
	}
	return &s[0]
}
