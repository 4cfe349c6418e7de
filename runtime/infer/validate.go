package infer

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/problem"
)

// mostFields bounds how many faults one error has.
const mostFields = 16

// Validate checks a request against the signature: that the inputs are there
// once each and no others, their data types, shapes, sizes, elements, value
// ranges, and that the outputs asked for exist. The error is a problem that
// names every field at fault, up to a bound.
func (s *Signature) Validate(req *Request) error {
	var faults faults
	for i := range req.Inputs {
		s.validateInput(&faults, req.Inputs, i)
	}
	for i := range s.Inputs {
		if spec := &s.Inputs[i]; !spec.Optional && !has(req.Inputs, spec.Name) {
			faults.add("inputs", "expected an input %s %s %s; it is missing", quote(spec.Name), spec.DataType, shapeText(spec.Shape))
		}
	}
	for i := range req.Outputs {
		name, path := req.Outputs[i].Name, "outputs["+strconv.Itoa(i)+"].name"
		if SpecOf(s.Outputs, name) == nil {
			faults.add(path, "expected one of %s; got %s", names(s.Outputs), quote(name))
			continue
		}
		for j := range i {
			if req.Outputs[j].Name == name {
				faults.add(path, "%s is asked for twice", quote(name))
				break
			}
		}
	}
	return faults.err()
}

// validateInput checks one input.
func (s *Signature) validateInput(faults *faults, inputs []Tensor, i int) {
	t, path := &inputs[i], "inputs["+strconv.Itoa(i)+"]"
	spec := SpecOf(s.Inputs, t.Name)
	if spec == nil {
		faults.add(path+".name", "expected one of %s; got %s", names(s.Inputs), quote(t.Name))
		return
	}
	if has(inputs[:i], t.Name) {
		faults.add(path+".name", "%s is there twice", quote(t.Name))
		return
	}
	if t.DataType != spec.DataType {
		faults.add(path+".datatype", "expected %s for %s; got %s", spec.DataType, quote(t.Name), quote(string(t.DataType)))
		return
	}
	n := t.Elements()
	if !matches(spec.Shape, t.Shape) || n < 0 {
		faults.add(path+".shape", "expected %s for %s; got %s", shapeText(spec.Shape), quote(t.Name), shapeText(t.Shape))
		return
	}
	if axis := spec.emptyAxis(t.Shape); axis >= 0 {
		faults.add(path+".shape["+strconv.Itoa(axis)+"]", "expected at least 1 for %s, which was not published with an empty axis there; got 0", quote(t.Name))
		return
	}
	if axis, err := spec.outOfBounds(t.Shape); err != "" {
		faults.add(path+".shape["+strconv.Itoa(axis)+"]", "%s", err)
		return
	}
	if s.MaxElements > 0 && n > s.MaxElements {
		faults.add(path+".shape", "expected at most %s; got %d", count(s.MaxElements, "element"), n)
		return
	}
	if err := checkData(t, n); err != "" {
		faults.add(path+".data", "%s", err)
		return
	}
	if spec.Min != nil || spec.Max != nil {
		checkRange(faults, path+".data", t, spec)
	}
}

// matches reports whether a shape fits a signature's; nil is one that the model
// does not declare.
func matches(spec []Dim, shape []int64) bool {
	if spec == nil {
		return true
	}
	if len(spec) != len(shape) {
		return false
	}
	for i, want := range spec {
		if shape[i] < 0 || want != Dynamic && shape[i] != want {
			return false
		}
	}
	return true
}

// emptyAxis finds the first axis of a shape that has size 0 where the model was
// not run so when it was published; -1 is none. Operators crash on empty axes,
// or leave unwritten what they answer.
func (t *TensorSpec) emptyAxis(shape []int64) int {
	for i, n := range shape {
		declared := i < len(t.Shape) && t.Shape[i] == 0
		ran := len(t.Example) == len(shape) && t.Example[i] == 0
		if n == 0 && !declared && !ran {
			return i
		}
	}
	return -1
}

// outOfBounds finds the first axis of a shape that MinShape or MaxShape
// refuses, and the reason; "" is none.
func (t *TensorSpec) outOfBounds(shape []int64) (axis int, why string) {
	for i, n := range shape {
		if i < len(t.MinShape) && t.MinShape[i] != Dynamic && n < t.MinShape[i] {
			return i, fmt.Sprintf("expected at least %d for %s; got %d", t.MinShape[i], quote(t.Name), n)
		}
		if i < len(t.MaxShape) && t.MaxShape[i] != Dynamic && n > t.MaxShape[i] {
			return i, fmt.Sprintf("expected at most %d for %s; got %d", t.MaxShape[i], quote(t.Name), n)
		}
	}
	return 0, ""
}

// checkData checks that data is n whole elements.
func checkData(t *Tensor, n int64) string {
	if size := int64(t.DataType.Size()); size > 0 {
		if have := int64(len(t.Data)); have%size != 0 || have/size != n {
			return fmt.Sprintf("expected %s of %s for the shape %v; got %s",
				count(n, "element"), count(size, "byte"), t.Shape, count(have, "byte"))
		}
		if t.DataType == Bool {
			return checkBools(t.Data)
		}
		return ""
	}
	var have int64
	for rest := t.Data; len(rest) > 0; have++ {
		var ok bool
		if _, rest, ok = cutBytes(rest); !ok {
			return fmt.Sprintf("BYTES element %d is cut short: each is a 4-byte little-endian length, then as many bytes", have)
		}
	}
	if have != n {
		return fmt.Sprintf("expected %s for the shape %v; got %d", count(n, "element"), t.Shape, have)
	}
	return ""
}

// checkBools refuses bytes that are neither of C++'s bools: what a kernel does
// with them is undefined.
func checkBools(data []byte) string {
	for i, b := range data {
		if b > 1 {
			return fmt.Sprintf("BOOL element %d is %d; expected 0 or 1", i, b)
		}
	}
	return ""
}

// checkRange checks each element of a number type against the signature's
// bounds. NaN is outside any.
func checkRange(faults *faults, path string, t *Tensor, spec *TensorSpec) {
	low, high := math.Inf(-1), math.Inf(1)
	if spec.Min != nil {
		low = *spec.Min
	}
	if spec.Max != nil {
		high = *spec.Max
	}
	size := t.DataType.Size()
	if size == 0 {
		return
	}
	for i := 0; i*size < len(t.Data); i++ {
		v := Number(t.DataType, t.Data[i*size:])
		if !(v >= low && v <= high) {
			faults.add(path+"["+strconv.Itoa(i)+"]", "expected %s; got %v", rangeText(spec), v)
			return
		}
	}
}

// Number reads one element of a type of numbers as a float64; 64-bit integers beyond 2^53 are
// rounded to one.
func Number(d DataType, data []byte) float64 {
	le := binary.LittleEndian
	switch d {
	case Bool, Uint8:
		return float64(data[0])
	case Uint16:
		return float64(le.Uint16(data))
	case Uint32:
		return float64(le.Uint32(data))
	case Uint64:
		return float64(le.Uint64(data))
	case Int8:
		return float64(int8(data[0]))
	case Int16:
		return float64(int16(le.Uint16(data)))
	case Int32:
		return float64(int32(le.Uint32(data)))
	case Int64:
		return float64(int64(le.Uint64(data)))
	case FP16:
		return float64(FromFloat16(le.Uint16(data)))
	case BF16:
		return float64(FromBFloat16(le.Uint16(data)))
	case FP32:
		return float64(math.Float32frombits(le.Uint32(data)))
	default:
		return math.Float64frombits(le.Uint64(data))
	}
}

func rangeText(spec *TensorSpec) string {
	switch {
	case spec.Min == nil:
		return fmt.Sprintf("at most %v", *spec.Max)
	case spec.Max == nil:
		return fmt.Sprintf("at least %v", *spec.Min)
	default:
		return fmt.Sprintf("%v to %v", *spec.Min, *spec.Max)
	}
}

// shapeText writes a shape as people do: [N,3,48,W] with -1 for what is free.
func shapeText(shape []int64) string {
	parts := make([]string, len(shape))
	for i, n := range shape {
		parts[i] = strconv.FormatInt(n, 10)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func has(tensors []Tensor, name string) bool {
	for i := range tensors {
		if tensors[i].Name == name {
			return true
		}
	}
	return false
}

func names(specs []TensorSpec) string {
	const most = 8
	parts := make([]string, 0, most+1)
	for i := range specs {
		if i == most {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, strconv.Quote(specs[i].Name))
	}
	return strings.Join(parts, ", ")
}

// faults gathers what is wrong with a request.
type faults struct{ fields []problem.Field }

func (f *faults) add(path, format string, args ...any) {
	if len(f.fields) < mostFields {
		f.fields = append(f.fields, problem.Field{Field: path, Detail: fmt.Sprintf(format, args...)})
	}
}

func (f *faults) err() error {
	if len(f.fields) == 0 {
		return nil
	}
	e := problem.Invalid(f.fields[0].Field, "%s", f.fields[0].Detail)
	e.Fields = f.fields
	if more := len(f.fields) - 1; more > 0 {
		e.Detail += fmt.Sprintf(" (and %d more)", more)
	}
	return e
}
