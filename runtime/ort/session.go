package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Session is a loaded model. It is safe for concurrent use: several Runs may
// be in flight, and Close waits for them.
type Session struct {
	lib     *Library
	ptr     *C.OrtSession
	pool    *C.ms_pool // its own, on the CPU
	arenas  *C.char    // of a device, which an unusually large run lets shrink; nil for none
	heap    int64      // bytes outside of the pool that creating it took
	mapping []byte     // an ORT-format model, used in place while the session lives
	device  Device

	maxOutput int64 // bytes of an output; 0 is no bound

	signature  infer.Signature
	unknown    []bool // per output: the model declares no shape at all
	names      map[string]*C.char
	inputs     map[string]port
	outputs    map[string]port
	required   int // inputs without a default
	allOutputs []string
	left       []error // why each output that is not served is not

	shapes shapeCache
	calls  calls
	use    usage  // of the device, by the bytes of inputs
	pooled usage  // of the pool, by the bytes that runs had
	bound  *bound // of a device with memory of its own; nil runs in place

	closed  atomic.Bool
	running sync.RWMutex        // held shared by each use of ptr
	turns   *semaphore.Weighted // a run has one, or all where it is to be alone
	begun   atomic.Int64        // runs
	ended   atomic.Int64
}

// port is an input or output as runs need it.
type port struct {
	name     *C.char
	dataType infer.DataType
	element  C.int
	optional bool
}

// Open loads the model at path: an ONNX file, with its external data beside
// it, or a file in ORT format, which is mapped and used in place, so it must
// not change until Close (the mapping outlives the file's removal).
//
// A model whose inputs or outputs are not tensors of the protocol's types, or
// whose external data lies outside its own folder, is refused by name. Where
// some outputs are, the others are left out: see LeftOut.
//
// For a GPU, give the ONNX file: an ORT-format model was optimised for a CPU.
func (l *Library) Open(path string, opts Options) (*Session, error) {
	s, err := l.open(path, opts)
	if err != nil {
		return nil, fmt.Errorf("load model %s: %w", path, err)
	}
	return s, nil
}

func (l *Library) open(path string, opts Options) (*Session, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return nil, ErrClosed
	}
	inPlace, err := isORTFormat(path)
	if err != nil {
		return nil, err
	}
	if inPlace {
		opts.Optimization = None
	} else if err := checkExternalData(path); err != nil {
		return nil, err
	}
	o, device, err := l.newOptions(opts)
	if err != nil {
		return nil, err
	}
	defer o.destroy()

	s := &Session{lib: l, device: device, arenas: arenasOf(device), pool: C.ms_pool_new(l.pools, C.size_t(opts.RunMemory)), maxOutput: opts.MaxOutput, turns: semaphore.NewWeighted(allTurns)}
	if s.pool == nil {
		return nil, errors.New("no memory for a session")
	}
	heap := int64(C.ms_heap())
	if inPlace {
		err = s.createMapped(path, o)
	} else {
		err = s.createFile(path, o)
	}
	if err != nil {
		C.free(unsafe.Pointer(s.arenas))
		C.ms_pool_free(s.pool)
		return nil, errors.Join(err, s.unmap())
	}
	l.live.sessions.Add(1)
	C.ms_trim() // of what reading the model took
	s.measure(path, heap)
	err = s.describe()
	if number, ok := device.cuda(); err == nil && ok {
		s.bound, err = s.newBound("CudaPinned", number)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// arenasOf are a device's arenas, as run options name them. They are C's memory.
func arenasOf(device Device) *C.char {
	if number, ok := device.cuda(); ok {
		return C.CString(fmt.Sprintf("gpu:%d", number))
	}
	return nil
}

func (s *Session) createFile(path string, o *sessionOptions) error {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	return s.lib.check(C.ms_session_file(s.lib.api, s.lib.env, cpath, o.ptr, s.pool, &s.ptr))
}

// createMapped hands ONNX Runtime the file's own pages: neither the graph nor
// the weights are copied.
func (s *Session) createMapped(path string, o *sessionOptions) error {
	for _, key := range []string{
		"session.use_ort_model_bytes_directly",
		"session.use_ort_model_bytes_for_initializers",
	} {
		if err := o.set(key, "1"); err != nil {
			return err
		}
	}
	if err := o.set("session.load_model_format", "ORT"); err != nil {
		return err
	}
	data, err := mapFile(path)
	if err != nil {
		return err
	}
	s.mapping = data
	s.lib.live.mappings.Add(1)
	err = s.lib.check(C.ms_session_bytes(s.lib.api, s.lib.env,
		unsafe.Pointer(&data[0]), C.size_t(len(data)), o.ptr, s.pool, &s.ptr))
	if err != nil {
		return err
	}
	// Weights that were packed for the kernels are not read again. What is
	// comes back from the page cache.
	if err := unix.Madvise(data, unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("release the model's pages: %w", err)
	}
	return nil
}

// Signature is what the model declares: its inputs, optional ones last, and
// its outputs. An output without a declared shape has a nil Shape. It is
// shared: do not change it.
func (s *Session) Signature() *infer.Signature { return &s.signature }

// LeftOut returns for each output that is not in the signature why it cannot be
// served, such as the sequence of maps that scikit-learn's exporter adds.
func (s *Session) LeftOut() []error { return s.left }

// Device is where the session runs.
func (s *Session) Device() Device { return s.device }

// Close waits for the Runs in flight and frees the model. Closing twice is
// safe; every call returns only when the model is freed.
func (s *Session) Close() error {
	s.closed.Store(true) // new Runs fail at once, and do not queue behind the lock
	s.running.Lock()
	defer s.running.Unlock()
	if s.ptr == nil {
		return nil
	}
	s.endCalls()
	C.ms_session_free(s.lib.api, s.ptr)
	s.ptr = nil
	C.ms_pool_free(s.pool)
	C.ms_pools_add(s.lib.pools, C.int64_t(-s.heap))
	s.pool = nil
	C.free(unsafe.Pointer(s.arenas))
	for _, name := range s.names {
		C.free(unsafe.Pointer(name))
	}
	s.names = nil
	s.lib.live.sessions.Add(-1)
	err := s.unmap()
	C.ms_trim()
	return err
}

// endCalls frees what runs have left for later ones.
func (s *Session) endCalls() {
	for c := s.calls.get(); c != nil; c = s.calls.get() {
		c.free()
	}
	if s.bound != nil {
		s.bound.free()
		s.bound = nil
	}
}

// memory is the kind of memory that runs read and write.
func (s *Session) memory() *C.OrtMemoryInfo {
	if s.bound != nil {
		return s.bound.memory
	}
	return s.lib.memory
}

func (s *Session) unmap() error {
	if s.mapping == nil {
		return nil
	}
	data := s.mapping
	s.mapping = nil
	s.lib.live.mappings.Add(-1)
	if err := unix.Munmap(data); err != nil {
		return fmt.Errorf("unmap model: %w", err)
	}
	return nil
}

// isORTFormat reports whether a file is in ORT format: a flatbuffer whose file
// identifier is "ORTM".
func isORTFormat(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var head [8]byte
	switch _, err := io.ReadFull(f, head[:]); {
	case errors.Is(err, io.EOF):
		return false, errors.New("the file is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return false, nil
	case err != nil:
		return false, err
	}
	return string(head[4:8]) == "ORTM", nil
}

// mapFile maps a whole file to read.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if size == 0 || int64(int(size)) != size {
		return nil, fmt.Errorf("map %s: %d bytes cannot be mapped", path, size)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return data, nil
}
