package ort_test

import (
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// open opens the library that `make deps` fetched, for one test.
func open(t testing.TB) *ort.Library {
	t.Helper()
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	l, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if live := l.Live(); live != (ort.Live{}) {
			t.Errorf("native objects left: %+v", live)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func load(t testing.TB, l *ort.Library, path string) *ort.Session {
	t.Helper()
	s, err := l.Open(path, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// model is the path of a model that `make deps` fetched.
func model(t testing.TB, name string) string {
	t.Helper()
	lib, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(filepath.Dir(filepath.Dir(lib)), "models", name)
}

func floats(name string, shape []int64, values ...float32) infer.Tensor {
	data := []byte{}
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return infer.Tensor{Name: name, DataType: infer.FP32, Shape: shape, Data: data}
}

func raw(values ...string) []byte {
	b := []byte{}
	for _, v := range values {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
	}
	return b
}

func TestRunEveryDataType(t *testing.T) {
	t.Parallel()
	l := open(t)
	types := []infer.DataType{
		infer.Bool, infer.Uint8, infer.Uint16, infer.Uint32, infer.Uint64, infer.Int8, infer.Int16,
		infer.Int32, infer.Int64, infer.FP16, infer.BF16, infer.FP32, infer.FP64, infer.Bytes,
	}
	shapes := map[string]struct {
		declared []any
		shape    []int64
		elements int
	}{
		"scalar":               {[]any{}, []int64{}, 1},
		"vector":               {[]any{"n"}, []int64{3}, 3},
		"matrix":               {[]any{"n", 2}, []int64{3, 2}, 6},
		"no elements":          {[]any{"n", 2}, []int64{0, 2}, 0},
		"no declared shape":    {nil, []int64{2, 1}, 2},
		"undeclared, a scalar": {nil, []int64{}, 1},
	}
	for name, tc := range shapes {
		for _, d := range types {
			t.Run(name+"/"+string(d), func(t *testing.T) {
				t.Parallel()
				m := onnxtest.Identity(onnxtest.ElementOf(d), tc.declared...)
				if tc.declared == nil {
					m.Graph.Inputs[0].Shape, m.Graph.Outputs[0].Shape = nil, nil
				}
				s := load(t, l, m.Write(t))
				in := infer.Tensor{Name: "x", DataType: d, Shape: tc.shape, Data: sample(d, tc.elements)}
				want := in
				want.Name = "y"
				for range 3 { // the first run learns the shape, the next preallocate
					out, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{in}, nil)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff([]infer.Tensor{want}, out); diff != "" {
						t.Errorf("outputs (-want +got):\n%s", diff)
					}
					release()
					release()
				}
			})
		}
	}
}

// sample is n elements of a data type, the strings with every kind of byte.
func sample(d infer.DataType, n int) []byte {
	data := []byte{}
	for i := range n {
		switch d {
		case infer.Bytes:
			data = append(data, raw([]string{"", "a\x00b", "żółć", "\xff\xfe"}[i%4])...)
		case infer.Bool:
			data = append(data, byte(i%2))
		default:
			for j := range d.Size() {
				data = append(data, byte(17*i+j+1))
			}
		}
	}
	return data
}

func TestRunRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	l := open(t)
	s := load(t, l, onnxtest.Scale(2, 3).Write(t))
	texts := load(t, l, onnxtest.Identity(onnxtest.String, "n").Write(t))
	bools := load(t, l, onnxtest.Identity(onnxtest.Bool, "n").Write(t))
	good := floats("x", []int64{1, 2}, 1, 2)
	for name, tc := range map[string]struct {
		s       *ort.Session
		inputs  []infer.Tensor
		outputs []string
		want    string
	}{
		"missing":         {s, nil, nil, `input "x" is missing`},
		"unknown":         {s, []infer.Tensor{good, floats("z", []int64{1}, 1)}, nil, `the model has no input "z"`},
		"twice":           {s, []infer.Tensor{good, good}, nil, `input "x" is given twice`},
		"unknown output":  {s, []infer.Tensor{good}, []string{"z"}, `the model has no output "z"`},
		"output twice":    {s, []infer.Tensor{good}, []string{"y", "y"}, `output "y" is asked for twice`},
		"type":            {s, []infer.Tensor{{Name: "x", DataType: infer.Int32, Shape: []int64{1, 2}, Data: good.Data}}, nil, `input "x": expected FP32, got INT32`},
		"bytes":           {s, []infer.Tensor{{Name: "x", DataType: infer.FP32, Shape: []int64{1, 2}, Data: good.Data[:7]}}, nil, `input "x": shape [1 2] of FP32 takes 2 elements of 4 bytes, got 7 bytes`},
		"negative":        {s, []infer.Tensor{{Name: "x", DataType: infer.FP32, Shape: []int64{-1, 2}, Data: good.Data}}, nil, `input "x": shape [-1 2] is not one of a tensor`},
		"overflow":        {s, []infer.Tensor{{Name: "x", DataType: infer.FP32, Shape: []int64{1 << 62, 2}, Data: good.Data}}, nil, `input "x": shape [4611686018427387904 2] is not one of a tensor`},
		"string cut":      {texts, []infer.Tensor{{Name: "x", DataType: infer.Bytes, Shape: []int64{1}, Data: []byte{5, 0, 0, 0, 'a'}}}, nil, `input "x": BYTES element 0: 5 bytes announced, 1 left`},
		"string rest":     {texts, []infer.Tensor{{Name: "x", DataType: infer.Bytes, Shape: []int64{1}, Data: raw("a", "b")}}, nil, `input "x": 5 bytes are left after the last BYTES element`},
		"strings too few": {texts, []infer.Tensor{{Name: "x", DataType: infer.Bytes, Shape: []int64{1 << 40}, Data: raw("a")}}, nil, `input "x": 1099511627776 BYTES elements take at least 4398046511104 bytes, got 5`},
		"bool":            {bools, []infer.Tensor{{Name: "x", DataType: infer.Bool, Shape: []int64{1}, Data: []byte{2}}}, nil, `input "x": BOOL elements are 0 or 1, got 2`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, release, err := tc.s.Run(t.Context(), memory.Unbounded{}, tc.inputs, tc.outputs)
			var e *ort.Error
			if !errors.As(err, &e) || e.Code != ort.CodeInvalidArgument || problem.CodeOf(err) != problem.InvalidArgument ||
				err.Error() != tc.want || release != nil {
				t.Errorf("Run: %v, want %s", err, tc.want)
			}
		})
	}
	t.Run("shape, by ONNX Runtime", func(t *testing.T) {
		t.Parallel()
		_, _, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{floats("x", []int64{1, 3}, 1, 2, 3)}, nil)
		var e *ort.Error
		if !errors.As(err, &e) || problem.CodeOf(err) != problem.InvalidArgument {
			t.Errorf("Run: %v", err)
		}
	})
	t.Run("shape, by an operator", func(t *testing.T) {
		t.Parallel()
		detect := load(t, l, model(t, shipped[0]))
		in := floats("x", []int64{1, 3, 33, 33}, make([]float32, 3*33*33)...)
		_, _, err := detect.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{in}, nil)
		if problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), "the model does not run on these inputs") {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestRunUnalignedInput(t *testing.T) {
	t.Parallel()
	s := load(t, open(t), onnxtest.Identity(onnxtest.Double, "n").Write(t))
	aligned := make([]byte, 17)
	data := aligned[1:]
	copy(data, sample(infer.FP64, 2))
	out, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{{Name: "x", DataType: infer.FP64, Shape: []int64{2}, Data: data}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if diff := cmp.Diff(data, out[0].Data); diff != "" {
		t.Error(diff)
	}
}

func TestRunShapeThatDependsOnData(t *testing.T) {
	t.Parallel()
	s := load(t, open(t), onnxtest.NonZero().Write(t))
	for _, tc := range []struct {
		in   []float32
		want []int64
	}{
		{[]float32{0, 1, 0, 1}, []int64{1, 2}},
		{[]float32{1, 1, 1, 1}, []int64{1, 4}},
		{[]float32{0, 0, 0, 0}, []int64{1, 0}},
		{[]float32{1, 0, 0, 0}, []int64{1, 1}},
	} {
		for range 2 {
			out, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{floats("x", []int64{4}, tc.in...)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, out[0].Shape); diff != "" {
				t.Errorf("%v: %s", tc.in, diff)
			}
			release()
		}
	}
}

func TestRunWithoutInputs(t *testing.T) {
	t.Parallel()
	s := load(t, open(t), onnxtest.Constant(2.5).Write(t))
	for range 2 {
		out, release, err := s.Run(t.Context(), memory.Unbounded{}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]infer.Tensor{floats("y", []int64{}, 2.5)}, out); diff != "" {
			t.Error(diff)
		}
		release()
	}
}

func TestRunOptionalInput(t *testing.T) {
	t.Parallel()
	s := load(t, open(t), onnxtest.Offset(1, 10).Write(t))
	want := []infer.TensorSpec{
		{Name: "x", DataType: infer.FP32, Shape: []int64{-1, 1}},
		{Name: "offset", DataType: infer.FP32, Shape: []int64{1}, Optional: true},
	}
	if diff := cmp.Diff(want, s.Signature().Inputs); diff != "" {
		t.Error(diff)
	}
	for _, tc := range []struct {
		inputs []infer.Tensor
		want   float32
	}{
		{[]infer.Tensor{floats("x", []int64{1, 1}, 1)}, 11},
		{[]infer.Tensor{floats("offset", []int64{1}, 5), floats("x", []int64{1, 1}, 1)}, 6},
	} {
		out, release, err := s.Run(t.Context(), memory.Unbounded{}, tc.inputs, []string{"y"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]infer.Tensor{floats("y", []int64{1, 1}, tc.want)}, out); diff != "" {
			t.Error(diff)
		}
		release()
	}
}
