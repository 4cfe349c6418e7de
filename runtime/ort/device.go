package ort

import (
	"fmt"
	"strings"
)

// Device says where a session runs: "cpu", or "cuda:N".
type Device string

// CPU is the device that is always there, and the default.
const CPU Device = "cpu"

// provider readies session options for a device.
type provider interface {
	// apply adds what the device needs to o, whose session it returns the
	// device of: a device asked for by kind alone comes back with its number.
	apply(l *Library, o *sessionOptions) (Device, error)
}

// DeviceError says why a device cannot be used by this build or machine.
type DeviceError struct {
	Device Device
	Reason string
}

// Error names the device and why it cannot be had.
func (e *DeviceError) Error() string {
	return fmt.Sprintf("device %q cannot be used: %s", e.Device, e.Reason)
}

// providerOf is what runs a device's sessions.
func providerOf(d Device) (provider, error) {
	switch {
	case d == "" || d == CPU:
		return cpuProvider{}, nil
	case d == "cuda" || strings.HasPrefix(string(d), "cuda:"):
		return nil, &DeviceError{Device: d, Reason: "this version has no CUDA support, only cpu"}
	default:
		return nil, &DeviceError{Device: d, Reason: "expected cpu, cuda or cuda:N"}
	}
}

// cpuProvider needs nothing: ONNX Runtime falls back to its CPU kernels.
type cpuProvider struct{}

func (cpuProvider) apply(*Library, *sessionOptions) (Device, error) { return CPU, nil }
