package publish

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// fickle gives as many rows as its first input says.
type fickle struct{}

func (fickle) Run(_ context.Context, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	n := int64(inputs[0].Data[0])
	return []infer.Tensor{
		{Name: "rows", DataType: infer.Uint8, Shape: []int64{n, 2}, Data: make([]byte, 2*n)},
		{Name: "kept", DataType: infer.Uint8, Shape: []int64{3}, Data: make([]byte, 3)},
		{Name: "flat", DataType: infer.Uint8, Shape: []int64{}, Data: make([]byte, 1)},
	}, func() {}, nil
}

func TestOutputsThatBreakTheirWordAreOpened(t *testing.T) {
	t.Parallel()
	spec := func(name string, shape ...int64) infer.TensorSpec {
		return infer.TensorSpec{Name: name, DataType: infer.Uint8, Shape: shape}
	}
	sig := infer.Signature{
		Inputs:  []infer.TensorSpec{spec("n", 1)},
		Outputs: []infer.TensorSpec{spec("rows", 4, 2), spec("kept", 3), spec("flat", 1)},
	}
	opened, notes, err := openOutputs(t.Context(), fickle{}, sig, []infer.Tensor{{Name: "n", DataType: infer.Uint8, Shape: []int64{1}, Data: []byte{4}}})
	if err != nil || len(notes) != 2 {
		t.Errorf("%q, %v", notes, err)
	}
	want := []infer.TensorSpec{spec("rows", -1, 2), spec("kept", 3), {Name: "flat", DataType: infer.Uint8}}
	if diff := cmp.Diff(want, opened.Outputs); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(spec("rows", 4, 2), sig.Outputs[0]); diff != "" {
		t.Errorf("the signature given was changed: %s", diff)
	}
}
