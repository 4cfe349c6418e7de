package batch

import (
	"context"
	"encoding/binary"
	"slices"
	"sync/atomic"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// joinInputs makes one request's inputs of several's, row after row, in the
// signature's order. Ragged axes are padded to the longest. Nothing of it is the
// callers' memory. padded and all count elements.
func joinInputs(sig *infer.Signature, parts [][]infer.Tensor, rows int) (inputs []infer.Tensor, padded, all int64) {
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		first := find(parts[0], spec.Name)
		if first == nil {
			continue
		}
		t := infer.Tensor{Name: first.Name, DataType: first.DataType, Shape: slices.Clone(first.Shape)}
		if spec.Unbatched {
			t.Data = slices.Clone(first.Data)
			inputs = append(inputs, t)
			continue
		}
		tensors := make([]*infer.Tensor, len(parts))
		total := 0
		for j := range parts {
			tensors[j] = find(parts[j], spec.Name)
			total += len(tensors[j].Data)
			if spec.Ragged != nil {
				t.Shape[spec.Ragged.Axis] = max(t.Shape[spec.Ragged.Axis], tensors[j].Shape[spec.Ragged.Axis])
			}
		}
		t.Shape[batchAxis] = int64(rows)
		if spec.Ragged == nil {
			t.Data = make([]byte, 0, total)
			for _, part := range tensors {
				t.Data = append(t.Data, part.Data...)
			}
		} else {
			t.Data = padRows(spec, tensors, t.Shape)
			width := int64(t.DataType.Size())
			padded += (int64(len(t.Data)) - int64(total)) / width
			all += int64(len(t.Data)) / width
		}
		inputs = append(inputs, t)
	}
	return inputs, padded, all
}

// padRows lays tensors row after row into one of a shape that is longer along
// the ragged axis, and fills the rest with the spec's padding.
func padRows(spec *infer.TensorSpec, tensors []*infer.Tensor, shape []int64) []byte {
	width := spec.DataType.Size()
	axis := spec.Ragged.Axis
	inner := width // bytes of one step along the axis
	for _, n := range shape[axis+1:] {
		inner *= int(n)
	}
	whole := int(shape[axis]) * inner
	data := make([]byte, 0, elementsOf(shape)*width)
	pad, _ := infer.AppendNumber(nil, spec.DataType, spec.Ragged.Pad) // the manifest was checked
	for _, t := range tensors {
		have := int(t.Shape[axis]) * inner
		if have == 0 { // nothing but padding
			outer := 1
			for _, n := range t.Shape[:axis] {
				outer *= int(n)
			}
			for range outer * whole / width {
				data = append(data, pad...)
			}
			continue
		}
		for at := 0; at < len(t.Data); at += have {
			data = append(data, t.Data[at:at+have]...)
			for range (whole - have) / width {
				data = append(data, pad...)
			}
		}
	}
	return data
}

func elementsOf(shape []int64) int {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	return n
}

// cutInputs is count rows of joined inputs, from row on. It shares their memory.
func cutInputs(sig *infer.Signature, inputs []infer.Tensor, row, count int) []infer.Tensor {
	cut := slices.Clone(inputs)
	for i := range cut {
		if spec := infer.SpecOf(sig.Inputs, cut[i].Name); spec == nil || spec.Unbatched {
			continue
		}
		cut[i] = rowsOfTensor(&cut[i], row, count)
	}
	return cut
}

// rowsOfTensor is count rows of a tensor, from row on, in its memory.
func rowsOfTensor(t *infer.Tensor, row, count int) infer.Tensor {
	cut := *t
	cut.Shape = slices.Clone(t.Shape)
	rows := int(t.Shape[batchAxis])
	cut.Shape[batchAxis] = int64(count)
	if t.DataType == infer.Bytes {
		per := 1
		for _, n := range t.Shape[batchAxis+1:] {
			per *= int(n)
		}
		from := skipStrings(t.Data, 0, row*per)
		to := skipStrings(t.Data, from, count*per)
		cut.Data = t.Data[from:to:to]
		return cut
	}
	per := len(t.Data) / max(rows, 1)
	cut.Data = t.Data[row*per : (row+count)*per : (row+count)*per]
	return cut
}

// skipStrings is the offset n BYTES elements after from.
func skipStrings(data []byte, from, n int) int {
	for range n {
		from += 4 + int(binary.LittleEndian.Uint32(data[from:]))
	}
	return from
}

// smallOutputs is the bytes of one member's outputs up to which they are copied:
// a view would keep the whole batch's memory for as long as the slowest reads.
const smallOutputs = 16 << 10

// lastOf is what n members call once each; with the last of them, release is called.
func lastOf(n int, release func()) (done func()) {
	var left atomic.Int64
	left.Store(int64(n))
	return func() {
		if left.Add(-1) == 0 {
			release()
		}
	}
}

// cutOutputs gives each member its rows of a run's outputs, which fit. done is
// to be called once for each member; the memory goes back with the last. An error is
// that there is no memory for their copies.
func (q *Queue) cutOutputs(ctx context.Context, members []*item, outputs []infer.Tensor, charged *room, release func()) (parts [][]infer.Tensor, done func(), err error) {
	if len(members) == 1 {
		return [][]infer.Tensor{outputs}, charged.made(release), nil
	}
	specs := make([]*infer.TensorSpec, len(outputs))
	for i := range outputs {
		specs[i] = infer.SpecOf(q.m.Signature.Outputs, outputs[i].Name)
	}
	copied := size(outputs)/int64(len(members)) <= smallOutputs
	run := charged.taken
	if err := charged.Take(ctx, copiesOf(specs, outputs, len(members), copied)); err != nil {
		return nil, nil, err
	}
	parts = make([][]infer.Tensor, len(members))
	row := 0
	for i, it := range members {
		part := make([]infer.Tensor, len(outputs))
		for j := range outputs {
			part[j] = outputs[j]
			if !specs[j].Unbatched {
				part[j] = rowsOfTensor(&outputs[j], row, it.rows)
			}
			if copied || specs[j].Unbatched {
				part[j].Data = alignedCopy(part[j].Data)
				part[j].Shape = slices.Clone(part[j].Shape)
			}
		}
		q.trimAll(specs, it, part)
		parts[i] = part
		row += it.rows
	}
	if copied {
		release()
		charged.Give(run)
		release = func() {}
	}
	return parts, lastOf(len(members), charged.made(release)), nil
}

// copiesOf is how many bytes cutting outputs copies: all where they are small, what
// each member has whole, and rows that are trimmed.
func copiesOf(specs []*infer.TensorSpec, outputs []infer.Tensor, members int, all bool) (n int64) {
	for i, spec := range specs {
		bytes := int64(len(outputs[i].Data))
		switch {
		case spec.Unbatched:
			n += bytes * int64(members)
		case all:
			n += bytes
		}
		if spec.Ragged != nil {
			n += bytes
		}
	}
	return n
}

// alignedCopy copies data to memory aligned for every element type: the
// allocator aligns what has 8 bytes or more.
func alignedCopy(data []byte) []byte {
	return append(make([]byte, 0, max(len(data), 8)), data...)
}

// trimAll cuts outputs that follow an input's ragged axis to what the member's
// own length makes. Where lengths are equal there is nothing to cut, whatever
// the rule makes of them.
func (q *Queue) trimAll(specs []*infer.TensorSpec, it *item, outputs []infer.Tensor) {
	for i, spec := range specs {
		if spec.Ragged == nil || it.lengths == nil || !it.class.ragged {
			continue
		}
		for j := range q.m.Signature.Inputs {
			if in := &q.m.Signature.Inputs[j]; in.Name == spec.Ragged.Of && in.Ragged != nil {
				trim(&outputs[i], spec.Ragged.Axis, divided(it.lengths[j], spec.Ragged.Divide))
			}
		}
	}
}

// lengthsOf are the sizes of the inputs' ragged axes, in the signature's order;
// nil where there are none.
func lengthsOf(sig *infer.Signature, inputs []infer.Tensor) (lengths []int64) {
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		t := find(inputs, spec.Name)
		if spec.Ragged == nil || t == nil || spec.Ragged.Axis >= len(t.Shape) {
			continue
		}
		if lengths == nil {
			lengths = make([]int64, len(sig.Inputs))
		}
		lengths[i] = t.Shape[spec.Ragged.Axis]
	}
	return lengths
}

// ownInputs are a member's rows of joined inputs without what others' lengths
// padded them with.
func ownInputs(sig *infer.Signature, it *item, inputs []infer.Tensor) []infer.Tensor {
	if it.lengths == nil {
		return inputs
	}
	own := slices.Clone(inputs)
	for i := range sig.Inputs {
		if t := find(own, sig.Inputs[i].Name); t != nil && sig.Inputs[i].Ragged != nil {
			trim(t, sig.Inputs[i].Ragged.Axis, it.lengths[i])
		}
	}
	return own
}

// trim shortens a tensor along an axis.
func trim(t *infer.Tensor, axis int, length int64) {
	whole := t.Shape[axis]
	if length >= whole || t.DataType == infer.Bytes {
		return
	}
	inner := t.DataType.Size()
	for _, n := range t.Shape[axis+1:] {
		inner *= int(n)
	}
	data := make([]byte, 0, max(8, len(t.Data)/int(whole)*int(length)))
	for at := 0; at < len(t.Data); at += int(whole) * inner {
		data = append(data, t.Data[at:at+int(length)*inner]...)
	}
	t.Shape = slices.Clone(t.Shape)
	t.Shape[axis] = length
	t.Data = data
}
