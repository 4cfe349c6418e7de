package infer_test

import (
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
