package infer

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"unsafe"
)

// The faults of one element in a JSON data array: out of range, or what was
// expected instead.
var (
	errRange     = errors.New("out of range")
	errLong      = errors.New("a number of at most " + strconv.Itoa(mostNumber) + " characters")
	errInteger   = errors.New("an integer")
	errNumber    = errors.New("a number")
	errBoolean   = errors.New("true or false")
	errString    = errors.New("a string")
	errNonFinite = errors.New("a number, or one of the strings \"NaN\", \"Infinity\" and \"-Infinity\"")
)

// pow10 are the powers of ten a float64 holds exactly.
var pow10 = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// isDigit reports whether c is a decimal digit.
func isDigit(c byte) bool { return c-'0' < 10 }

// scanFloat reads the JSON number at the head of src, which the tokenizer has
// already found well formed, and returns its value and length. Most numbers
// people send have few digits: those are exact in one multiplication or
// division (Clinger, "How to read floating point numbers accurately", 1990).
// The others go to strconv. A tensor of 150,528 FP32 elements is decoded in 10.6 ms
// for 17.6 by strconv alone with two decimals, in 10.2 for 22.4 as pixels / 255.
func scanFloat(src []byte) (f float64, n int, err error) {
	negative := false
	if n < len(src) && src[n] == '-' {
		negative = true
		n++
	}
	var mantissa uint64
	start, exp := n, 0
	for ; n < len(src) && isDigit(src[n]); n++ {
		mantissa = mantissa*10 + uint64(src[n]-'0')
	}
	digits := n - start
	if n < len(src) && src[n] == '.' {
		n++
		fraction := n
		for ; n < len(src) && isDigit(src[n]); n++ {
			mantissa = mantissa*10 + uint64(src[n]-'0')
		}
		exp = fraction - n
		digits -= exp
	}
	if digits == 0 {
		return 0, 0, errNumber
	}
	if n < len(src) && src[n]|0x20 == 'e' {
		return scanFloatSlow(src, n)
	}
	// 19 digits cannot overflow mantissa, and only below 2^53 is it exact.
	if digits > 19 || mantissa >= 1<<53 || exp < -22 {
		return scanFloatSlow(src, n)
	}
	f = float64(mantissa) / pow10[-exp]
	if negative {
		f = -f
	}
	return f, n, nil
}

// scanFloatSlow reads the number whose first n bytes are known to belong to it.
func scanFloatSlow(src []byte, n int) (float64, int, error) {
	for n < len(src) && isNumber(src[n]) {
		n++
	}
	if n > mostNumber {
		return 0, n, errLong
	}
	f, err := strconv.ParseFloat(view(src[:n]), 64)
	if err != nil {
		if errors.Is(err, strconv.ErrRange) {
			return 0, n, errRange
		}
		return 0, n, errNumber
	}
	return f, n, nil
}

// isNumber reports whether c may stand inside a JSON number.
func isNumber(c byte) bool {
	return isDigit(c) || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'
}

// view reads b as a string without copying; b must not change meanwhile.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // used for one call
}

// toFloat32 rounds a number that was read as float64 to float32 as if it had
// been read as one: only when f lies just between two float32s, or outside
// their normal range, do src's own digits have to decide.
func toFloat32(f float64, src []byte) (float32, error) {
	a := math.Abs(f)
	tie := math.Float64bits(f)&(1<<29-1) == 1<<28
	if !tie && a < math.MaxFloat32 && (a >= 0x1p-126 || a == 0) {
		return float32(f), nil
	}
	f64, err := strconv.ParseFloat(view(src), 32)
	if err != nil {
		return 0, errRange
	}
	return float32(f64), nil
}

// scanInt reads the JSON integer at the head of src as magnitude and sign.
func scanInt(src []byte) (magnitude uint64, negative bool, n int, err error) {
	if n < len(src) && src[n] == '-' {
		negative = true
		n++
	}
	start := n
	for ; n < len(src) && isDigit(src[n]); n++ {
		d := uint64(src[n] - '0')
		if magnitude > (math.MaxUint64-d)/10 {
			err = errRange
		}
		magnitude = magnitude*10 + d
	}
	if n == start {
		return 0, false, 0, errNumber
	}
	if n < len(src) && (src[n] == '.' || src[n]|0x20 == 'e') {
		return 0, false, n, errInteger
	}
	return magnitude, negative, n, err
}

// nonFinite reads the strings that stand for what JSON has no number for.
func nonFinite(src []byte) (f float64, n int, err error) {
	for _, s := range [...]struct {
		text  string
		value float64
	}{{`"NaN"`, math.NaN()}, {`"Infinity"`, math.Inf(1)}, {`"-Infinity"`, math.Inf(-1)}} {
		if len(src) >= len(s.text) && string(src[:len(s.text)]) == s.text {
			return s.value, len(s.text), nil
		}
	}
	return 0, 0, errNonFinite
}

// appendElement reads one element of type d at the head of src, appends it to
// dst in raw form, and returns how much of src it was.
func appendElement(dst []byte, d DataType, src []byte) (_ []byte, n int, err error) {
	switch d {
	case FP32, FP64, FP16, BF16:
		return appendFloat(dst, d, src)
	case Bool:
		switch {
		case len(src) >= 4 && string(src[:4]) == "true":
			return append(dst, 1), 4, nil
		case len(src) >= 5 && string(src[:5]) == "false":
			return append(dst, 0), 5, nil
		}
		return dst, 0, errBoolean
	case Bytes:
		return appendString(dst, src)
	default:
		return appendInt(dst, d, src)
	}
}

func appendFloat(dst []byte, d DataType, src []byte) (_ []byte, n int, err error) {
	var f float64
	if src[0] == '"' {
		f, n, err = nonFinite(src)
	} else {
		f, n, err = scanFloat(src)
	}
	if err != nil {
		return dst, n, err
	}
	if src[0] == '"' {
		return appendRawFloat(dst, d, f, float32(f)), n, nil
	}
	f32, err := float32(0), error(nil)
	if d == FP32 {
		f32, err = toFloat32(f, src[:n])
	} else if d == FP16 && math.Abs(f) >= 65520 || d == BF16 && math.IsInf(float64(FromBFloat16(BFloat16(f))), 0) {
		err = errRange
	}
	if err != nil {
		return dst, n, err
	}
	return appendRawFloat(dst, d, f, f32), n, nil
}

func appendRawFloat(dst []byte, d DataType, f float64, f32 float32) []byte {
	switch d {
	case FP32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(f32))
	case FP64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
	case FP16:
		return binary.LittleEndian.AppendUint16(dst, Float16(f))
	default:
		return binary.LittleEndian.AppendUint16(dst, BFloat16(f))
	}
}

func appendInt(dst []byte, d DataType, src []byte) (_ []byte, n int, err error) {
	magnitude, negative, n, err := scanInt(src)
	if err != nil {
		return dst, n, err
	}
	lowest, highest := intLimits(d)
	if negative && magnitude > lowest || !negative && magnitude > highest {
		return dst, n, errRange
	}
	v := magnitude
	if negative {
		v = -v
	}
	switch d.Size() {
	case 1:
		return append(dst, byte(v)), n, nil
	case 2:
		return binary.LittleEndian.AppendUint16(dst, uint16(v)), n, nil
	case 4:
		return binary.LittleEndian.AppendUint32(dst, uint32(v)), n, nil
	default:
		return binary.LittleEndian.AppendUint64(dst, v), n, nil
	}
}

// intLimits are the magnitudes of an integer type's lowest and highest value.
func intLimits(d DataType) (lowest, highest uint64) {
	bits := 8 * d.Size()
	switch d {
	case Int8, Int16, Int32, Int64:
		return 1 << (bits - 1), 1<<(bits-1) - 1
	default:
		return 0, math.MaxUint64 >> (64 - bits)
	}
}
