package publish

import (
	"fmt"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Bounds are what requests may ask of a model, beyond what its file declares. A
// body within its own bound can make a network take gigabytes.
type Bounds struct {
	MaxElements int64 // of each input; 0 is no bound

	// MinShapes and MaxShapes are the smallest and largest size of each axis,
	// by input; -1 is no bound.
	MinShapes, MaxShapes map[string][]int64
}

// Apply returns the signature with the bounds. The shapes that the model was
// run with must lie within them: it is warmed up with those.
func (b Bounds) Apply(sig infer.Signature) (infer.Signature, error) {
	sig.MaxElements = b.MaxElements
	sig.Inputs = slices.Clone(sig.Inputs)
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		spec.MinShape, spec.MaxShape = b.MinShapes[spec.Name], b.MaxShapes[spec.Name]
		shape := spec.Example
		if shape == nil {
			shape = spec.Shape
		}
		example := infer.Tensor{Shape: shape}
		if n := example.Elements(); b.MaxElements > 0 && n > b.MaxElements {
			return sig, fmt.Errorf("--max-elements: input %q was run with %d elements, of shape %v; allow as many, or name a smaller shape: --shape INPUT=1,3,224,224",
				spec.Name, n, shape)
		}
	}
	return sig, nil
}

// heldBy reports whether a signature has these bounds. None are in any.
func (b Bounds) heldBy(sig *infer.Signature) bool {
	if b.MaxElements != 0 && b.MaxElements != sig.MaxElements {
		return false
	}
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		if low := b.MinShapes[spec.Name]; low != nil && !slices.Equal(low, spec.MinShape) {
			return false
		}
		if high := b.MaxShapes[spec.Name]; high != nil && !slices.Equal(high, spec.MaxShape) {
			return false
		}
	}
	return true
}
