package ort

import "golang.org/x/sys/cpu"

// Built for arm64, and not tried there.
func cpuFeatures() map[string]bool {
	return map[string]bool{
		"asimd":    cpu.ARM64.HasASIMD,
		"asimdhp":  cpu.ARM64.HasASIMDHP,
		"asimddp":  cpu.ARM64.HasASIMDDP,
		"asimdfhm": cpu.ARM64.HasASIMDFHM,
		"i8mm":     cpu.ARM64.HasI8MM,
		"sve":      cpu.ARM64.HasSVE,
		"sve2":     cpu.ARM64.HasSVE2,
	}
}
