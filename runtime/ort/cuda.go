package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"context"
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// The files of ONNX Runtime's CUDA provider, which lie beside its library.
const (
	cudaProviderFile   = "libonnxruntime_providers_cuda.so"
	sharedProviderFile = "libonnxruntime_providers_shared.so"
)

// driverFile comes with NVIDIA's driver and never with a container image.
const driverFile = "libcuda.so.1"

// openedLater are libraries that the provider opens by itself, by their name
// alone, or that those open. It finds them when they are open already.
func openedLater() []string {
	return []string{"libnvJitLink.so.*", "libnvrtc.so.*", "libcufft.so.*", "libcudnn.so.*"}
}

// cudaState is what was found out about CUDA, once for the process.
type cudaState struct {
	devices int
	reason  string // why there is none
}

// findCUDA opens the libraries that the provider needs and counts the GPUs.
//
// The provider is linked to NVIDIA's libraries by name, and the loader looks
// for those in its own folders only. Opened before it by their whole path, they
// need neither LD_LIBRARY_PATH nor a change to the system.
func findCUDA(library string) cudaState {
	dir := filepath.Dir(library)
	provider := filepath.Join(dir, cudaProviderFile)
	if missing := missingProvider(library); missing != "" {
		return cudaState{reason: fmt.Sprintf("this ONNX Runtime is built for the CPU: %s is not beside its library. "+
			"The image base-ort-cuda has the build for GPUs; elsewhere name its library in %s",
			missing, LibraryVariable)}
	}
	if _, err := openGlobal(driverFile); err != nil {
		return cudaState{reason: fmt.Sprintf("there is no NVIDIA driver here (%v). A machine needs a GPU and its driver, "+
			"a container the limit nvidia.com/gpu as well", err)}
	}
	needed, err := neededLibraries(provider)
	if err != nil {
		return cudaState{reason: err.Error()}
	}
	var cudart unsafe.Pointer
	folders := []string{dir, filepath.Join(dir, "cuda")}
	for _, name := range needed {
		handle, err := openGlobal(locate(folders, name))
		if err != nil {
			return cudaState{reason: fmt.Sprintf("a library of CUDA is missing or cannot be loaded: %v. "+
				"The image base-ort-cuda has all of them", err)}
		}
		if strings.HasPrefix(name, "libcudart.") {
			cudart = handle
		}
	}
	for _, pattern := range openedLater() {
		if path := locate(folders, pattern); filepath.IsAbs(path) {
			_, _ = openGlobal(path) // the session that needs it returns what is wrong
		}
	}
	return countDevices(cudart)
}

// HasCUDA reports whether the ONNX Runtime library at path is built for GPUs.
func HasCUDA(path string) bool { return missingProvider(path) == "" }

// missingProvider is the file of the provider that does not lie beside a
// library, or "".
func missingProvider(library string) string {
	for _, name := range []string{cudaProviderFile, sharedProviderFile} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(library), name)); err != nil {
			return name
		}
	}
	return ""
}

// neededLibraries are those that the provider is linked to and that are not
// the system's.
func neededLibraries(provider string) ([]string, error) {
	f, err := elf.Open(provider)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", provider, err)
	}
	defer f.Close()
	all, err := f.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("read what %s needs: %w", provider, err)
	}
	return slices.DeleteFunc(all, func(name string) bool {
		return name == driverFile || !strings.HasPrefix(name, "libcu") && !strings.HasPrefix(name, "libnv")
	}), nil
}

// locate is the first file in folders that a pattern fits, or the pattern
// itself, for the system's own search.
func locate(folders []string, pattern string) string {
	for _, dir := range folders {
		if found, err := filepath.Glob(filepath.Join(dir, pattern)); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	return pattern
}

// openGlobal loads a library for good, its symbols for all to see.
func openGlobal(path string) (unsafe.Pointer, error) {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var message [512]C.char
	handle := C.ms_open_global(cpath, &message[0], C.size_t(len(message)))
	if handle == nil {
		return nil, errors.New(C.GoString(&message[0]))
	}
	return handle, nil
}

func countDevices(cudart unsafe.Pointer) cudaState {
	if cudart == nil {
		return cudaState{reason: "the CUDA provider is linked to no libcudart: it is of a kind that is not known here"}
	}
	var message [512]C.char
	n := int(C.ms_cuda_devices(cudart, &message[0], C.size_t(len(message))))
	if n > 0 {
		return cudaState{devices: n}
	}
	return cudaState{reason: "CUDA finds no GPU that it can use: " + C.GoString(&message[0])}
}

// usableCUDA fails with the reason why GPU number cannot be used.
func (l *Library) usableCUDA(number int, asked Device) error {
	state := l.cuda()
	switch {
	case state.reason != "":
		return &DeviceError{Device: asked, Reason: state.reason}
	case number >= state.devices:
		return &DeviceError{Device: asked, Reason: fmt.Sprintf(
			"there are %d GPUs here, numbered from 0; CUDA_VISIBLE_DEVICES may hide others", state.devices)}
	}
	return nil
}

// cudaProvider runs sessions on one GPU.
type cudaProvider struct {
	number int
	asked  Device
	memory int64 // bytes of one session's arena on the GPU; 0 is no limit
}

func (p cudaProvider) device() Device { return Device("cuda:" + strconv.Itoa(p.number)) }

func (p cudaProvider) apply(l *Library, o *sessionOptions) (Device, error) {
	if err := l.usableCUDA(p.number, p.asked); err != nil {
		return "", err
	}
	entries := p.options()
	var keys, values []*C.char
	for _, e := range entries {
		keys, values = append(keys, C.CString(e[0])), append(values, C.CString(e[1]))
	}
	defer func() {
		for i := range keys {
			C.free(unsafe.Pointer(keys[i]))
			C.free(unsafe.Pointer(values[i]))
		}
	}()
	if err := l.check(C.ms_options_cuda(l.api, o.ptr, &keys[0], &values[0], C.size_t(len(keys)))); err != nil {
		return "", &DeviceError{Device: p.asked, Reason: err.Error()}
	}
	return p.device(), nil
}

// options are the provider's, by the names of OrtCUDAProviderOptionsV2.
func (p cudaProvider) options() [][2]string {
	entries := [][2]string{
		{"device_id", strconv.Itoa(p.number)},
		// The arena takes what is asked for: doubling takes memory from the
		// models beside this one.
		{"arena_extend_strategy", "kSameAsRequested"},
		// Each run in flight has a stream of its own, and its copies go in it.
		{"do_copy_in_default_stream", "1"},
		// Trying every algorithm for every new shape would take seconds, and
		// requests choose the shapes.
		{"cudnn_conv_algo_search", "HEURISTIC"},
		// An answer must not depend on the device: no shortened mantissas.
		{"use_tf32", "0"},
	}
	if p.memory > 0 {
		entries = append(entries, [2]string{"gpu_mem_limit", strconv.FormatInt(p.memory, 10)})
	}
	return entries
}

// probeModel convolves and multiplies x of [1, 1, 2, 2], so that what runs it
// has a driver that is new enough, kernels for the GPU, cuBLAS and cuDNN.
//
//go:embed probe.onnx
var probeModel []byte //nolint:gochecknoglobals // a file in the binary

// probeLimit bounds the trial: a GPU that hangs is none.
const probeLimit = 2 * time.Minute

// tryCUDA runs the probe on a GPU and returns the device with its number.
func (l *Library) tryCUDA(asked Device) (Device, error) {
	number, ok := asked.cuda()
	if !ok {
		return "", &DeviceError{Device: asked, Reason: "expected auto, cpu, cuda or cuda:N"}
	}
	if err := l.usableCUDA(number, asked); err != nil {
		return "", err
	}
	device := cudaProvider{number: number}.device()
	if err := l.probe(Options{Device: device}); err != nil {
		var unusable *DeviceError
		if errors.As(err, &unusable) {
			return "", &DeviceError{Device: asked, Reason: unusable.Reason}
		}
		return "", &DeviceError{Device: asked, Reason: "a small model did not run on it: " + err.Error()}
	}
	return device, nil
}

// probe loads a small model, runs it and looks at the answer.
func (l *Library) probe(opts Options) error {
	dir, err := os.MkdirTemp("", "modelserve-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "probe.onnx")
	if err := os.WriteFile(path, probeModel, 0o600); err != nil {
		return err
	}
	s, err := l.Open(path, opts)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
	defer cancel()
	one := []byte{0, 0, 0x80, 0x3f} // 1 as a little-endian float32
	two := []byte{0, 0, 0, 0x40}
	x := infer.Tensor{Name: "x", DataType: infer.FP32, Shape: []int64{1, 1, 2, 2}, Data: slices.Repeat(one, 4)}
	for range 2 { // outputs are allocated by the first run and given to the second
		out, release, err := s.Run(ctx, memory.Unbounded{}, []infer.Tensor{x}, nil)
		if err != nil {
			return errors.Join(err, s.Close())
		}
		right := slices.Equal(out[0].Data, slices.Repeat(two, 4))
		release()
		if !right {
			return errors.Join(errors.New("its answer was wrong"), s.Close())
		}
	}
	return s.Close()
}
