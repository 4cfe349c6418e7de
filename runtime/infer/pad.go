package infer

import (
	"encoding/binary"
	"math"
)

// AppendNumber appends v as one element of a number type. ok is false, and
// nothing is appended, where the type has no such number: a fraction for an
// integer, what lies outside its range, NaN and infinities for all.
// Floating-point types round it.
func AppendNumber(dst []byte, d DataType, v float64) (_ []byte, ok bool) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return dst, false
	}
	le := binary.LittleEndian
	switch d {
	case FP16:
		h := Float16(v)
		if h&0x7c00 == 0x7c00 {
			return dst, false
		}
		return le.AppendUint16(dst, h), true
	case BF16:
		b := BFloat16(v)
		if b&0x7f80 == 0x7f80 {
			return dst, false
		}
		return le.AppendUint16(dst, b), true
	case FP32:
		if math.IsInf(float64(float32(v)), 0) {
			return dst, false
		}
		return le.AppendUint32(dst, math.Float32bits(float32(v))), true
	case FP64:
		return le.AppendUint64(dst, math.Float64bits(v)), true
	default:
		return appendWhole(dst, d, v)
	}
}

// appendWhole is AppendNumber for integers and booleans.
func appendWhole(dst []byte, d DataType, v float64) (_ []byte, ok bool) {
	low, high, size := wholeRange(d)
	if size == 0 || v != math.Trunc(v) || v < low || v > high {
		return dst, false
	}
	bits := uint64(int64(v))
	if v > math.MaxInt64/2 { // only UINT64's and INT64's largest
		bits = uint64(v)
	}
	for range size {
		dst = append(dst, byte(bits))
		bits >>= 8
	}
	return dst, true
}

// wholeRange is what an integer type holds, as float64s do: the largest of 64
// bits is rounded down to one that fits.
func wholeRange(d DataType) (low, high float64, size int) {
	switch d {
	case Bool:
		return 0, 1, 1
	case Uint8, Uint16, Uint32:
		return 0, math.Ldexp(1, 8*d.Size()) - 1, d.Size()
	case Uint64:
		return 0, math.Nextafter(0x1p64, 0), 8
	case Int8, Int16, Int32:
		half := math.Ldexp(1, 8*d.Size()-1)
		return -half, half - 1, d.Size()
	case Int64:
		return -0x1p63, math.Nextafter(0x1p63, 0), 8
	default:
		return 0, 0, 0
	}
}
