package publish

import (
	"context"
	"fmt"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// openOutputs runs the model with the inputs it was proven with and with those
// that a server will warm it up with, and opens the axes of outputs that come
// out in other sizes than the file declares: ONNX Runtime lets a model break its
// word where a shape depends on values, and a server does not. notes say which.
func openOutputs(ctx context.Context, model runner, sig infer.Signature, proven []infer.Tensor) (opened infer.Signature, notes []string, err error) {
	opened = sig
	opened.Outputs = slices.Clone(sig.Outputs)
	for _, inputs := range [][]infer.Tensor{proven, sig.ExampleInputs()} {
		outputs, release, err := model.Run(ctx, inputs, nil)
		if err != nil {
			return sig, nil, fmt.Errorf("it ran once, and not again with the same inputs: %w", err)
		}
		for i := range outputs {
			openOutput(opened.Outputs, &outputs[i])
		}
		release()
	}
	for i := range sig.Outputs {
		if was, is := sig.Outputs[i].Shape, opened.Outputs[i].Shape; !slices.Equal(was, is) {
			notes = append(notes, fmt.Sprintf("output %q is declared with the shape %v and comes out otherwise: it is published as %v (-1 is any size)",
				sig.Outputs[i].Name, was, is))
		}
	}
	return opened, notes, nil
}

// openOutput opens the axes that an output shows to be open. One of another
// number of axes has no shape that holds.
func openOutput(specs []infer.TensorSpec, got *infer.Tensor) {
	i := slices.IndexFunc(specs, func(s infer.TensorSpec) bool { return s.Name == got.Name })
	if i < 0 || specs[i].Shape == nil {
		return
	}
	if len(specs[i].Shape) != len(got.Shape) {
		specs[i].Shape = nil
		return
	}
	specs[i].Shape = slices.Clone(specs[i].Shape)
	for d, size := range got.Shape {
		if specs[i].Shape[d] != size {
			specs[i].Shape[d] = infer.Dynamic
		}
	}
}
