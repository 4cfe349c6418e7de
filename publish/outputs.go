package publish

import (
	"context"
	"fmt"
	"slices"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// mostShown is how many rows the model is run with to see its outputs' shapes.
const mostShown = 3

// openOutputs runs the model with the inputs it was proven with, with those that
// a server will warm it up with, and with one to three rows, and opens the axes
// of outputs that come out in other sizes than the file declares: ONNX Runtime
// lets a model return other shapes than it declares, exporters declare those of
// one example, and a server holds every answer to what is published. notes list
// them.
func openOutputs(ctx context.Context, model runner, sig infer.Signature, proven []infer.Tensor) (opened infer.Signature, notes []string, err error) {
	shown := make([][][]int64, len(sig.Outputs))
	look := func(inputs []infer.Tensor) error {
		outputs, release, err := model.Run(ctx, memory.Unbounded{}, inputs, nil)
		if err != nil {
			return err
		}
		defer release()
		for i := range outputs {
			at := slices.IndexFunc(sig.Outputs, func(s infer.TensorSpec) bool { return s.Name == outputs[i].Name })
			if at >= 0 {
				shown[at] = append(shown[at], slices.Clone(outputs[i].Shape))
			}
		}
		return nil
	}
	for _, inputs := range [][]infer.Tensor{proven, sig.ExampleInputs()} {
		if err := look(inputs); err != nil {
			return sig, nil, fmt.Errorf("it ran once, and not again with the same inputs: %w", err)
		}
	}
	for _, inputs := range severalRows(&sig) {
		// That it does not run so shows nothing of its outputs.
		if err := look(inputs); err != nil && ctx.Err() != nil {
			return sig, nil, context.Cause(ctx)
		}
	}
	opened = sig
	opened.Outputs = slices.Clone(sig.Outputs)
	for i := range opened.Outputs {
		was := sig.Outputs[i].Shape
		is := openShape(was, shown[i])
		if is == nil && sameRank(shown[i]) {
			opened.Outputs[i].Example = shown[i][0]
		}
		if opened.Outputs[i].Shape = is; !slices.Equal(was, is) || (was == nil) != (is == nil) {
			notes = append(notes, fmt.Sprintf("output %q is declared with the shape %v and comes out otherwise: it is published %s",
				sig.Outputs[i].Name, was, shapeWords(is)))
		}
	}
	return opened, notes, nil
}

// severalRows are inputs of one row, two, three, where there are any to choose.
func severalRows(sig *infer.Signature) (all [][]infer.Tensor) {
	asked, ok := withRows(*sig)
	if !ok {
		return nil
	}
	for n := 1; n <= mostShown; n++ {
		for fill := range byte(2) {
			if inputs, err := batchInputs(&asked, n, fill); err == nil {
				all = append(all, inputs)
			}
		}
	}
	return all
}

func sameRank(shapes [][]int64) bool {
	return len(shapes) > 0 && !slices.ContainsFunc(shapes, func(s []int64) bool { return len(s) != len(shapes[0]) })
}

// openShape is a declared shape as far as it holds of those that were shown. One
// of another number of axes gives way to theirs, of any size: nil, of any number
// even, where they differ in that.
func openShape(declared []infer.Dim, shown [][]int64) []infer.Dim {
	if declared == nil {
		return nil
	}
	open := slices.Clone(declared)
	switch {
	case !sameRank(shown):
		return nil
	case len(shown[0]) != len(open):
		return slices.Repeat([]infer.Dim{infer.Dynamic}, len(shown[0]))
	}
	for _, got := range shown {
		for d, size := range got {
			if open[d] != size {
				open[d] = infer.Dynamic
			}
		}
	}
	return open
}

func shapeWords(shape []infer.Dim) string {
	if shape == nil {
		return "with any shape"
	}
	return fmt.Sprintf("as %v (-1 is any size)", shape)
}
