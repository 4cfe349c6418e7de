package bucket

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// rowAxis is the only axis along which requests are joined, the protocol's.
const rowAxis = 0

// pad repeats the last row until there are a power of two, or as many as the
// model may be given. rows and whole are those before and after; where they are
// equal there is nothing to pad.
func (m *Model) pad(inputs []infer.Tensor) (padded []infer.Tensor, rows, whole int) {
	sig := m.cfg.Signature
	if m.exact.Load() || sig == nil || sig.BatchAxis == nil || *sig.BatchAxis != rowAxis {
		return inputs, 0, 0
	}
	most := int64(1) << 30
	if m.cfg.MaxRows > 0 {
		most = int64(m.cfg.MaxRows)
	}
	for i := range inputs {
		t, spec := &inputs[i], infer.SpecOf(sig.Inputs, inputs[i].Name)
		if spec == nil {
			return inputs, 0, 0 // the model refuses it
		}
		if spec.Unbatched {
			continue
		}
		if t.DataType == infer.Bytes || len(t.Shape) <= rowAxis || t.Elements() < 1 || rows > 0 && t.Shape[rowAxis] != int64(rows) {
			return inputs, 0, 0
		}
		rows = int(t.Shape[rowAxis])
		if len(spec.MaxShape) > rowAxis && spec.MaxShape[rowAxis] > 0 {
			most = min(most, spec.MaxShape[rowAxis])
		}
		if per := t.Elements() / int64(rows); sig.MaxElements > 0 && per > 0 {
			most = min(most, sig.MaxElements/per)
		}
		if len(spec.Shape) > rowAxis && spec.Shape[rowAxis] > 0 {
			most = spec.Shape[rowAxis] // the model takes no other number
		}
	}
	if rows == 0 {
		return inputs, 0, 0
	}
	whole = max(rows, int(min(int64(1)<<bits.Len(uint(rows-1)), most)))
	if whole == rows {
		return inputs, rows, rows
	}
	padded = slices.Clone(inputs)
	for i := range padded {
		if infer.SpecOf(sig.Inputs, padded[i].Name).Unbatched {
			continue
		}
		padded[i] = repeated(&inputs[i], rows, whole)
	}
	return padded, rows, whole
}

// repeated is a tensor with its last row repeated.
func repeated(t *infer.Tensor, rows, whole int) infer.Tensor {
	longer := *t
	longer.Shape = slices.Clone(t.Shape)
	longer.Shape[rowAxis] = int64(whole)
	row := len(t.Data) / rows
	longer.Data = append(make([]byte, 0, whole*row), t.Data...)
	for range whole - rows {
		longer.Data = append(longer.Data, t.Data[len(t.Data)-row:]...)
	}
	return longer
}

// cut leaves the outputs the rows that were given. It changes nothing, and returns
// the reason, where they have not as many rows as went in, or are none of the
// signature's, of which nothing is known.
func (m *Model) cut(outputs []infer.Tensor, rows, whole int) error {
	sig := m.cfg.Signature
	for i := range outputs {
		o, spec := &outputs[i], infer.SpecOf(sig.Outputs, outputs[i].Name)
		switch {
		case spec == nil:
			return fmt.Errorf("output %q is not in the signature", o.Name)
		case spec.Unbatched:
		case len(o.Shape) <= rowAxis || o.Shape[rowAxis] != int64(whole):
			return fmt.Errorf("output %q of %d rows has the shape %v", o.Name, whole, o.Shape)
		}
	}
	for i := range outputs {
		o, spec := &outputs[i], infer.SpecOf(sig.Outputs, outputs[i].Name)
		if spec.Unbatched {
			continue
		}
		length := len(o.Data) / whole * rows
		if o.DataType == infer.Bytes {
			length = 0
			for range o.Elements() / int64(whole) * int64(rows) {
				length += 4 + int(binary.LittleEndian.Uint32(o.Data[length:]))
			}
		}
		o.Shape = slices.Clone(o.Shape)
		o.Shape[rowAxis] = int64(rows)
		o.Data = o.Data[:length:length]
	}
	return nil
}
