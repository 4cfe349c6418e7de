package infer

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

// Element is a Go type with the memory layout of a V2 data type. FP16 and BF16
// have none in Go: they are uint16 bits, see Float16 and BFloat16.
type Element interface {
	bool | uint8 | uint16 | uint32 | uint64 | int8 | int16 | int32 | int64 | float32 | float64
}

// typeOf is the data type whose elements a T holds.
func typeOf[T Element]() DataType {
	var zero T
	switch any(zero).(type) {
	case bool:
		return Bool
	case uint8:
		return Uint8
	case uint16:
		return Uint16
	case uint32:
		return Uint32
	case uint64:
		return Uint64
	case int8:
		return Int8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case float32:
		return FP32
	default:
		return FP64
	}
}

// NewTensor makes a tensor over values, sharing their memory. Its data type
// follows from T. The shape is not checked against the number of values;
// Signature.Validate does that.
func NewTensor[T Element](name string, shape []int64, values []T) Tensor {
	var zero T
	var data []byte
	if len(values) > 0 {
		// A T has the layout of its data type on every little-endian machine, and
		// we build for no other.
		data = unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*int(unsafe.Sizeof(zero))) //nolint:gosec // see above
	}
	return Tensor{Name: name, DataType: typeOf[T](), Shape: shape, Data: data}
}

// NewBytes makes a BYTES tensor of the elements given.
func NewBytes[S ~string | ~[]byte](name string, shape []int64, elements ...S) Tensor {
	size := 0
	for _, e := range elements {
		size += 4 + len(e)
	}
	data := make([]byte, 0, size)
	for _, e := range elements {
		data = AppendBytes(data, e)
	}
	return Tensor{Name: name, DataType: Bytes, Shape: shape, Data: data}
}

// Values views a tensor's elements in place: they are the tensor's own memory,
// and not valid longer. uint16 also views FP16 and BF16 as bits. It fails when
// T is not the tensor's type, or Data is not whole elements or not aligned.
func Values[T Element](t *Tensor) ([]T, error) {
	want := typeOf[T]()
	half := want == Uint16 && (t.DataType == FP16 || t.DataType == BF16)
	if t.DataType != want && !half {
		return nil, fmt.Errorf("tensor %s is %s, not %s", t.Name, t.DataType, want)
	}
	size := want.Size()
	if len(t.Data)%size != 0 {
		return nil, fmt.Errorf("tensor %s has %d bytes, not a multiple of %d", t.Name, len(t.Data), size)
	}
	if len(t.Data) == 0 {
		return nil, nil
	}
	if !aligned(t.Data, size) {
		return nil, fmt.Errorf("tensor %s is not aligned to %d bytes", t.Name, size)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(t.Data))), len(t.Data)/size), nil //nolint:gosec // aligned and whole, as checked
}

// Strings splits a BYTES tensor into its elements, which share its memory.
func Strings(t *Tensor) ([][]byte, error) {
	if t.DataType != Bytes {
		return nil, fmt.Errorf("tensor %s is %s, not BYTES", t.Name, t.DataType)
	}
	var out [][]byte
	for rest := t.Data; len(rest) > 0; {
		element, after, ok := cutBytes(rest)
		if !ok {
			return nil, fmt.Errorf("tensor %s: element %d is cut short", t.Name, len(out))
		}
		out = append(out, element)
		rest = after
	}
	return out, nil
}

// AppendBytes appends one BYTES element: its length as a little-endian uint32,
// then itself.
func AppendBytes[S ~string | ~[]byte](dst []byte, element S) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(element)))
	return append(dst, element...)
}

// cutBytes takes the first BYTES element off data.
func cutBytes(data []byte) (element, rest []byte, ok bool) {
	if len(data) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(data))
	if n > uint64(len(data)-4) {
		return nil, nil, false
	}
	return data[4 : 4+n], data[4+n:], true
}

// aligned reports whether data begins at a multiple of size.
func aligned(data []byte, size int) bool {
	return size <= 1 || len(data) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(data)))%uintptr(size) == 0 //nolint:gosec // an address is only looked at
}

// Float16 rounds f to IEEE 754 binary16 bits, to nearest even. What is too
// large becomes an infinity.
func Float16(f float64) uint16 {
	bits := math.Float64bits(f)
	sign := uint16(bits >> 48 & 0x8000)
	switch a := math.Abs(f); {
	case f != f:
		return sign | 0x7e00
	case a >= 65520: // halfway from the largest, 65504, to the next
		return sign | 0x7c00
	case a < 0x1p-14: // subnormal: a multiple of 2^-24
		return sign | uint16(math.RoundToEven(a*0x1p24))
	default:
		exp := int(bits>>52&0x7ff) - 1023
		mant := math.RoundToEven(a * math.Ldexp(1, 10-exp)) // [1024, 2048]; 2048 carries into the exponent
		return sign | (uint16(exp+14)<<10 + uint16(mant))
	}
}

// FromFloat16 widens IEEE 754 binary16 bits, exactly.
func FromFloat16(h uint16) float32 {
	exp, mant := int(h>>10&0x1f), float64(h&0x3ff)
	var f float64
	switch exp {
	case 0:
		f = mant * 0x1p-24
	case 0x1f:
		f = math.Inf(1)
		if mant != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(mant+1024, exp-25)
	}
	if h&0x8000 != 0 {
		f = -f
	}
	return float32(f)
}

// BFloat16 rounds f to bfloat16 bits, to nearest even. What is too large
// becomes an infinity.
func BFloat16(f float64) uint16 {
	f32 := float32(f)
	bits := math.Float32bits(f32)
	if f32 != f32 {
		return uint16(bits>>16) | 0x40
	}
	// Rounding twice goes wrong only when the first lands on a tie of the second
	// that f was not on: then f's own side of the tie decides.
	if bits&0xffff == 0x8000 && float64(f32) != f {
		if math.Abs(f) > math.Abs(float64(f32)) {
			return uint16(bits>>16) + 1
		}
		return uint16(bits >> 16)
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// FromBFloat16 widens bfloat16 bits, exactly.
func FromBFloat16(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }
