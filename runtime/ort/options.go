package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// Options are how a session is made. The zero value is one thread on the CPU,
// with every graph optimisation.
type Options struct {
	Device Device // "" is CPU

	// Threads work on one operator of one run; 0 is 1. Several runs at once on
	// one thread each beat several threads on one run.
	Threads int

	// Optimization is the level for an ONNX model. An ORT-format model was
	// optimised when it was made and is run as it is.
	Optimization Optimization

	// GPUMemory bounds what the session takes of a GPU's memory, in bytes; 0 is
	// no bound. The CPU has none.
	GPUMemory int64

	// RunMemory bounds what runs of the session take of main memory at once, in bytes,
	// for all that they compute on a CPU; 0 is no bound. A run that needs more is
	// problem.PayloadTooLarge, as one that there is no memory for.
	RunMemory int64

	// MaxOutput bounds each output of a run, in bytes; 0 is no bound.
	MaxOutput int64

	// MemoryPattern lays the tensors of each shape out in one block, on top of
	// what the arena has: docs/benchmarks.md has what it costs and gains.
	MemoryPattern bool
}

// Optimization is how far ONNX Runtime rewrites a graph when it loads it.
type Optimization int

// The levels. Full includes layouts that only this kind of CPU runs well.
const (
	Full Optimization = iota
	Extended
	Basic
	None
)

func (o Optimization) level() C.int {
	switch o {
	case Full:
		return C.ORT_ENABLE_ALL
	case Extended:
		return C.ORT_ENABLE_EXTENDED
	case Basic:
		return C.ORT_ENABLE_BASIC
	default:
		return C.ORT_DISABLE_ALL
	}
}

// sessionOptions owns ONNX Runtime's options until destroy.
type sessionOptions struct {
	lib *Library
	ptr *C.OrtSessionOptions
}

// newOptions makes the options that every session shares.
func (l *Library) newOptions(opts Options) (*sessionOptions, Device, error) {
	p, err := providerOf(&opts)
	if err != nil {
		return nil, "", err
	}
	if opts.Threads < 0 {
		return nil, "", fmt.Errorf("threads: expected 0 or more, got %d", opts.Threads)
	}
	if opts.RunMemory < 0 || opts.MaxOutput < 0 {
		return nil, "", fmt.Errorf("memory of runs and their outputs: expected 0 or more, got %d and %d", opts.RunMemory, opts.MaxOutput)
	}
	if opts.GPUMemory < 0 {
		return nil, "", fmt.Errorf("GPU memory: expected 0 or more, got %d", opts.GPUMemory)
	}
	o := &sessionOptions{lib: l}
	var pattern C.int
	if opts.MemoryPattern {
		pattern = 1
	}
	l.live.options.Add(1)
	err = l.check(C.ms_options(l.api, &o.ptr, C.int(max(opts.Threads, 1)), pattern, opts.Optimization.level()))
	if err == nil {
		// Spinning threads take the cores from the other sessions.
		err = o.set("session.intra_op.allow_spinning", "0")
	}
	if err == nil {
		err = o.set("session.use_env_allocators", "1")
	}
	var device Device
	if err == nil {
		device, err = p.apply(l, o)
	}
	if err != nil {
		o.destroy()
		return nil, "", fmt.Errorf("session options: %w", err)
	}
	return o, device, nil
}

// set puts an entry of onnxruntime_session_options_config_keys.h.
func (o *sessionOptions) set(key, value string) error {
	ckey, cvalue := C.CString(key), C.CString(value)
	defer C.free(unsafe.Pointer(ckey))
	defer C.free(unsafe.Pointer(cvalue))
	if err := o.lib.check(C.ms_options_entry(o.lib.api, o.ptr, ckey, cvalue)); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func (o *sessionOptions) destroy() {
	if o.ptr != nil {
		C.ms_options_free(o.lib.api, o.ptr)
		o.ptr = nil
	}
	o.lib.live.options.Add(-1)
}
