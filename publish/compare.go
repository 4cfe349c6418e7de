package publish

import (
	"encoding/binary"
	"math"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// tolerance is how far an element may lie from another, by what is usual of an
// element at its place (scale): kernels add up in another order for another
// number of rows.
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

// floats reads the elements of a tensor of numbers.
func floats(t *infer.Tensor) []float64 {
	width := t.DataType.Size()
	values := make([]float64, len(t.Data)/width)
	for i := range values {
		values[i] = infer.Number(t.DataType, t.Data[i*width:])
	}
	return values
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
