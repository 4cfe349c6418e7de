//go:build !amd64 && !arm64

package ort

func cpuFeatures() map[string]bool { return nil }
