package batch

import (
	"bytes"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// provenFor reports whether requests like this one were seen to be answered alike
// when they are padded: no input is longer than that was proven for, those whose
// values decide what is made of the others have values that it was proven with,
// and no row holds only what pads, unless that was tried (infer.Ragged.Blank).
func provenFor(sig *infer.Signature, inputs []infer.Tensor) bool {
	if !slices.ContainsFunc(sig.Inputs, func(s infer.TensorSpec) bool { return s.Ragged != nil }) {
		return true
	}
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		t := find(inputs, spec.Name)
		switch {
		case t == nil:
		case spec.Ragged != nil:
			if spec.Ragged.Axis < len(t.Shape) && (t.Shape[spec.Ragged.Axis] > spec.Ragged.Max || !spec.Ragged.Blank && onlyPad(spec, t)) {
				return false
			}
		case spec.Unbatched || spec.DataType == infer.Bytes:
			if !provenWith(spec, t) {
				return false
			}
		}
	}
	return true
}

// provenWith reports whether padding was proven with what an input holds. Values
// of an input without rows are of its example's shape.
func provenWith(spec *infer.TensorSpec, t *infer.Tensor) bool {
	has := func(value []byte) bool {
		return slices.ContainsFunc(spec.RaggedWith, func(v []byte) bool { return bytes.Equal(v, value) })
	}
	if len(spec.RaggedWith) == 0 {
		return false
	}
	shape := spec.ExampleShape()
	if spec.Unbatched {
		return slices.Equal(shape, t.Shape) && has(t.Data)
	}
	if len(t.Shape) != len(shape) || len(shape) == 0 || !slices.Equal(shape[1:], t.Shape[1:]) {
		return false
	}
	for row := range int(t.Shape[batchAxis]) {
		if !has(Row(t, row)) {
			return false
		}
	}
	return true
}

// Row is one row's data of a tensor, which shares its memory.
func Row(t *infer.Tensor, row int) []byte {
	cut := rowsOfTensor(t, row, 1)
	return cut.Data
}

// onlyPad reports whether a row, or what a row has at one place before its ragged
// axis, is nothing but what pads it.
func onlyPad(spec *infer.TensorSpec, t *infer.Tensor) bool {
	width := t.DataType.Size()
	pad, _ := infer.AppendNumber(make([]byte, 0, 8), t.DataType, spec.Ragged.Pad) // the manifest was checked
	block := width
	for _, n := range t.Shape[spec.Ragged.Axis:] {
		block *= int(n)
	}
	if block == 0 || len(pad) != width {
		return true
	}
	for at := 0; at < len(t.Data); at += block {
		i := at
		for i < at+block && isPad(t, i, pad, spec.Ragged.Pad) {
			i += width
		}
		if i == at+block {
			return true
		}
	}
	return false
}

// isPad reports whether an element is what pads; a zero is so with either sign.
func isPad(t *infer.Tensor, at int, pad []byte, number float64) bool {
	element := t.Data[at : at+len(pad)]
	return bytes.Equal(element, pad) || number == 0 && infer.Number(t.DataType, element) == 0
}
