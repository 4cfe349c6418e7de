package ort_test

import (
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// The messages are ONNX Runtime 1.31's own, as seen on a CPU and on an H100.
func TestFailures(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]problem.Code{
		"Non-zero status code returned while running Conv node. Name:'Conv.0' Status Message: bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Available memory of 36733440 is smaller than requested bytes of 47185920": problem.PayloadTooLarge,
		"Non-zero status code returned while running Conv node. Name:'Conv.0' Status Message: bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 188743680":         problem.PayloadTooLarge,
		"CUDA failure 2: out of memory ; GPU=0 ; hostname=node ; file=cuda_allocator.cc ; line=68 ; expr=cudaMalloc((void**)&p, size);":                                                                                                                                       problem.PayloadTooLarge,
		"Non-zero status code returned while running Concat node. Name:'Concat.0' Status Message: CUDA error cudaErrorInvalidValue:invalid argument":                                                                                                                          problem.ModelFailed,
		"Non-zero status code returned while running Conv node. Name:'Conv@47' Status Message: CUDNN failure 2000: CUDNN_STATUS_BAD_PARAM ; GPU=0 ; hostname=node":                                                                                                            problem.ModelFailed,
		"Non-zero status code returned while running Gemm node. Name:'fc1' Status Message: CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=node":                                                                                                              problem.PayloadTooLarge,
		"Got invalid dimensions for input: x for the following indices\n index: 2 Got: 49 Expected: 48":                                                                                                                                                                       problem.InvalidArgument,
		"Non-zero status code returned while running Gather node. Name:'' Status Message: indices element out of data bounds, idx=9 must be within the inclusive range [-4,3]":                                                                                                problem.InvalidArgument,
	} {
		err := ort.Failure("cuda:0", message)
		short, _, _ := strings.Cut(message, " ; GPU=")
		if got := problem.CodeOf(err); got != want || !strings.HasSuffix(err.Error(), short) {
			t.Errorf("%s: %v", got, err)
		}
	}
}
