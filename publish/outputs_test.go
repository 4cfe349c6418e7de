package publish

import (
	"context"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// sizedByInput gives as many rows as the value of its first input.
type sizedByInput struct{}

func (sizedByInput) Run(_ context.Context, _ memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	n := int64(inputs[0].Data[0])
	return []infer.Tensor{
		{Name: "rows", DataType: infer.Uint8, Shape: []int64{n, 2}, Data: make([]byte, 2*n)},
		{Name: "kept", DataType: infer.Uint8, Shape: []int64{3}, Data: make([]byte, 3)},
		{Name: "flat", DataType: infer.Uint8, Shape: []int64{}, Data: make([]byte, 1)},
	}, func() {}, nil
}

func TestOutputsOfOtherSizesThanDeclaredAreOpened(t *testing.T) {
	t.Parallel()
	spec := func(name string, shape ...int64) infer.TensorSpec {
		return infer.TensorSpec{Name: name, DataType: infer.Uint8, Shape: append([]int64{}, shape...)}
	}
	sig := infer.Signature{
		Inputs:  []infer.TensorSpec{spec("n", 1)},
		Outputs: []infer.TensorSpec{spec("rows", 4, 2), spec("kept", 3), spec("flat", 1)},
	}
	opened, notes, err := openOutputs(t.Context(), sizedByInput{}, sig, []infer.Tensor{{Name: "n", DataType: infer.Uint8, Shape: []int64{1}, Data: []byte{4}}})
	if err != nil || len(notes) != 2 {
		t.Errorf("%q, %v", notes, err)
	}
	want := []infer.TensorSpec{spec("rows", -1, 2), spec("kept", 3), spec("flat")}
	if diff := cmp.Diff(want, opened.Outputs); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(spec("rows", 4, 2), sig.Outputs[0]); diff != "" {
		t.Errorf("the signature given was changed: %s", diff)
	}
}

// declared is the negative of "x" of [n, 4], with another declared shape.
func declared(shape ...any) onnxtest.Model {
	m := onnxtest.Identity(onnxtest.Float, "n", 4)
	m.Graph.Nodes[0].Op = "Neg"
	m.Graph.Outputs[0].Shape = append([]any{}, shape...)
	return m
}

func TestAnOutputIsPublishedAsOneToThreeRowsShowIt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		model onnxtest.Model
		want  []int64
	}{
		"as declared":         {declared("n", 4), []int64{-1, 4}},
		"one row is declared": {declared(1, 4), []int64{-1, 4}},
		"no axis for columns": {declared("n"), []int64{-1, -1}},
		"nothing is declared": {onnxtest.Identity(onnxtest.Float, 1, 4), []int64{1, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done, err := newPublisher(t).Publish(t.Context(), Request{Name: "declared", File: tc.model.Write(t), Measure: 1})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, done.Manifest.Outputs[0].Described()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
