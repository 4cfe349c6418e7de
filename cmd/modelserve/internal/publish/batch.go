package publish

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// batchAxis is the only axis along which requests are joined: the first, as
// everywhere in the protocol's ecosystem.
const batchAxis = 0

// findBatchAxis proves that requests may be joined along the first axis, and
// returns the signature with what it found. A model that names the axis
// dynamic may still mix rows (a recurrent one over time does), so it is run:
// two rows alone, and both together, must give the same answers, and so must
// one beside rows that somebody may send to harm others. why says what spoke
// against a batch axis.
//
// Inputs whose first axis is not dynamic are unbatched, and so are outputs
// that no row changes.
func findBatchAxis(ctx context.Context, model runner, sig infer.Signature) (found infer.Signature, why string, err error) {
	shapes := rowShapes(&sig)
	if shapes == nil {
		return sig, "no input has a dynamic first axis", nil
	}
	var rows [3][]infer.Tensor
	for i := range sig.Inputs {
		if sig.Inputs[i].Optional {
			continue
		}
		one, two, both, err := rowPair(&sig.Inputs[i], shapes[i])
		if err != nil {
			return sig, "", err
		}
		rows[0], rows[1], rows[2] = append(rows[0], one), append(rows[1], two), append(rows[2], both)
	}
	var answers [3][]infer.Tensor
	for i := range rows {
		out, release, err := model.Run(ctx, rows[i], nil)
		if err != nil {
			if ctx.Err() != nil {
				return sig, "", ctx.Err()
			}
			return sig, fmt.Sprintf("it does not run with %d rows: %v", []int{1, 1, 2}[i], err), nil
		}
		defer release()
		answers[i] = out
	}
	found, why = judge(sig, answers)
	if why == "" {
		why, err = withstands(ctx, model, &found, rows[0], answers[0])
	}
	if why != "" || err != nil {
		return sig, why, err
	}
	return found, "", nil
}

// rowShapes are the shapes of one row; nil when no input could be batched.
func rowShapes(sig *infer.Signature) [][]int64 {
	shapes := make([][]int64, len(sig.Inputs))
	batched := false
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		shapes[i] = slices.Clone(spec.Shape)
		if spec.Example != nil {
			shapes[i] = slices.Clone(spec.Example)
		}
		if isBatched(spec) {
			shapes[i][batchAxis] = 1
			batched = true
		}
	}
	if !batched {
		return nil
	}
	return shapes
}

func isBatched(spec *infer.TensorSpec) bool {
	return !spec.Optional && len(spec.Shape) > batchAxis && spec.Shape[batchAxis] == infer.Dynamic
}

// rowPair makes two different rows of an input, and both joined. An unbatched
// input is the same in all three.
func rowPair(spec *infer.TensorSpec, shape []int64) (one, two, both infer.Tensor, err error) {
	one, err = row(spec, shape, 1)
	if err != nil || !isBatched(spec) {
		return one, one, one, err
	}
	two = one
	two.Data = bytes.Clone(one.Data)
	// The first half again in place of the second: other values, as valid.
	if n := one.Elements(); n > 1 && spec.DataType != infer.Bytes {
		half := int(n/2) * spec.DataType.Size()
		copy(two.Data[len(two.Data)-half:], one.Data[:half])
	}
	if width := spec.DataType.Size(); spec.DataType == infer.Int32 || spec.DataType == infer.Int64 {
		for i := width; i < len(two.Data); i += 2 * width {
			two.Data[i] = 0
		}
	}
	both = one
	both.Shape = slices.Clone(shape)
	both.Shape[batchAxis] = 2
	both.Data = slices.Concat(one.Data, two.Data)
	return one, two, both, nil
}

// row is an input of a shape: the one that the model was proven with where its
// values matter and the shape is that one's, else a generated one.
func row(spec *infer.TensorSpec, shape []int64, fill byte) (infer.Tensor, error) {
	if spec.ExampleData != nil && slices.Equal(shape, spec.ExampleShape()) {
		return infer.Tensor{Name: spec.Name, DataType: spec.DataType, Shape: shape, Data: spec.ExampleData}, nil
	}
	return generate(spec, shape, fill)
}

// judge compares the answers to one row, another, and both.
func judge(sig infer.Signature, answers [3][]infer.Tensor) (found infer.Signature, why string) {
	one, two, both := answers[0], answers[1], answers[2]
	outputs := slices.Clone(sig.Outputs)
	batched := false
	for i := range outputs {
		switch a, b, ab := &one[i], &two[i], &both[i]; {
		case isJoined(a, b, ab):
			batched = true
		case alike(a, b) && alike(a, ab):
			outputs[i].Unbatched = true
		default:
			return sig, fmt.Sprintf("output %q of two rows together is not that of each alone", outputs[i].Name)
		}
	}
	if !batched {
		return sig, "no output has a row for each row of the inputs"
	}
	axis := batchAxis
	sig.BatchAxis, sig.Outputs = &axis, outputs
	sig.Inputs = slices.Clone(sig.Inputs)
	for i := range sig.Inputs {
		sig.Inputs[i].Unbatched = !isBatched(&sig.Inputs[i])
	}
	return sig, ""
}

// isJoined reports whether ab is a followed by b along the batch axis.
func isJoined(a, b, ab *infer.Tensor) bool {
	if len(a.Shape) == 0 || a.Shape[batchAxis] != 1 || !slices.Equal(a.Shape, b.Shape) ||
		len(ab.Shape) != len(a.Shape) || ab.Shape[batchAxis] != 2 || !slices.Equal(ab.Shape[1:], a.Shape[1:]) {
		return false
	}
	joined := *a
	joined.Shape, joined.Data = ab.Shape, slices.Concat(a.Data, b.Data)
	return alike(&joined, ab)
}

// tolerance is how far an element may lie from another, by the largest of the
// tensor: kernels add up in another order for another number of rows.
func tolerance(d infer.DataType) float64 {
	switch d {
	case infer.FP16, infer.BF16:
		return 1e-2
	case infer.FP32:
		return 1e-4
	case infer.FP64:
		return 1e-9
	default:
		return 0
	}
}

// alike reports whether two tensors hold the same values.
func alike(a, b *infer.Tensor) bool {
	if a.DataType != b.DataType || !slices.Equal(a.Shape, b.Shape) || len(a.Data) != len(b.Data) {
		return false
	}
	if bytes.Equal(a.Data, b.Data) {
		return true
	}
	if tolerance(a.DataType) == 0 {
		return false
	}
	x, y := floats(a), floats(b)
	var largest float64
	for _, v := range x {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			largest = max(largest, math.Abs(v))
		}
	}
	for i := range x {
		same := math.IsNaN(x[i]) && math.IsNaN(y[i]) || x[i] == y[i]
		if !same && !(math.Abs(x[i]-y[i]) <= tolerance(a.DataType)*largest) {
			return false
		}
	}
	return true
}

// floats reads a floating-point tensor's elements.
func floats(t *infer.Tensor) []float64 {
	width := t.DataType.Size()
	values := make([]float64, len(t.Data)/width)
	for i := range values {
		values[i] = float(t.DataType, t.Data[i*width:])
	}
	return values
}

func float(d infer.DataType, b []byte) float64 {
	switch d {
	case infer.FP16:
		return float64(infer.FromFloat16(binary.LittleEndian.Uint16(b)))
	case infer.BF16:
		return float64(infer.FromBFloat16(binary.LittleEndian.Uint16(b)))
	case infer.FP32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	default:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
}
