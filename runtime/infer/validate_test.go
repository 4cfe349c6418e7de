package infer_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	zero, ten := 0.0, 10.0
	signature := infer.Signature{
		Inputs: []infer.TensorSpec{
			{Name: "x", DataType: infer.FP32, Shape: []int64{-1, 2}, Min: &zero, Max: &ten},
			{Name: "s", DataType: infer.Bytes, Shape: []int64{-1}, Optional: true},
			{Name: "b", DataType: infer.Bool, Shape: []int64{1}, Optional: true},
			{Name: "i", DataType: infer.Int64, Shape: []int64{-1}, Optional: true, Max: &ten},
			{Name: "p", DataType: infer.Int8, Shape: []int64{-1, -1}, Optional: true, MinShape: []int64{-1, 2}, MaxShape: []int64{1, -1}},
			{Name: "u", DataType: infer.Int8, Optional: true}, // the model declares no shape
			{Name: "c", DataType: infer.Int8, Shape: []int64{}, Optional: true},
			{Name: "e", DataType: infer.Int8, Shape: []int64{-1, -1}, Example: []int64{0, 3}, Optional: true},
			{Name: "none", DataType: infer.Int8, Shape: []int64{0}, Optional: true},
		},
		Outputs:     []infer.TensorSpec{{Name: "y", DataType: infer.FP32, Shape: []int64{-1}}},
		MaxElements: 4,
	}
	x := infer.NewTensor("x", []int64{1, 2}, []float32{0, 10})
	for name, tc := range map[string]struct {
		inputs  []infer.Tensor
		outputs []infer.RequestedOutput
		want    []string
	}{
		"good":            {inputs: []infer.Tensor{x}},
		"good, with all":  {inputs: []infer.Tensor{infer.NewBytes("s", []int64{2}, "a", ""), x}, outputs: []infer.RequestedOutput{{Name: "y"}}},
		"no row":          {inputs: []infer.Tensor{infer.NewTensor("x", []int64{0, 2}, []float32(nil))}, want: []string{"inputs[0].shape[0]"}},
		"empty as run":    {inputs: []infer.Tensor{x, infer.NewTensor("e", []int64{0, 3}, []int8(nil))}},
		"empty elsewhere": {inputs: []infer.Tensor{x, infer.NewTensor("e", []int64{2, 0}, []int8(nil))}, want: []string{"inputs[1].shape[1]"}},
		"empty, declared": {inputs: []infer.Tensor{x, infer.NewTensor("none", []int64{0}, []int8(nil))}},
		"any, empty":      {inputs: []infer.Tensor{x, infer.NewTensor("u", []int64{2, 0}, []int8(nil))}, want: []string{"inputs[1].shape[1]"}},
		"missing":         {want: []string{"inputs"}},
		"unknown":         {inputs: []infer.Tensor{x, {Name: "z"}}, want: []string{"inputs[1].name"}},
		"twice":           {inputs: []infer.Tensor{x, x}, want: []string{"inputs[1].name"}},
		"data type":       {inputs: []infer.Tensor{infer.NewTensor("x", []int64{1, 2}, []int32{1, 2})}, want: []string{"inputs[0].datatype"}},
		"rank":            {inputs: []infer.Tensor{infer.NewTensor("x", []int64{2}, []float32{1, 2})}, want: []string{"inputs[0].shape"}},
		"fixed axis":      {inputs: []infer.Tensor{infer.NewTensor("x", []int64{2, 1}, []float32{1, 2})}, want: []string{"inputs[0].shape"}},
		"negative axis":   {inputs: []infer.Tensor{infer.NewTensor("x", []int64{-1, 2}, []float32{1, 2})}, want: []string{"inputs[0].shape"}},
		"overflow":        {inputs: []infer.Tensor{x, {Name: "s", DataType: infer.Bytes, Shape: []int64{math.MaxInt64}}}, want: []string{"inputs[1].shape"}},
		"too many":        {inputs: []infer.Tensor{infer.NewTensor("x", []int64{3, 2}, make([]float32, 6))}, want: []string{"inputs[0].shape"}},
		"good, in bounds": {inputs: []infer.Tensor{x, infer.NewTensor("p", []int64{1, 2}, make([]int8, 2))}},
		"any shape":       {inputs: []infer.Tensor{x, infer.NewTensor("u", []int64{1, 2}, make([]int8, 2))}},
		"any, a scalar":   {inputs: []infer.Tensor{x, infer.NewTensor("u", nil, make([]int8, 1))}},
		"any, not as big": {inputs: []infer.Tensor{x, infer.NewTensor("u", []int64{2}, make([]int8, 1))}, want: []string{"inputs[1].data"}},
		"any, negative":   {inputs: []infer.Tensor{x, infer.NewTensor("u", []int64{-1}, make([]int8, 1))}, want: []string{"inputs[1].shape"}},
		"a scalar":        {inputs: []infer.Tensor{x, infer.NewTensor("c", nil, make([]int8, 1))}},
		"a row for one":   {inputs: []infer.Tensor{x, infer.NewTensor("c", []int64{1}, make([]int8, 1))}, want: []string{"inputs[1].shape"}},
		"no rows":         {inputs: []infer.Tensor{x, infer.NewTensor("p", []int64{0, 2}, make([]int8, 0))}, want: []string{"inputs[1].shape[0]"}},
		"too many rows":   {inputs: []infer.Tensor{x, infer.NewTensor("p", []int64{2, 2}, make([]int8, 4))}, want: []string{"inputs[1].shape[0]"}},
		"too narrow":      {inputs: []infer.Tensor{x, infer.NewTensor("p", []int64{1, 1}, make([]int8, 1))}, want: []string{"inputs[1].shape[1]"}},
		"bytes":           {inputs: []infer.Tensor{infer.NewTensor("x", []int64{2, 2}, []float32{1, 2})}, want: []string{"inputs[0].data"}},
		"below":           {inputs: []infer.Tensor{infer.NewTensor("x", []int64{1, 2}, []float32{1, -1})}, want: []string{"inputs[0].data[1]"}},
		"NaN":             {inputs: []infer.Tensor{infer.NewTensor("x", []int64{1, 2}, []float32{float32(math.NaN()), 1})}, want: []string{"inputs[0].data[0]"}},
		"above":           {inputs: []infer.Tensor{x, infer.NewTensor("i", []int64{1}, []int64{11})}, want: []string{"inputs[1].data[0]"}},
		"BYTES framing":   {inputs: []infer.Tensor{x, {Name: "s", DataType: infer.Bytes, Shape: []int64{1}, Data: []byte{5, 0, 0, 0, 'a'}}}, want: []string{"inputs[1].data"}},
		"BYTES count":     {inputs: []infer.Tensor{x, infer.NewBytes("s", []int64{1}, "a", "b")}, want: []string{"inputs[1].data"}},
		"BOOL":            {inputs: []infer.Tensor{x, {Name: "b", DataType: infer.Bool, Shape: []int64{1}, Data: []byte{2}}}, want: []string{"inputs[1].data"}},
		"unknown output":  {inputs: []infer.Tensor{x}, outputs: []infer.RequestedOutput{{Name: "z"}}, want: []string{"outputs[0].name"}},
		"output twice":    {inputs: []infer.Tensor{x}, outputs: []infer.RequestedOutput{{Name: "y"}, {Name: "y"}}, want: []string{"outputs[1].name"}},
		"several at once": {inputs: []infer.Tensor{{Name: "z"}}, outputs: []infer.RequestedOutput{{Name: "z"}}, want: []string{"inputs[0].name", "inputs", "outputs[0].name"}},
		"very many faults": {inputs: make([]infer.Tensor, 100), want: []string{
			"inputs[0].name", "inputs[1].name", "inputs[2].name", "inputs[3].name", "inputs[4].name", "inputs[5].name", "inputs[6].name", "inputs[7].name",
			"inputs[8].name", "inputs[9].name", "inputs[10].name", "inputs[11].name", "inputs[12].name", "inputs[13].name", "inputs[14].name", "inputs[15].name",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := signature.Validate(&infer.Request{Inputs: tc.inputs, Outputs: tc.outputs})
			var got []string
			if err != nil {
				p := problem.From(err)
				if p.Code != problem.InvalidArgument {
					t.Errorf("code %s", p.Code)
				}
				for _, f := range p.Fields {
					got = append(got, f.Field)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%v:\n%s", err, diff)
			}
		})
	}
}

func TestParseName(t *testing.T) {
	t.Parallel()
	long := "a23456789012345678901234567890123456789012345678901234567890123"
	for _, good := range []string{"a", "text-detect", "9", "a-9", long} {
		if got, err := infer.ParseName(good); err != nil || got != good {
			t.Errorf("%q: %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a_b", "a.b", "../a", "a/b", "é", long + "x", "a\x00"} {
		if _, err := infer.ParseName(bad); problem.CodeOf(err) != problem.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNewName(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"iris", "stats2", "index", "infer"} {
		if got, err := infer.NewName(good); err != nil || got != good {
			t.Errorf("%q: %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{"stats", "", "../x"} {
		if _, err := infer.NewName(bad); problem.CodeOf(err) != problem.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"1": 1, "42": 42, "2147483647": 2147483647} {
		if got, err := infer.ParseVersion(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "0", "-1", "+1", "01", "1.0", "1e3", "v1", "99999999999999999999", " 1", "2147483648", "9223372036854775807"} {
		if _, err := infer.ParseVersion(bad); problem.CodeOf(err) != problem.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCheckVersion(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"1", "42", "stable", "latest", "blue-2", "4x", "v1", "1e3"} {
		if err := infer.CheckVersion("model_version", good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "0", "-1", "+1", "01", "1.0", "Stable", "a b", "a/b", "99999999999999999999", "-a", strings.Repeat("a", 64)} {
		err := infer.CheckVersion("X-Model-Version", bad)
		if e := problem.From(err); e.Code != problem.InvalidArgument || len(e.Fields) != 1 || e.Fields[0].Field != "X-Model-Version" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
