package infer_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
)

func TestExampleInputs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spec infer.TensorSpec
		want []infer.Tensor
	}{
		"zeros":            {infer.TensorSpec{DataType: infer.FP16, Shape: []int64{2}}, []infer.Tensor{{DataType: infer.FP16, Shape: []int64{2}, Data: make([]byte, 4)}}},
		"a scalar":         {infer.TensorSpec{DataType: infer.Int64, Shape: []int64{}}, []infer.Tensor{{DataType: infer.Int64, Shape: []int64{}, Data: make([]byte, 8)}}},
		"dynamic axes":     {infer.TensorSpec{DataType: infer.Bool, Shape: []int64{-1, 3}}, []infer.Tensor{{DataType: infer.Bool, Shape: []int64{1, 3}, Data: make([]byte, 3)}}},
		"the shape tried":  {infer.TensorSpec{DataType: infer.Bool, Shape: []int64{-1, 3}, Example: []int64{2, 3}}, []infer.Tensor{{DataType: infer.Bool, Shape: []int64{2, 3}, Data: make([]byte, 6)}}},
		"none of anything": {infer.TensorSpec{DataType: infer.FP32, Shape: []int64{3, 0}}, []infer.Tensor{{DataType: infer.FP32, Shape: []int64{3, 0}, Data: []byte{}}}},
		"strings":          {infer.TensorSpec{DataType: infer.Bytes, Shape: []int64{2}}, []infer.Tensor{infer.NewBytes("", []int64{2}, "", "")}},
		"values":           {infer.TensorSpec{DataType: infer.Int8, Shape: []int64{2}, ExampleData: []byte{3, 4}}, []infer.Tensor{{DataType: infer.Int8, Shape: []int64{2}, Data: []byte{3, 4}}}},
		"optional":         {infer.TensorSpec{DataType: infer.Int8, Shape: []int64{2}, Optional: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := infer.Signature{Inputs: []infer.TensorSpec{tc.spec}}
			got := s.ExampleInputs()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := s.Validate(&infer.Request{Inputs: got}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDiffers(t *testing.T) {
	t.Parallel()
	port := func(name string, dt infer.DataType, shape ...int64) infer.TensorSpec {
		return infer.TensorSpec{Name: name, DataType: dt, Shape: shape}
	}
	base := infer.Signature{Inputs: []infer.TensorSpec{port("x", infer.FP32, -1, 3)}, Outputs: []infer.TensorSpec{port("y", infer.FP32, -1)}}
	with := func(change func(s *infer.Signature)) infer.Signature {
		s := infer.Signature{Inputs: append([]infer.TensorSpec{}, base.Inputs...), Outputs: append([]infer.TensorSpec{}, base.Outputs...)}
		change(&s)
		return s
	}
	for name, tc := range map[string]struct {
		other infer.Signature
		want  string // "" is none
	}{
		"the same":              {base, ""},
		"a dynamic axis":        {with(func(s *infer.Signature) { s.Inputs[0] = port("x", infer.FP32, 4, 3) }), ""},
		"a bound":               {with(func(s *infer.Signature) { s.MaxElements = 9 }), ""},
		"a shape not declared":  {with(func(s *infer.Signature) { s.Outputs[0].Shape = nil }), ""},
		"a size":                {with(func(s *infer.Signature) { s.Inputs[0] = port("x", infer.FP32, -1, 4) }), `the input "x" is of shape [-1 3] in one and [-1 4] in the other`},
		"a rank":                {with(func(s *infer.Signature) { s.Inputs[0] = port("x", infer.FP32, -1) }), "of shape"},
		"a type":                {with(func(s *infer.Signature) { s.Outputs[0] = port("y", infer.FP64, -1) }), `the output "y" is FP32 in one and FP64 in the other`},
		"an input more":         {with(func(s *infer.Signature) { s.Inputs = append(s.Inputs, port("z", infer.FP32, 1)) }), `only one has the input "z"`},
		"an output of a name":   {with(func(s *infer.Signature) { s.Outputs[0].Name = "z" }), `only one has the output "y"`},
		"one that may be left":  {with(func(s *infer.Signature) { s.Inputs[0].Optional = true }), "optional in one alone"},
		"an output that is new": {with(func(s *infer.Signature) { s.Outputs = append(s.Outputs, port("z", infer.FP32, 1)) }), `only one has the output "z"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := base.Differs(&tc.other)
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
