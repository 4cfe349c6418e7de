package batch

import (
	"math"
	"slices"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestPaddedOnlyAsProven holds that requests of different lengths share a run only
// where padding was proven for all that decides what the model makes of them.
func TestPaddedOnlyAsProven(t *testing.T) {
	t.Parallel()
	axis := 0
	ragged := func(name string, d infer.DataType, r infer.Ragged, inner ...int64) infer.TensorSpec {
		r.Axis, r.Max = 1, 2000
		return infer.TensorSpec{Name: name, DataType: d, Shape: append([]int64{-1, -1}, inner...), Ragged: &r}
	}
	ids := ragged("x", infer.Int64, infer.Ragged{Blank: true})
	flag := func(with ...[]byte) infer.TensorSpec {
		return infer.TensorSpec{Name: "k", DataType: infer.Bool, Shape: []int64{}, Unbatched: true, RaggedWith: with}
	}
	vector := infer.TensorSpec{Name: "k", DataType: infer.Uint8, Shape: []int64{-1, -1}, Example: []int64{1, 2}, Unbatched: true, RaggedWith: [][]byte{{3, 4}}}
	text := func(values ...string) infer.TensorSpec {
		spec := infer.TensorSpec{Name: "k", DataType: infer.Bytes, Shape: []int64{-1}}
		for _, v := range values {
			spec.RaggedWith = append(spec.RaggedWith, infer.AppendBytes(nil, v))
		}
		return spec
	}
	whole := func(values ...int64) func(n int64) infer.Tensor { // the row repeats them
		return func(n int64) infer.Tensor {
			row := make([]int64, n)
			for i := range row {
				row[i] = values[min(i, len(values)-1)]
			}
			return infer.NewTensor("k", []int64{1, n}, row)
		}
	}
	floats := func(values ...float32) func(n int64) infer.Tensor {
		return func(n int64) infer.Tensor { return infer.NewTensor("k", []int64{1, n}, slices.Repeat(values, int(n))) }
	}
	fixed := func(tensor infer.Tensor) func(int64) infer.Tensor { return func(int64) infer.Tensor { return tensor } }
	zero := float32(math.Copysign(0, -1))
	for name, tc := range map[string]struct {
		spec   infer.TensorSpec // of "k", beside ragged "x" of the same rows
		k      func(n int64) infer.Tensor
		joined bool
	}{
		"a mask":                             {ragged("k", infer.Int64, infer.Ragged{}), whole(1), true},
		"a mask with holes":                  {ragged("k", infer.Int64, infer.Ragged{}), whole(0, 1, 0), true},
		"a mask of nothing":                  {ragged("k", infer.Int64, infer.Ragged{}), whole(0), false},
		"a mask of what to leave out":        {ragged("k", infer.Int64, infer.Ragged{Pad: 1}), whole(0), true},
		"one that leaves out all":            {ragged("k", infer.Int64, infer.Ragged{Pad: 1}), whole(1), false},
		"a float mask":                       {ragged("k", infer.FP32, infer.Ragged{}), floats(1), true},
		"a float mask of nothing":            {ragged("k", infer.FP32, infer.Ragged{}), floats(0), false},
		"a float mask of nothing, below":     {ragged("k", infer.FP32, infer.Ragged{}), floats(zero), false},
		"a float mask that leaves out all":   {ragged("k", infer.FP32, infer.Ragged{Pad: -1e9}), floats(-1e9), false},
		"only padding, as was proven":        {ragged("k", infer.Int64, infer.Ragged{Blank: true}), whole(0), true},
		"a flag that was tried":              {flag([]byte{1}), fixed(infer.NewTensor("k", []int64{}, []bool{true})), true},
		"a flag that was not":                {flag([]byte{1}), fixed(infer.NewTensor("k", []int64{}, []bool{false})), false},
		"a flag of two that were":            {flag([]byte{1}, []byte{0}), fixed(infer.NewTensor("k", []int64{}, []bool{false})), true},
		"a flag of before":                   {flag(), fixed(infer.NewTensor("k", []int64{}, []bool{true})), false},
		"numbers that were tried":            {vector, fixed(infer.NewTensor("k", []int64{1, 2}, []uint8{3, 4})), true},
		"the same in another shape":          {vector, fixed(infer.NewTensor("k", []int64{2, 1}, []uint8{3, 4})), false},
		"a text that was tried":              {text("query", "page"), fixed(infer.NewBytes("k", []int64{1}, "page")), true},
		"a text that was not":                {text("query"), fixed(infer.NewBytes("k", []int64{1}, "mean")), false},
		"a text of before":                   {text(), fixed(infer.NewBytes("k", []int64{1}, "query")), false},
		"a number of the row's own, as data": {infer.TensorSpec{Name: "k", DataType: infer.Int64, Shape: []int64{-1}}, fixed(infer.NewTensor("k", []int64{1}, []int64{7})), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &Queue{m: Model{Signature: &infer.Signature{Inputs: []infer.TensorSpec{ids, tc.spec}, BatchAxis: &axis}}, rules: &Rules{}}
			key := func(n int64) string {
				x := infer.NewTensor("x", []int64{1, n}, make([]int64, n))
				f := q.formOf(nil, &infer.Request{Inputs: []infer.Tensor{x, tc.k(n)}}, nil)
				return string(f.key)
			}
			if joined := key(5) == key(6); joined != tc.joined {
				t.Errorf("lengths that differ are joined: %v", joined)
			}
			if one, other := key(6), key(6); one != other {
				t.Error("equal ones are kept apart")
			}
		})
	}
}

// TestARowOfPaddingIsFoundAmongOthers holds that each row is looked at, and each
// place before the ragged axis.
func TestARowOfPaddingIsFoundAmongOthers(t *testing.T) {
	t.Parallel()
	spec := infer.TensorSpec{DataType: infer.Int32, Ragged: &infer.Ragged{Axis: 2, Pad: 9}}
	for name, tc := range map[string]struct {
		shape  []int64
		values []int32
		want   bool
	}{
		"none":                  {[]int64{2, 1, 2}, []int32{1, 9, 9, 1}, false},
		"the second row":        {[]int64{2, 1, 2}, []int32{1, 9, 9, 9}, true},
		"one of a row's two":    {[]int64{1, 2, 2}, []int32{9, 9, 1, 1}, true},
		"across two of a row's": {[]int64{1, 2, 2}, []int32{1, 9, 9, 1}, false},
		"tokens of two numbers": {[]int64{1, 1, 2, 2}, []int32{9, 9, 9, 1}, false},
		"and all of them":       {[]int64{1, 1, 2, 2}, []int32{9, 9, 9, 9}, true},
		"of no length":          {[]int64{1, 1, 0}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tensor := infer.NewTensor("x", tc.shape, tc.values)
			if got := onlyPad(&spec, &tensor); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
