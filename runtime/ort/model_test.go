package ort_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// shipped are the models of the functions.
var shipped = []string{ //nolint:gochecknoglobals // a test's table
	"text-detect/PP-OCRv6_det_small.onnx",
	"text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
	"text-recognize/PP-OCRv6_rec_small.onnx",
	"content-detect/model.onnx",
	"speech-detect/silero_vad.onnx",
	"speech-detect/silero_vad_16k_sequence.onnx",
}

// sampleOf is a row of a model that runs on nothing made up.
func sampleOf(name string) []infer.Tensor {
	if name != shipped[4] {
		return nil
	}
	rate := infer.Tensor{Name: "sr", DataType: infer.Int64, Shape: []int64{}, Data: binary.LittleEndian.AppendUint64(nil, 16_000)}
	return []infer.Tensor{
		floats("input", []int64{1, 576}, make([]float32, 576)...),
		floats("state", []int64{2, 1, 128}, make([]float32, 256)...),
		rate,
	}
}

func TestFindBatchAxisOfShippedModels(t *testing.T) {
	t.Parallel()
	l := open(t)
	for name, batches := range map[string]bool{
		shipped[0]: true, shipped[1]: true, shipped[2]: true, shipped[3]: true,
		shipped[4]: false, // its state's batch lies on another axis
		shipped[5]: false, // its rows are one after the other in time
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := load(t, l, model(t, name))
			b, err := ort.FindBatchAxis(t.Context(), s, sampleOf(name))
			if err != nil {
				t.Fatal(err)
			}
			if (b.Signature.BatchAxis != nil) != batches || (b.Reason == "") != batches {
				t.Errorf("batch axis %v, reason %q", b.Signature.BatchAxis, b.Reason)
			}
			if _, release, err := s.Run(t.Context(), b.Sample, nil); err != nil {
				t.Error(err)
			} else {
				release()
			}
		})
	}
}

func TestFindBatchAxis(t *testing.T) {
	t.Parallel()
	l := open(t)
	undeclared := onnxtest.Scale(2, 3)
	undeclared.Graph.Outputs[0].Shape = nil
	for name, tc := range map[string]struct {
		model  onnxtest.Model
		reason string
	}{
		"rows":                 {onnxtest.Scale(4, 3), ""},
		"half precision":       {onnxtest.Identity(onnxtest.Float16, "n", 3), ""},
		"strings":              {onnxtest.Identity(onnxtest.String, "n"), ""},
		"undeclared output":    {undeclared, ""},
		"rows that mix":        {onnxtest.Mean(4), `output "y" differs between rows run alone and together`},
		"fixed size":           {onnxtest.Identity(onnxtest.Float, 1, 3), "no input has a first axis whose size is left open"},
		"no input":             {onnxtest.Constant(1), "no input has a first axis whose size is left open"},
		"depends on the data":  {onnxtest.NonZero(), `output "y" has the shape`},
		"with an optional one": {onnxtest.Offset(3, 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := load(t, l, tc.model.Write(t))
			b, err := ort.FindBatchAxis(t.Context(), s, nil)
			if err != nil {
				t.Fatal(err)
			}
			if (tc.reason == "") != (b.Reason == "") || !strings.Contains(b.Reason, tc.reason) {
				t.Errorf("reason %q, want %q", b.Reason, tc.reason)
			}
			if (b.Signature.BatchAxis != nil) != (tc.reason == "") {
				t.Errorf("batch axis: %v", b.Signature.BatchAxis)
			}
			for _, o := range b.Signature.Outputs {
				if o.Shape == nil {
					t.Errorf("output %q has no shape", o.Name)
				}
			}
		})
	}
}

func TestFindBatchAxisOfWhatDoesNotRun(t *testing.T) {
	t.Parallel()
	m := onnxtest.Slow(1) // squares a matrix that is not square
	m.Graph.Inputs[0].Shape = []any{"n", 4}
	m.Graph.Outputs[0].Shape = nil
	s := load(t, open(t), m.Write(t))
	if _, err := ort.FindBatchAxis(t.Context(), s, nil); !errors.Is(err, ort.ErrNoSample) {
		t.Errorf("FindBatchAxis: %v", err)
	}
}

func TestOptimizedModelsGiveTheSameBytes(t *testing.T) {
	t.Parallel()
	l := open(t)
	for _, name := range shipped {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain := load(t, l, model(t, name))
			path := filepath.Join(t.TempDir(), "model.ort")
			if err := l.Optimize(model(t, name), path); err != nil {
				t.Fatal(err)
			}
			optimised := load(t, l, path)
			if err := os.Remove(path); err != nil { // the mapping keeps it
				t.Fatal(err)
			}
			if diff := cmp.Diff(plain.Signature(), optimised.Signature()); diff != "" {
				t.Errorf("signature: %s", diff)
			}
			b, err := ort.FindBatchAxis(t.Context(), plain, sampleOf(name))
			if err != nil {
				t.Fatal(err)
			}
			want, releaseWant, err := plain.Run(t.Context(), b.Sample, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer releaseWant()
			got, release, err := optimised.Run(t.Context(), b.Sample, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error("the outputs differ")
			}
		})
	}
}

func TestOptimizeLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	l := open(t)
	dir := t.TempDir()
	src := filepath.Join(dir, "model.onnx")
	if err := os.WriteFile(src, []byte("not a model"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Optimize(src, filepath.Join(dir, "model.ort")); err == nil {
		t.Error("Optimize of what is no model succeeded")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	l := open(t)
	m := onnxtest.Scale(2, 3)
	m.Metadata = map[string]string{"author": "żółw", "empty": ""}
	got, err := l.Inspect(m.Write(t))
	if err != nil {
		t.Fatal(err)
	}
	want := &ort.Inspection{
		Signature: infer.Signature{
			Inputs:  []infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{-1, 2}}},
			Outputs: []infer.TensorSpec{{Name: "y", DataType: infer.FP32, Shape: []int64{-1, 2}}},
		},
		Metadata:     m.Metadata,
		ExternalData: []string{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	rec, err := l.Inspect(model(t, shipped[2]))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(rec.Metadata["character"], "\n"); n < 18_000 {
		t.Errorf("the alphabet has %d lines", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	l := open(t)
	file := func(data []byte) func(*testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "model.onnx")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	good := onnxtest.Scale(2, 3).Marshal()
	odd := onnxtest.Identity(onnxtest.Complex64, "n")
	for name, tc := range map[string]struct {
		path func(*testing.T) string
		want string
	}{
		"nothing there":  {func(t *testing.T) string { return filepath.Join(t.TempDir(), "model.onnx") }, "no such file"},
		"a folder":       {func(t *testing.T) string { return t.TempDir() }, "is a directory"},
		"empty":          {file(nil), "the file is empty"},
		"text":           {file([]byte("Hello, this is no model at all.")), "not an ONNX model"},
		"cut off":        {file(good[:len(good)/2]), "not an ONNX model"},
		"ORT by name":    {file([]byte("\x10\x00\x00\x00ORTMgarbage that is no flatbuffer")), ""},
		"sequence":       {func(t *testing.T) string { return onnxtest.Sequence().Write(t) }, `output "y" is a sequence, and only tensors can be served`},
		"complex":        {func(t *testing.T) string { return odd.Write(t) }, "complex64"},
		"no weights":     {func(t *testing.T) string { return onnxtest.External(2, "w.bin").Write(t) }, `its external data "w.bin" is missing`},
		"weights above":  {func(t *testing.T) string { return onnxtest.External(2, "../w.bin").Write(t) }, `external data "../w.bin": expected the name of a file`},
		"weights at /":   {func(t *testing.T) string { return onnxtest.External(2, "/etc/passwd").Write(t) }, `external data "/etc/passwd"`},
		"weights in RAM": {func(t *testing.T) string { return onnxtest.External(2, "*/_ORT_MEM_ADDR_/*").Write(t) }, `external data "*/_ORT_MEM_ADDR_/*"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := tc.path(t)
			s, err := l.Open(path, ort.Options{})
			if err == nil {
				t.Fatal("it was loaded", s.Close())
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Open: %v, want %q", err, tc.want)
			}
		})
	}
}

func TestExternalData(t *testing.T) {
	t.Parallel()
	l := open(t)
	path := onnxtest.External(2, "w.bin").Write(t)
	weights := floats("", nil, 10, 20).Data
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "w.bin"), weights, 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := ort.ExternalData(path)
	if diff := cmp.Diff([]string{"w.bin"}, files); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	optimised := filepath.Join(t.TempDir(), "model.ort")
	if err := l.Optimize(path, optimised); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, optimised} {
		s := load(t, l, p)
		out, release, err := s.Run(t.Context(), []infer.Tensor{floats("x", []int64{1, 2}, 1, 2)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]infer.Tensor{floats("y", []int64{1, 2}, 11, 22)}, out); diff != "" {
			t.Error(diff)
		}
		release()
	}
}

func TestExternalDataInSubgraphs(t *testing.T) {
	t.Parallel()
	inner := onnxtest.External(1, "inner.bin").Graph
	m := onnxtest.External(1, "outer.bin")
	m.Graph.Nodes = append(m.Graph.Nodes, onnxtest.Node{
		Op: "If", Inputs: []string{"c"}, Outputs: []string{"z"},
		Attributes: []onnxtest.Attribute{{Name: "then_branch", Graph: &inner}},
	})
	got, err := ort.ScanExternalData(m.Marshal())
	if diff := cmp.Diff([]string{"inner.bin", "outer.bin"}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	deep := onnxtest.Scale(1, 1).Graph
	for range 100 {
		g := deep
		deep = onnxtest.Graph{Nodes: []onnxtest.Node{{Op: "If", Attributes: []onnxtest.Attribute{{Name: "g", Graph: &g}}}}}
	}
	if _, err := ort.ScanExternalData(onnxtest.Model{Graph: deep}.Marshal()); !errors.Is(err, ort.ErrNotONNX) {
		t.Errorf("nested graphs: %v", err)
	}
}

func FuzzScanExternalData(f *testing.F) {
	f.Add(onnxtest.External(1, "w.bin").Marshal())
	f.Add(onnxtest.External(1, "../w").Marshal())
	f.Add(onnxtest.Scale(1, 2).Marshal())
	f.Add([]byte{0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := ort.ScanExternalData(data)
		if err != nil {
			return
		}
		for _, name := range files {
			if name != filepath.Base(name) || name == ".." || name == "." {
				t.Errorf("file %q", name)
			}
		}
	})
}

func TestCPUFeatures(t *testing.T) {
	t.Parallel()
	got := ort.CPUFeatures()
	if !slices.IsSorted(got) {
		t.Errorf("not sorted: %v", got)
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	l := open(t)
	path := onnxtest.Scale(2, 3).Write(t)
	for _, d := range []ort.Device{"cuda", "cuda:0", "tpu"} {
		_, err := l.Open(path, ort.Options{Device: d})
		var e *ort.DeviceError
		if !errors.As(err, &e) || e.Device != d {
			t.Errorf("device %q: %v", d, err)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	l := open(b)
	s := load(b, l, onnxtest.Scale(4, 2).Write(b))
	in := []infer.Tensor{floats("x", []int64{1, 4}, 1, 2, 3, 4)}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		_, release, err := s.Run(ctx, in, nil)
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}

func BenchmarkRecognize(b *testing.B) {
	l := open(b)
	s := load(b, l, model(b, shipped[2]))
	in := infer.Tensor{Name: "x", DataType: infer.FP32, Shape: []int64{1, 3, 48, 320}}
	in.Data = bytes.Repeat(binary.LittleEndian.AppendUint32(nil, 0x3f000000), 3*48*320)
	b.ReportAllocs()
	for b.Loop() {
		_, release, err := s.Run(b.Context(), []infer.Tensor{in}, nil)
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}
