package function

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/runtime/cache"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/rows"
)

// ready decides whether requests of a version are joined, and returns the file
// to load. They are where the graph that will run shows that no row has a part
// in another's answer, or where the publisher asserts it; else the version has no
// batch axis here, whatever its manifest has.
//
// The graph that runs is the one that ONNX Runtime's optimiser leaves: it
// believes shapes that a file declares, and folds them into the graph. So where
// no optimised copy fits this machine, one is made here. done removes it, once
// the file is loaded.
func (s *source) ready(l *ort.Library, local *cache.Local) (path string, done func(), err error) {
	m := &local.Manifest
	if m.BatchAxis == nil || m.Batching != nil && m.Batching.IndependentRows {
		return local.Path, func() {}, nil
	}
	path, done, why := s.optimised(l, local)
	if why == nil {
		why = independent(path, m)
	}
	if why != nil {
		m.BatchAxis = nil
		s.logger.Warn("requests of a model are not joined: its graph does not show that rows are independent; if they are, publish it with models push --batch-axis 0",
			"model", m.Name, "version", m.Version, "reason", why)
	}
	choice, err := s.device.choose()
	if err != nil || choice.Device.IsGPU() {
		return local.Path, done, err // an optimised copy is for a CPU
	}
	return path, done, nil
}

// independent reports why rows are not shown to be independent; nil is that
// they are.
func independent(path string, m *model.Manifest) error {
	shown, err := rows.ProveFile(path, &m.Signature, nil)
	switch {
	case err != nil:
		return fmt.Errorf("read the graph: %w", err)
	case shown.Why != "":
		return errors.New(shown.Why)
	}
	return nil
}

// optimised is the version's optimised file, made here where none came with it.
// Without one the file that came is loaded all the same.
func (s *source) optimised(l *ort.Library, local *cache.Local) (path string, done func(), err error) {
	if local.ORT {
		return local.Path, func() {}, nil
	}
	f, err := s.scratch()
	if err != nil {
		return local.Path, func() {}, fmt.Errorf("make an optimised copy: %w", err)
	}
	done = func() { _ = f.Close() } // what maps it needs it no longer
	if err := l.OptimizeInto(local.Path, f); err != nil {
		return local.Path, done, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), done, nil
}

// scratch is a file without a name: in the cache's folder, or in memory where
// files are not kept.
func (s *source) scratch() (*os.File, error) {
	if s.cfg.CacheDir == noCache {
		fd, err := unix.MemfdCreate("model.ort", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("memory for it: %w", err)
		}
		return os.NewFile(uintptr(fd), "model.ort"), nil
	}
	f, err := os.CreateTemp(s.cfg.CacheDir, ".optimised-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
