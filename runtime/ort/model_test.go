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

	"github.com/modelserveai/modelserve/internal/memory"

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

// samples are inputs that the shipped models run on.
func samples(name string) []infer.Tensor {
	ramp := func(input string, shape ...int64) infer.Tensor {
		t := infer.Tensor{Name: input, DataType: infer.FP32, Shape: shape}
		n := t.Elements()
		for i := range n {
			t.Data = append(t.Data, floats("", nil, float32(i)/float32(n)).Data...)
		}
		return t
	}
	switch name {
	case shipped[0]:
		return []infer.Tensor{ramp("x", 1, 3, 64, 96)}
	case shipped[1]:
		return []infer.Tensor{ramp("x", 1, 3, 48, 192)}
	case shipped[2]:
		return []infer.Tensor{ramp("x", 1, 3, 48, 64)}
	case shipped[3]:
		t := infer.Tensor{Name: "bytes", DataType: infer.Int32, Shape: []int64{1, 2048}}
		for i := range 2048 {
			t.Data = binary.LittleEndian.AppendUint32(t.Data, uint32(i%256))
		}
		return []infer.Tensor{t}
	case shipped[4]:
		rate := infer.Tensor{
			Name: "sr", DataType: infer.Int64, Shape: []int64{}, Data: binary.LittleEndian.AppendUint64(nil, 16_000),
		}
		return []infer.Tensor{ramp("input", 1, 576), ramp("state", 2, 1, 128), rate}
	default:
		return []infer.Tensor{ramp("input", 3, 576), ramp("h", 1, 1, 128), ramp("c", 1, 1, 128)}
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
			want, releaseWant, err := plain.Run(t.Context(), memory.Unbounded{}, samples(name), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer releaseWant()
			got, release, err := optimised.Run(t.Context(), memory.Unbounded{}, samples(name), nil)
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

func TestSignatureAndMetadata(t *testing.T) {
	t.Parallel()
	l := open(t)
	m := onnxtest.Scale(2, 3)
	m.Metadata = map[string]string{"author": "żółw", "empty": ""}
	s := load(t, l, m.Write(t))
	want := &infer.Signature{
		Inputs:  []infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{-1, 2}}},
		Outputs: []infer.TensorSpec{{Name: "y", DataType: infer.FP32, Shape: []int64{-1, 2}}},
	}
	if diff := cmp.Diff(want, s.Signature()); diff != "" {
		t.Error(diff)
	}
	metadata, err := s.Metadata()
	if diff := cmp.Diff(m.Metadata, metadata); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	recognise, err := load(t, l, model(t, shipped[2])).Metadata()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(recognise["character"], "\n"); n < 18_000 {
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
		"sequence":       {func(t *testing.T) string { return onnxtest.Sequence().Write(t) }, `output "y" is a sequence, and only tensors can be served` + "\n"},
		"a ZipMap":       {func(t *testing.T) string { return onnxtest.ZipMap().Write(t) }, `output "y" is a sequence, and only tensors can be served: export it without ZipMap (in skl2onnx, options={"zipmap": False})`},
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
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error()+"\n", tc.want) {
				t.Errorf("Open: %v, want %q", err, tc.want)
			}
		})
	}
}

func TestOutputsThatAreNoTensorsAreLeftOut(t *testing.T) {
	t.Parallel()
	m := onnxtest.Sequence()
	m.Graph.Nodes = append(m.Graph.Nodes, onnxtest.Node{Op: "Identity", Inputs: []string{"x"}, Outputs: []string{"z"}})
	m.Graph.Outputs = append(m.Graph.Outputs, onnxtest.Value{Name: "z", Element: onnxtest.Float, Shape: []any{"n"}})
	s := load(t, open(t), m.Write(t))
	want := []infer.TensorSpec{{Name: "z", DataType: infer.FP32, Shape: []int64{-1}}}
	if diff := cmp.Diff(want, s.Signature().Outputs); diff != "" {
		t.Error(diff)
	}
	if left := s.LeftOut(); len(left) != 1 || !strings.Contains(left[0].Error(), `output "y" is a sequence`) {
		t.Errorf("left out: %v", left)
	}
	out, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{floats("x", []int64{2}, 1, 2)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if len(out) != 1 || out[0].Name != "z" {
		t.Errorf("answered %v", out)
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
		out, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{floats("x", []int64{1, 2}, 1, 2)}, nil)
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

func BenchmarkRun(b *testing.B) {
	l := open(b)
	s := load(b, l, onnxtest.Scale(4, 2).Write(b))
	in := []infer.Tensor{floats("x", []int64{1, 4}, 1, 2, 3, 4)}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		_, release, err := s.Run(ctx, memory.Unbounded{}, in, nil)
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
		_, release, err := s.Run(b.Context(), memory.Unbounded{}, []infer.Tensor{in}, nil)
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}
