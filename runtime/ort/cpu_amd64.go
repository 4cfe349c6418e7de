package ort

import "golang.org/x/sys/cpu"

func cpuFeatures() map[string]bool {
	return map[string]bool{
		"sse4.1":      cpu.X86.HasSSE41,
		"avx":         cpu.X86.HasAVX,
		"avx2":        cpu.X86.HasAVX2,
		"fma":         cpu.X86.HasFMA,
		"avx512f":     cpu.X86.HasAVX512F,
		"avx512bw":    cpu.X86.HasAVX512BW,
		"avx512dq":    cpu.X86.HasAVX512DQ,
		"avx512vl":    cpu.X86.HasAVX512VL,
		"avx512_vnni": cpu.X86.HasAVX512VNNI,
		"avx512_bf16": cpu.X86.HasAVX512BF16,
		"avx_vnni":    cpu.X86.HasAVXVNNI,
		"amx_tile":    cpu.X86.HasAMXTile,
		"amx_int8":    cpu.X86.HasAMXInt8,
		"amx_bf16":    cpu.X86.HasAMXBF16,
	}
}
