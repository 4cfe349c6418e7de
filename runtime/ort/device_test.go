package ort_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

func TestParseDevice(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:255"} {
		if d, err := ort.ParseDevice(good); err != nil || string(d) != good {
			t.Errorf("%q: %q, %v", good, d, err)
		}
	}
	for _, bad := range []string{
		"", "gpu", "CPU", "Cuda", "cuda ", " cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda:01", "cuda:1.0", "cuda:a", "cuda:0x1",
		"cuda:256", "cuda:99999999999999999999", "cuda:1:2", "cuda0", "cuda:0,1", "cpu:0", "auto:0", "cuda:١",
	} {
		if d, err := ort.ParseDevice(bad); err == nil || !strings.Contains(err.Error(), "expected auto, cpu, cuda or cuda:N") {
			t.Errorf("%q: %q, %v", bad, d, err)
		}
	}
}

// The library of `make deps` is built for the CPU: whatever this machine has,
// no GPU can be used through it.
func TestChooseWithoutCUDA(t *testing.T) {
	t.Parallel()
	l := open(t)
	const reason = "libonnxruntime_providers_cuda.so is not beside its library"
	for _, want := range []ort.Device{"", ort.CPU} {
		if got, err := l.Choose(want); err != nil || got != (ort.Choice{Device: ort.CPU}) {
			t.Errorf("%q: %+v, %v", want, got, err)
		}
	}
	got, err := l.Choose(ort.Auto)
	if err != nil || got.Device != ort.CPU || !got.CPUBuild || !strings.Contains(got.Reason, reason) {
		t.Errorf("auto: %+v, %v", got, err)
	}
	for _, want := range []ort.Device{ort.CUDA, "cuda:0", "cuda:7"} {
		_, err := l.Choose(want)
		var unusable *ort.DeviceError
		if !errors.As(err, &unusable) || unusable.Device != want || !strings.Contains(err.Error(), reason) ||
			!strings.Contains(err.Error(), "base-ort-cuda") {
			t.Errorf("%q: %v", want, err)
		}
	}
	if _, err := l.Choose("tpu"); err == nil || !strings.Contains(err.Error(), "expected auto, cpu, cuda or cuda:N") {
		t.Errorf("tpu: %v", err)
	}
}

func TestOpenOnDevices(t *testing.T) {
	t.Parallel()
	l := open(t)
	path := onnxtest.Scale(2, 3).Write(t)
	for _, d := range []ort.Device{"cuda", "cuda:0", "cuda:x", "auto", "tpu"} {
		_, err := l.Open(path, ort.Options{Device: d})
		var e *ort.DeviceError
		if !errors.As(err, &e) || e.Device != d {
			t.Errorf("device %q: %v", d, err)
		}
	}
	if _, err := l.Open(path, ort.Options{GPUMemory: -1}); err == nil {
		t.Error("a negative bound was taken")
	}
}

func TestFindCUDAWithoutADriver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	library := filepath.Join(dir, "libonnxruntime.so")
	for _, name := range []string{"libonnxruntime_providers_cuda.so", "libonnxruntime_providers_shared.so"} {
		if n, reason := ort.FindCUDA(library); n != 0 || !strings.Contains(reason, name+" is not beside its library") {
			t.Errorf("without %s: %d, %s", name, n, reason)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("no library"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Without a driver the reason is that; with one, that the provider is no library.
	n, reason := ort.FindCUDA(library)
	if n != 0 || !strings.Contains(reason, "there is no NVIDIA driver here") && !strings.Contains(reason, "bad magic number") {
		t.Errorf("a provider that is none: %d, %s", n, reason)
	}
}

func TestCUDAOptions(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"device_id": "3", "arena_extend_strategy": "kSameAsRequested", "do_copy_in_default_stream": "1",
		"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0",
	}
	if diff := cmp.Diff(want, ort.CUDAOptions("cuda:3", 0)); diff != "" {
		t.Error(diff)
	}
	want["gpu_mem_limit"] = "1073741824"
	if diff := cmp.Diff(want, ort.CUDAOptions("cuda:3", 1<<30)); diff != "" {
		t.Error(diff)
	}
}

var update = flag.Bool("update", false, "write the files that tests compare with") //nolint:gochecknoglobals // a test's flag

func TestProbe(t *testing.T) {
	t.Parallel()
	m := onnxtest.Model{Graph: onnxtest.Graph{
		Nodes: []onnxtest.Node{
			{Op: "Conv", Inputs: []string{"x", "kernel"}, Outputs: []string{"c"}},
			{Op: "MatMul", Inputs: []string{"c", "ones"}, Outputs: []string{"y"}},
		},
		Initializers: []onnxtest.Tensor{
			onnxtest.Floats("kernel", []int64{1, 1, 1, 1}, 1),
			onnxtest.Floats("ones", []int64{2, 2}, 1, 1, 1, 1),
		},
		Inputs:  []onnxtest.Value{{Name: "x", Element: onnxtest.Float, Shape: []any{1, 1, 2, 2}}},
		Outputs: []onnxtest.Value{{Name: "y", Element: onnxtest.Float, Shape: []any{1, 1, 2, 2}}},
	}}
	if *update {
		if err := os.WriteFile("probe.onnx", m.Marshal(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(m.Marshal(), ort.ProbeModel()) {
		t.Error("probe.onnx is another model: go test ./runtime/ort -run TestProbe -update")
	}
	if err := open(t).Probe(ort.CPU); err != nil {
		t.Error(err)
	}
}

// TestBoundRuns runs what a GPU's sessions run, with host memory in the place
// of the GPU's: the same answers, and the same refusals.
func TestBoundRuns(t *testing.T) {
	t.Parallel()
	l := open(t)
	for _, name := range shipped {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain, bound := load(t, l, model(t, name)), load(t, l, model(t, name))
			if err := bound.Bind(); err != nil {
				t.Fatal(err)
			}
			want, releaseWant, err := plain.Run(t.Context(), memory.Unbounded{}, samples(name), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer releaseWant()
			for range 3 { // outputs are allocated by ONNX Runtime at first, and staged from then on
				got, release, err := bound.Run(t.Context(), memory.Unbounded{}, samples(name), nil)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error("the outputs differ")
				}
				release()
			}
		})
	}
}

func TestBoundRunsOfEveryKind(t *testing.T) {
	t.Parallel()
	l := open(t)
	bound := func(t *testing.T, m onnxtest.Model) *ort.Session {
		s := load(t, l, m.Write(t))
		if err := s.Bind(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	unaligned := slices.Insert(sample(infer.FP64, 2), 0, 0)[1:]
	for name, tc := range map[string]struct {
		model      onnxtest.Model
		input, out infer.Tensor
	}{
		"strings": {
			onnxtest.Identity(onnxtest.String, "n"),
			infer.Tensor{Name: "x", DataType: infer.Bytes, Shape: []int64{2}, Data: raw("a\x00b", "")},
			infer.Tensor{Name: "y", DataType: infer.Bytes, Shape: []int64{2}, Data: raw("a\x00b", "")},
		},
		"no elements": {
			onnxtest.Identity(onnxtest.Float, "n", 2),
			infer.Tensor{Name: "x", DataType: infer.FP32, Shape: []int64{0, 2}, Data: []byte{}},
			infer.Tensor{Name: "y", DataType: infer.FP32, Shape: []int64{0, 2}, Data: []byte{}},
		},
		"unaligned": {
			onnxtest.Identity(onnxtest.Double, "n"),
			infer.Tensor{Name: "x", DataType: infer.FP64, Shape: []int64{2}, Data: unaligned},
			infer.Tensor{Name: "y", DataType: infer.FP64, Shape: []int64{2}, Data: unaligned},
		},
		"many dimensions": {
			onnxtest.Identity(onnxtest.Float, 1, 1, 1, 1, 1, 1, 1, 1, 1, "n"),
			floats("x", []int64{1, 1, 1, 1, 1, 1, 1, 1, 1, 2}, 1, 2),
			floats("y", []int64{1, 1, 1, 1, 1, 1, 1, 1, 1, 2}, 1, 2),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bound(t, tc.model)
			for range 3 {
				got, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{tc.input}, nil)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]infer.Tensor{tc.out}, got); diff != "" {
					t.Error(diff)
				}
				release()
			}
		})
	}
	t.Run("a shape that depends on the data", func(t *testing.T) {
		t.Parallel()
		s := bound(t, onnxtest.NonZero())
		for _, in := range [][]float32{{0, 1, 0, 1}, {1, 1, 1, 1}, {0, 0, 0, 0}} {
			out, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{floats("x", []int64{4}, in...)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			for _, v := range in {
				want += int(v)
			}
			if int(out[0].Shape[1]) != want {
				t.Errorf("%v: %v", in, out[0].Shape)
			}
			release()
		}
	})
	t.Run("a run that is stopped", func(t *testing.T) {
		t.Parallel()
		s := bound(t, onnxtest.Slow(20_000)) // tens of seconds
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, _, err := s.Run(ctx, memory.Unbounded{}, []infer.Tensor{square(256)}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run: %v", err)
		}
		_, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{square(1)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		release()
	})
	t.Run("a refusal", func(t *testing.T) {
		t.Parallel()
		s := bound(t, onnxtest.Scale(2, 3))
		for range 2 {
			_, _, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{floats("x", []int64{1, 3}, 1, 2, 3)}, nil)
			if problem.CodeOf(err) != problem.InvalidArgument {
				t.Errorf("Run: %v", err)
			}
			_, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{floats("x", []int64{1, 2}, 1, 2)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			release()
		}
	})
}
