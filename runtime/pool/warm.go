package pool

import (
	"context"
	"fmt"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// warmUp runs a model once on zeros of the shape it was published with, so that
// the first caller pays for no lazy initialisation, and a model that loads but
// cannot run never becomes ready.
func warmUp(ctx context.Context, l *Loaded) error {
	var inputs []infer.Tensor
	for i := range l.Manifest.Inputs {
		spec := &l.Manifest.Inputs[i]
		if spec.Optional {
			continue
		}
		inputs = append(inputs, zeros(spec))
	}
	outputs, release, err := l.Session.Run(ctx, inputs, names(l.Manifest.Outputs))
	if err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	defer release()
	if err := checkOutputs(&l.Manifest.Signature, outputs); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	return nil
}

// zeros is a tensor of the spec's example shape; BYTES elements are empty.
func zeros(spec *infer.TensorSpec) infer.Tensor {
	t := infer.Tensor{Name: spec.Name, DataType: spec.DataType, Shape: spec.Example}
	if t.Shape == nil {
		t.Shape = make([]int64, len(spec.Shape))
		for i, d := range spec.Shape {
			t.Shape[i] = max(d, 1)
		}
	}
	size := spec.DataType.Size()
	if spec.DataType == infer.Bytes {
		size = 4 // an empty element is its length alone
	}
	t.Data = make([]byte, int(t.Elements())*size)
	return t
}

func names(specs []infer.TensorSpec) []string {
	out := make([]string, len(specs))
	for i := range specs {
		out[i] = specs[i].Name
	}
	return out
}
