package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Optimize rewrites the ONNX model at src for this library and this kind of
// CPU, and writes it in ORT format to dst, which it replaces only when the
// copy is whole and loads. Such a copy holds its external data too, and runs
// only as well as the CPU it was made for: see CPUFeatures.
func (l *Library) Optimize(src, dst string) error {
	if err := l.optimize(src, dst); err != nil {
		return fmt.Errorf("optimise %s: %w", src, err)
	}
	return nil
}

// OptimizeInto is Optimize into a file that is open, such as one in memory
// (Linux). It is not loaded to try it.
func (l *Library) OptimizeInto(src string, dst *os.File) error {
	if err := l.save(src, fmt.Sprintf("/proc/self/fd/%d", dst.Fd())); err != nil {
		return fmt.Errorf("optimise %s: %w", src, err)
	}
	return nil
}

func (l *Library) optimize(src, dst string) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(dst), ".optimize-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tmp := filepath.Join(dir, "model.ort")
	if err := l.save(src, tmp); err != nil {
		return err
	}
	s, err := l.Open(tmp, Options{})
	if err != nil {
		return fmt.Errorf("the optimised copy: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	return os.Rename(tmp, dst)
}

// save creates a session whose only purpose is what it writes on the way.
func (l *Library) save(src, dst string) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return ErrClosed
	}
	if err := checkExternalData(src); err != nil {
		return err
	}
	o, _, err := l.newOptions(Options{})
	if err != nil {
		return err
	}
	defer o.destroy()
	if err := o.set("session.save_model_format", "ORT"); err != nil {
		return err
	}
	csrc, cdst := C.CString(src), C.CString(dst)
	defer C.free(unsafe.Pointer(csrc))
	defer C.free(unsafe.Pointer(cdst))
	if err := l.check(C.ms_options_save(l.api, o.ptr, cdst)); err != nil {
		return err
	}
	var s *C.OrtSession
	if err := l.check(C.ms_session_file(l.api, l.env, csrc, o.ptr, nil, &s)); err != nil {
		return err
	}
	C.ms_session_free(l.api, s)
	C.ms_trim()
	f, err := os.OpenFile(dst, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fsync(int(f.Fd())), f.Close())
}
