package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Run runs the model on inputs and returns the outputs asked for, in the order
// asked; none asked for are all, in the signature's order. Inputs are read in
// place and must not change until Run returns.
//
// The outputs are valid until release is called; calling it twice is safe, and
// never calling it costs only the reuse of their memory. release is nil when
// Run fails. What the outputs take is charged to held before it is allocated, and is
// the caller's to give back, after release; of a Run that fails nothing stays charged.
//
// When ctx ends, ONNX Runtime is asked to stop; it checks that between two
// operators, and Run returns ctx.Err() then. The session stays usable. Inputs that do not
// fit the model, or that one of its operators refuses, are
// problem.InvalidArgument over the *Error; those that there is no memory for,
// problem.PayloadTooLarge; a GPU that fails, problem.ModelFailed. What finds no memory
// beside other runs of the session is run again when these have ended, alone.
func (s *Session) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
	results, release, beside, err := s.inTurn(ctx, 1, held, inputs, outputs)
	var native *Error // an output that is larger than may be is none
	if beside && problem.CodeOf(err) == problem.PayloadTooLarge && errors.As(err, &native) {
		results, release, _, err = s.inTurn(ctx, allTurns, held, inputs, outputs)
	}
	return results, release, err
}

// allTurns is more runs than a session ever has at once.
const allTurns = 1 << 30

// inTurn runs with so many of the session's turns. beside is whether others ran at the
// same time.
func (s *Session) inTurn(ctx context.Context, turns int64, held memory.Holder, inputs []infer.Tensor, outputs []string) (results []infer.Tensor, release func(), beside bool, err error) {
	if err := s.turns.Acquire(ctx, turns); err != nil {
		return nil, nil, false, err //nolint:wrapcheck // ctx's own
	}
	defer s.turns.Release(turns)
	others := s.begun.Add(1) - 1
	beside = others > s.ended.Load()
	defer s.ended.Add(1)
	results, release, err = s.once(ctx, held, inputs, outputs)
	return results, release, beside || s.begun.Load() > others+1, err
}

// once runs the model once.
func (s *Session) once(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if s.closed.Load() {
		return nil, nil, ErrClosed
	}
	s.running.RLock()
	defer s.running.RUnlock()
	if s.ptr == nil {
		return nil, nil, ErrClosed
	}
	if len(outputs) == 0 {
		outputs = s.allOutputs
	}
	c, err := s.newCall()
	if err != nil {
		return nil, nil, err
	}
	defer c.finish()
	c.held = held
	if err = c.setInputs(inputs); err == nil {
		err = c.setOutputs(outputs)
	}
	if err != nil {
		return nil, nil, problem.New(problem.InvalidArgument, "%w", err)
	}
	var scratch [256]byte
	key := s.shapes.key(scratch[:0], inputs, outputs)
	if s.arenas != nil {
		c.shrink = s.use.ran(sizeOf(inputs))
	}
	a, err := c.run(ctx, key, inputs)
	if s.pooled.ran(max(int(c.c.high), leastPooled)) {
		C.ms_pool_trim(s.pool)
	}
	if err != nil {
		c.dropBuffers()
		c.uncharge()
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		return nil, nil, s.failure(err)
	}
	return a.tensors, a.release, nil
}

// failure is what a run's error means to its caller. ONNX Runtime has the same
// code for all of them, so the message decides.
func (s *Session) failure(err error) error {
	var native *Error
	if !errors.As(err, &native) {
		return err
	}
	if short, _, found := strings.Cut(native.Message, " ; GPU="); found { // and the host's name, and the line in a source
		err = &Error{Code: native.Code, Message: short}
	}
	switch {
	case native.has("allocate memory", "smaller than requested bytes", "out of memory", "cudaErrorMemoryAllocation", "STATUS_ALLOC_FAILED", "bad_alloc"):
		return problem.New(problem.PayloadTooLarge, "there is not enough memory on %s for these inputs, send fewer rows or smaller ones: %w", s.device, err)
	case native.has("CUDA failure", "CUDA error", "CUDNN failure", "CUBLAS failure", "CUFFT failure"):
		return problem.New(problem.ModelFailed, "%s failed while the model ran: %w", s.device, err)
	default:
		return problem.New(problem.InvalidArgument, "the model does not run on these inputs: %w", err)
	}
}

// run tries preallocated outputs where the shapes are known, and outputs that
// ONNX Runtime allocates otherwise.
func (c *call) run(ctx context.Context, key []byte, inputs []infer.Tensor) (*answer, error) {
	known := c.s.shapes.get(key)
	if known != nil {
		err := c.preallocate(ctx, known)
		if err == nil {
			err = c.start(ctx, inputs)
		}
		if err == nil {
			return c.answer(ctx, known)
		}
		var native *Error // else there is no room for the outputs
		if ctx.Err() != nil || !errors.As(err, &native) {
			return nil, err
		}
		// Either the run is wrong or the shapes were: without them it fails
		// again, or proves that they depend on the data.
		c.dropBuffers()
		c.uncharge()
	}
	if err := c.start(ctx, inputs); err != nil {
		return nil, err
	}
	a, err := c.answer(ctx, nil)
	if err != nil {
		return nil, err
	}
	if known != nil {
		c.s.shapes.disprove()
	} else {
		c.s.shapes.put(key, a.tensors)
	}
	return a, nil
}

// start runs, by way of the staging memory where the device has one.
func (c *call) start(ctx context.Context, inputs []infer.Tensor) error {
	if c.staging == nil {
		return c.invoke(ctx)
	}
	if err := c.stage(inputs); err != nil {
		return err
	}
	if err := c.invoke(ctx); err != nil {
		return err
	}
	c.unstage()
	return nil
}

// preallocate offers ONNX Runtime memory for the outputs whose shape is known.
// It need not use it: see collect in bridge_call.c.
func (c *call) preallocate(ctx context.Context, known []knownShape) error {
	sum := int64(0)
	for i := range known {
		if known[i].dims != nil {
			if err := c.admitOutput(int64(known[i].bytes)); err != nil {
				return err
			}
			sum += buffersSize(known[i].bytes)
		}
	}
	if err := c.charge(ctx, sum); err != nil {
		return err
	}
	for i := range known {
		k, slot := &known[i], &c.outputs()[i]
		if k.dims == nil {
			continue
		}
		if err := setShape(slot, k.dims); err != nil {
			return fmt.Errorf("output %q: %w", c.wanted[i], err)
		}
		b := c.s.lib.buffers.blank(k.bytes)
		c.buffers[i] = b
		slot.len = C.size_t(k.bytes)
		if c.staging == nil {
			c.point(slot, b.data())
		}
	}
	return nil
}

// buffersSize is what a buffer of n bytes takes.
func buffersSize(n int) int64 {
	_, size := classOf(n)
	return int64(size)
}

// charge takes n bytes for outputs.
func (c *call) charge(ctx context.Context, n int64) error {
	if n == 0 {
		return nil
	}
	if err := c.held.Take(ctx, n); err != nil {
		return err //nolint:wrapcheck // the account's, as the caller sees it
	}
	c.charged += n
	return nil
}

func (c *call) give(n int64) {
	if n > 0 {
		c.held.Give(n)
		c.charged -= n
	}
}

// uncharge gives back what was charged for outputs that nobody gets.
func (c *call) uncharge() { c.give(c.charged) }

// dropBuffers takes the outputs' memory from the slots.
func (c *call) dropBuffers() {
	for i := range c.buffers {
		c.dropBuffer(i)
	}
}

func (c *call) dropBuffer(i int) {
	if b := c.buffers[i]; b != nil {
		c.outputs()[i].data, c.buffers[i] = nil, nil
		c.s.lib.buffers.put(b)
	}
}

// inPlace reports whether the i-th output is in the buffer that was offered.
func (c *call) inPlace(i int) bool { return c.buffers[i] != nil && c.outputs()[i].value == nil }

// answer is a run's outputs. Those of a usual model fit in its own arrays, so
// that they cost one allocation.
type answer struct {
	lib      *Library
	tensors  []infer.Tensor
	held     []*buffer
	released atomic.Bool

	tensors2 [2]infer.Tensor
	held2    [2]*buffer
	dims8    [8]int64
}

// release returns the outputs' memory once.
func (a *answer) release() {
	if a.released.Swap(true) {
		return
	}
	for _, b := range a.held {
		if b != nil {
			a.lib.buffers.put(b)
		}
	}
}

// answer gathers the outputs: those that were written into their buffers are
// there, the others are copied from where ONNX Runtime has them. The buffers
// are the answer's from then on.
func (c *call) answer(ctx context.Context, known []knownShape) (*answer, error) {
	elsewhere, err := c.measure(ctx)
	if err != nil {
		return nil, err
	}
	a := &answer{lib: c.s.lib}
	a.tensors, a.held = a.tensors2[:0], a.held2[:0]
	dims := a.dims8[:0]
	for i, name := range c.wanted {
		if c.inPlace(i) {
			dims = append(dims, known[i].dims...)
			shape := dims[len(dims)-len(known[i].dims) : len(dims) : len(dims)]
			a.tensors = append(a.tensors, infer.Tensor{
				Name: name, DataType: c.s.outputs[name].dataType,
				Shape: shape, Data: c.buffers[i].bytes(known[i].bytes),
			})
			continue
		}
		t, err := c.read(i, &elsewhere[i])
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", name, err)
		}
		a.tensors = append(a.tensors, t)
	}
	for i := range elsewhere {
		c.give(elsewhere[i].beside)
	}
	a.held = append(a.held, c.buffers...)
	clear(c.buffers)
	return a, nil
}
