package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// ONNX's own tolerances for its node tests.
const (
	relative = 1e-3
	absolute = 1e-7
)

// closeTo compares an output with the expected one: floats within ONNX's
// tolerances, everything else exactly. The error names what differs.
func closeTo(got, want *infer.Tensor) error {
	return compare(got, want, func(g, w float64) bool {
		return math.Abs(g-w) <= absolute+relative*math.Abs(w)
	})
}

// same compares what two wires carried: bit for bit, but that JSON has one NaN.
func same(got, want *infer.Tensor) error {
	return compare(got, want, func(float64, float64) bool { return false })
}

// alike compares data types and shapes, and no values.
func alike(got, want *infer.Tensor) error {
	if got.DataType != want.DataType || !slices.Equal(got.Shape, want.Shape) {
		return fmt.Errorf("%s: got %s %v, want %s %v", got.Name, got.DataType, got.Shape, want.DataType, want.Shape)
	}
	return nil
}

func compare(got, want *infer.Tensor, near func(got, want float64) bool) error {
	if err := alike(got, want); err != nil {
		return err
	}
	if bytes.Equal(got.Data, want.Data) {
		return nil
	}
	if len(got.Data) != len(want.Data) {
		return fmt.Errorf("%s: got %d bytes, want %d", got.Name, len(got.Data), len(want.Data))
	}
	switch got.DataType {
	case infer.FP16, infer.BF16, infer.FP32, infer.FP64:
	default:
		return fmt.Errorf("%s: got %.100q, want %.100q", got.Name, got.Data, want.Data)
	}
	for i, size := 0, got.DataType.Size(); i < len(got.Data); i += size {
		g, w := float(got.DataType, got.Data[i:]), float(got.DataType, want.Data[i:])
		equal := math.IsNaN(g) && math.IsNaN(w) || math.Float64bits(g) == math.Float64bits(w)
		if !equal && !near(g, w) {
			return fmt.Errorf("%s[%d]: got %v, want %v", got.Name, i/size, g, w)
		}
	}
	return nil
}

// compareAll compares outputs by name. want may have more.
func compareAll(got, want []infer.Tensor, by func(got, want *infer.Tensor) error) error {
	if len(got) == 0 {
		return errors.New("there is no output")
	}
	for i := range got {
		at := slices.IndexFunc(want, func(t infer.Tensor) bool { return t.Name == got[i].Name })
		if at < 0 {
			return fmt.Errorf("%s is not expected", got[i].Name)
		}
		if err := by(&got[i], &want[at]); err != nil {
			return err
		}
	}
	return nil
}
