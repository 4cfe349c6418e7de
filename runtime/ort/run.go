package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Run runs the model on inputs and returns the outputs asked for, in the order
// asked; none asked for are all, in the signature's order. Inputs are read in
// place and must not change until Run returns.
//
// The outputs are valid until release is called; calling it twice is safe, and
// never calling it costs only the reuse of their memory. release is nil when
// Run fails.
//
// When ctx ends, ONNX Runtime is told to stop; it looks between two operators,
// and Run returns ctx.Err() then. The session stays usable. Inputs that do not
// fit the model, or that one of its operators refuses, are
// problem.InvalidArgument over the *Error: a graph fails for nothing else.
func (s *Session) Run(ctx context.Context, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
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
	c := &call{s: s}
	defer c.destroy()
	err := c.setInputs(inputs)
	if err == nil {
		err = c.setOutputs(outputs)
	}
	if err != nil {
		return nil, nil, problem.New(problem.InvalidArgument, "%w", err)
	}
	var scratch [256]byte
	key := s.shapes.key(scratch[:0], inputs, outputs)
	results, err := c.run(ctx, key)
	if err != nil {
		c.dropOutputs()
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		var refused *Error
		if errors.As(err, &refused) {
			return nil, nil, problem.New(problem.InvalidArgument, "the model does not run on these inputs: %w", err)
		}
		return nil, nil, err
	}
	return results, c.releaser(), nil
}

// run tries preallocated outputs where the shapes are known, and outputs that
// ONNX Runtime allocates otherwise.
func (c *call) run(ctx context.Context, key []byte) ([]infer.Tensor, error) {
	known := c.s.shapes.get(key)
	if known != nil {
		err := c.preallocate(known)
		if err == nil {
			err = c.invoke(ctx)
		}
		if err == nil {
			return c.results(known)
		}
		if ctx.Err() != nil {
			return nil, err
		}
		// Either the run is wrong or the shapes were: without them it fails
		// again, or proves that they depend on the data.
		c.dropOutputs()
	}
	if err := c.invoke(ctx); err != nil {
		return nil, err
	}
	results, err := c.results(nil)
	if err != nil {
		return nil, err
	}
	if known != nil {
		c.s.shapes.disprove()
	} else {
		c.s.shapes.put(key, results)
	}
	return results, nil
}

// invoke runs with the terminate flag tied to ctx.
func (c *call) invoke(ctx context.Context) error {
	var options *C.OrtRunOptions
	l := c.s.lib
	if ctx.Done() != nil {
		if err := l.check(C.ms_run_options(l.api, &options)); err != nil {
			return fmt.Errorf("run options: %w", err)
		}
		l.live.runs.Add(1)
		terminated := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(terminated)
			// The flag is a plain store: what else could be done if it failed?
			_ = l.check(C.ms_run_terminate(l.api, options))
		})
		defer func() {
			if !stop() {
				<-terminated
			}
			C.ms_run_options_free(l.api, options)
			l.live.runs.Add(-1)
		}()
	}
	err := l.check(C.ms_run(l.api, c.s.ptr, options,
		first(c.inNames), first(c.in), C.size_t(len(c.in)),
		first(c.outNames), first(c.out), C.size_t(len(c.out))))
	if err == nil {
		c.adopt()
	}
	return err
}

// first is a slice's address for C; nil when it is empty.
func first[T any](s []T) *T {
	if len(s) == 0 {
		return nil
	}
	return &s[0]
}

// releaser returns the outputs' memory once.
func (c *call) releaser() func() {
	lib, held := c.s.lib, c.buffers
	c.buffers = nil
	return sync.OnceFunc(func() {
		for _, b := range held {
			if b != nil {
				lib.buffers.put(b)
			}
		}
	})
}

// preallocate gives ONNX Runtime memory for the outputs whose shape is known.
func (c *call) preallocate(known []knownShape) error {
	for i, k := range known {
		if k.dims == nil {
			continue
		}
		b := c.s.lib.buffers.get(k.bytes)
		c.buffers[i] = b
		data := b.bytes(k.bytes)
		v, err := c.tensor(infer.Tensor{DataType: c.s.outputs[c.wanted[i]], Shape: k.dims, Data: data})
		if err != nil {
			return fmt.Errorf("output %q: %w", c.wanted[i], err)
		}
		c.out[i] = v
	}
	return nil
}

// results gathers the outputs: those of known shape are in their buffers
// already, the others are copied out of ONNX Runtime's memory.
func (c *call) results(known []knownShape) ([]infer.Tensor, error) {
	tensors := make([]infer.Tensor, len(c.out))
	for i, name := range c.wanted {
		if known != nil && known[i].dims != nil {
			tensors[i] = infer.Tensor{
				Name: name, DataType: c.s.outputs[name],
				Shape: slices.Clone(known[i].dims), Data: c.buffers[i].bytes(known[i].bytes),
			}
			continue
		}
		t, err := c.read(i)
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", name, err)
		}
		t.Name = name
		tensors[i] = t
	}
	return tensors, nil
}
