package publish

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

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

// alike reports whether two tensors hold the same values, but for the order in
// which kernels add up.
func alike(a, b *infer.Tensor) bool { return alikeWithin(a, b, tolerance(a.DataType)) }

// alikeWithin is alike with a tolerance, by the largest of the first tensor.
func alikeWithin(a, b *infer.Tensor, within float64) bool {
	if a.DataType != b.DataType || !slices.Equal(a.Shape, b.Shape) || len(a.Data) != len(b.Data) {
		return false
	}
	if bytes.Equal(a.Data, b.Data) {
		return true
	}
	if within == 0 {
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
		if !same && !(math.Abs(x[i]-y[i]) <= within*largest) {
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

// putFloat writes a floating-point element.
func putFloat(element []byte, d infer.DataType, v float64) {
	switch d {
	case infer.FP16:
		binary.LittleEndian.PutUint16(element, infer.Float16(v))
	case infer.BF16:
		binary.LittleEndian.PutUint16(element, infer.BFloat16(v))
	case infer.FP32:
		binary.LittleEndian.PutUint32(element, math.Float32bits(float32(v)))
	default:
		binary.LittleEndian.PutUint64(element, math.Float64bits(v))
	}
}
