package ort

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Device is where a session runs: "cpu", or "cuda:N". "cuda" is the first
// GPU; "auto", which Choose alone takes, a GPU or else the CPU.
type Device string

// The devices without a number.
const (
	CPU  Device = "cpu" // always there, and the default
	CUDA Device = "cuda"
	Auto Device = "auto"
)

// maxCUDA bounds the numbers of GPUs that a device may name.
const maxCUDA = 255

// ParseDevice reads auto, cpu, cuda or cuda:N.
func ParseDevice(text string) (Device, error) {
	d := Device(text)
	if d == Auto || d == CPU {
		return d, nil
	}
	if _, ok := d.cuda(); !ok {
		return "", fmt.Errorf("expected auto, cpu, cuda or cuda:N with N from 0 to %d, got %q", maxCUDA, text)
	}
	return d, nil
}

// cuda is the number of the GPU that d names; ok is false where it names none.
func (d Device) cuda() (number int, ok bool) {
	if d == CUDA {
		return 0, true
	}
	digits, found := strings.CutPrefix(string(d), "cuda:")
	if !found {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || n > maxCUDA || strconv.Itoa(n) != digits {
		return 0, false
	}
	return n, true
}

// Numbered is d with its number where it is a GPU without one.
func (d Device) Numbered() Device {
	if d == CUDA {
		return "cuda:0"
	}
	return d
}

// IsGPU reports whether d is a GPU.
func (d Device) IsGPU() bool {
	_, ok := d.cuda()
	return ok
}

// DeviceError is why a device cannot be used by this build or machine.
type DeviceError struct {
	Device Device
	Reason string
}

// Error names the device and why it cannot be used.
func (e *DeviceError) Error() string {
	return fmt.Sprintf("device %q cannot be used: %s", e.Device, e.Reason)
}

// Choice is a device that was chosen, and why it is not the one that would
// have been better; Reason is "" where there is nothing to explain.
type Choice struct {
	Device   Device
	Reason   string
	CPUBuild bool // the reason is that the library knows no GPU
}

// Choose finds the device that is to be used where want is asked for. A GPU is
// chosen only when a small model has run on it. Auto falls back to the CPU and
// gives the reason; a GPU that was named and cannot be used is a *DeviceError.
func (l *Library) Choose(want Device) (Choice, error) {
	switch want {
	case "", CPU:
		return Choice{Device: CPU}, nil
	case Auto:
		d, err := l.tryCUDA(CUDA)
		if err == nil {
			return Choice{Device: d}, nil
		}
		var unusable *DeviceError
		if !errors.As(err, &unusable) {
			return Choice{}, err
		}
		return Choice{Device: CPU, Reason: unusable.Reason, CPUBuild: !HasCUDA(l.path)}, nil
	default:
		d, err := l.tryCUDA(want)
		return Choice{Device: d}, err
	}
}

// provider readies session options for a device.
type provider interface {
	// apply adds what the device needs to o, whose session it returns the
	// device of: a device asked for by kind alone comes back with its number.
	apply(l *Library, o *sessionOptions) (Device, error)
}

// providerOf is what runs a device's sessions.
func providerOf(opts *Options) (provider, error) {
	if opts.Device == "" || opts.Device == CPU {
		return cpuProvider{}, nil
	}
	if number, ok := opts.Device.cuda(); ok {
		return cudaProvider{number: number, asked: opts.Device, memory: opts.GPUMemory}, nil
	}
	return nil, &DeviceError{Device: opts.Device, Reason: "expected cpu, cuda or cuda:N"}
}

// cpuProvider needs nothing: ONNX Runtime falls back to its CPU kernels.
type cpuProvider struct{}

func (cpuProvider) apply(*Library, *sessionOptions) (Device, error) { return CPU, nil }
