package pool

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

func TestCheckOutput(t *testing.T) {
	t.Parallel()
	axis := 0
	sig := infer.Signature{
		BatchAxis: &axis,
		Inputs: []infer.TensorSpec{
			{Name: "state", DataType: infer.FP32, Shape: []int64{-1}, Unbatched: true},
			{Name: "x", DataType: infer.FP32, Shape: []int64{-1, 3}},
		},
		Outputs: []infer.TensorSpec{
			{Name: "steps", DataType: infer.FP32, Shape: []int64{-1, -1, 10}}, // 40 bytes a row
			{Name: "label", DataType: infer.Bytes, Shape: []int64{-1}},        // 4 bytes a row
			{Name: "table", DataType: infer.Int64, Shape: []int64{5}, Unbatched: true},
			{Name: "vast", DataType: infer.FP64, Shape: []int64{-1, math.MaxInt64 / 2}},
		},
	}
	unbatched := sig
	unbatched.BatchAxis = nil
	for name, tc := range map[string]struct {
		sig    *infer.Signature
		rows   int64
		wanted []string
		most   int64
		detail string // "" is allowed
	}{
		"just as much":             {&sig, 100, []string{"steps"}, 4000, ""},
		"a row more":               {&sig, 101, []string{"steps"}, 4000, "inputs[1].shape: 101 rows would make an answer of at least 4040 bytes; expected at most 4000"},
		"another output":           {&sig, 101, []string{"label"}, 4000, ""},
		"both":                     {&sig, 100, []string{"steps", "label"}, 4000, "at least 4400 bytes"},
		"one that no row changes":  {&sig, 1000, []string{"table"}, 40, ""},
		"one that is too large":    {&sig, 1, []string{"table"}, 39, "at least 40 bytes"},
		"no rows":                  {&sig, 0, []string{"steps", "vast"}, 1, ""},
		"more than can be counted": {&sig, 3, []string{"vast", "steps"}, 1 << 40, "at least 9223372036854775807 bytes"},
		"no bound":                 {&sig, 1 << 40, []string{"steps"}, 0, ""},
		"a model without the axis": {&unbatched, 1 << 40, []string{"steps"}, 1, ""},
	} {
		inputs := []infer.Tensor{{Name: "state", Shape: []int64{7}}, {Name: "x", Shape: []int64{tc.rows, 3}}}
		err := checkOutput(tc.sig, inputs, tc.wanted, tc.most)
		if tc.detail == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var known *problem.Error
		if !errors.As(err, &known) || known.Code != problem.PayloadTooLarge || !strings.Contains(known.Detail, tc.detail) ||
			len(known.Fields) != 1 || known.Fields[0].Field != "inputs[1].shape" {
			t.Errorf("%s: got %+v, want %q", name, err, tc.detail)
		}
	}
}

func TestCheckOutputs(t *testing.T) {
	t.Parallel()
	sig := infer.Signature{Outputs: []infer.TensorSpec{
		{Name: "y", DataType: infer.FP32, Shape: []int64{-1, 3}},
		{Name: "n", DataType: infer.Int64, Shape: []int64{}},
		{Name: "any", DataType: infer.Int64}, // the model declares no shape
	}}
	for name, tc := range map[string]struct {
		outputs []infer.Tensor
		detail  string // "" is allowed
	}{
		"as declared": {[]infer.Tensor{{Name: "n", DataType: infer.Int64}, {Name: "y", DataType: infer.FP32, Shape: []int64{0, 3}}}, ""},
		"any shape":   {[]infer.Tensor{{Name: "any", DataType: infer.Int64, Shape: []int64{4, 2}}}, ""},
		"one of two":  {[]infer.Tensor{{Name: "y", DataType: infer.FP32, Shape: []int64{9, 3}}}, ""},
		"another data type": {
			[]infer.Tensor{{Name: "y", DataType: infer.FP64, Shape: []int64{9, 3}}},
			`the model broke its signature: output "y" is FP64 [9 3]; expected FP32 [-1 3], -1 being any size`,
		},
		"another size":      {[]infer.Tensor{{Name: "y", DataType: infer.FP32, Shape: []int64{3, 9}}}, `output "y" is FP32 [3 9]`},
		"an axis too many":  {[]infer.Tensor{{Name: "n", DataType: infer.Int64, Shape: []int64{1}}}, `output "n" is INT64 [1]; expected INT64 []`},
		"an axis too few":   {[]infer.Tensor{{Name: "y", DataType: infer.FP32, Shape: []int64{3}}}, `output "y" is FP32 [3]`},
		"an unknown output": {[]infer.Tensor{{Name: "z"}}, `an output "z" that is not in its signature`},
	} {
		err := checkOutputs(&sig, tc.outputs)
		if tc.detail == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if problem.CodeOf(err) != problem.ModelFailed || !strings.Contains(err.Error(), tc.detail) {
			t.Errorf("%s: got %v, want %q", name, err, tc.detail)
		}
	}
}
