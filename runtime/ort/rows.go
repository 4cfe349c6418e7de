package ort

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// givenRows makes rows of one row that is known to be good: row 1 is its
// elements in the opposite order.
func givenRows(sample []infer.Tensor) rowSource {
	return func(specs []infer.TensorSpec, batched []bool, rows ...int) ([]infer.Tensor, error) {
		tensors := slices.Clone(sample)
		for i := range tensors {
			t := &tensors[i]
			at := slices.IndexFunc(specs, func(s infer.TensorSpec) bool { return s.Name == t.Name })
			if at < 0 || !batched[at] {
				continue
			}
			if len(t.Shape) == 0 || t.Shape[0] != 1 {
				return nil, fmt.Errorf("input %q: expected a sample of one row, got the shape %v", t.Name, t.Shape)
			}
			if !t.DataType.Valid() {
				return nil, fmt.Errorf("input %q: %q is no data type", t.Name, t.DataType)
			}
			if err := checkData(t); err != nil {
				return nil, fmt.Errorf("input %q: %w", t.Name, err)
			}
			var data []byte
			for _, row := range rows {
				if row == 0 {
					data = append(data, t.Data...)
				} else {
					data = appendReversed(data, t)
				}
			}
			t.Data = data
			t.Shape = append([]int64{int64(len(rows))}, t.Shape[1:]...)
		}
		return tensors, nil
	}
}

// appendReversed appends a tensor's elements from the last to the first.
func appendReversed(data []byte, t *infer.Tensor) []byte {
	n := int(t.Elements())
	if t.DataType == infer.Bytes {
		for i := n - 1; i >= 0; i-- {
			data = append(data, t.Data[stringsEnd(t.Data, i):stringsEnd(t.Data, i+1)]...)
		}
		return data
	}
	size := t.DataType.Size()
	for i := n - 1; i >= 0; i-- {
		data = append(data, t.Data[i*size:(i+1)*size]...)
	}
	return data
}

// madeUp makes up inputs: size is what open axes get, limit what integers stay
// below.
type madeUp struct {
	size  int64
	limit uint64
}

// madeUpRows are tried in turn. Vision models want multiples of 32, some of
// them 224; sequence models take anything; integers are bytes, tokens or flags.
func madeUpRows(inputs []infer.TensorSpec) []rowSource {
	var all []rowSource
	for _, limit := range []uint64{200, 2} {
		for _, size := range []int64{32, 64, 224, 1, 16, 128, 2, 8, 320, 512} {
			all = append(all, madeUp{size, limit}.rows)
			if !hasOpenAxis(inputs) {
				break // the size says nothing
			}
		}
	}
	return all
}

func hasOpenAxis(inputs []infer.TensorSpec) bool {
	return slices.ContainsFunc(inputs, func(in infer.TensorSpec) bool {
		return len(in.Shape) > 1 && slices.Contains(in.Shape[1:], infer.Dynamic)
	})
}

// rows is a rowSource of random elements.
func (p madeUp) rows(specs []infer.TensorSpec, batched []bool, rows ...int) ([]infer.Tensor, error) {
	tensors := []infer.Tensor{}
	for i, spec := range specs {
		if spec.Optional {
			continue
		}
		shape := slices.Clone(spec.Shape)
		if shape == nil {
			shape = []int64{1}
		}
		for j, d := range shape {
			if d == infer.Dynamic {
				shape[j] = p.size
				if j == 0 {
					shape[j] = 1
				}
			}
		}
		t := infer.Tensor{Name: spec.Name, DataType: spec.DataType, Shape: shape}
		n := t.Elements()
		if n < 0 || n > maxProbe {
			return nil, fmt.Errorf("input %q: %v elements are too many to make up", spec.Name, shape)
		}
		if !batched[i] {
			t.Data = p.fill(nil, spec.DataType, n, rand.NewPCG(uint64(i), 0))
		} else {
			for _, row := range rows {
				t.Data = p.fill(t.Data, spec.DataType, n, rand.NewPCG(uint64(i), uint64(row)))
			}
			t.Shape[0] = int64(len(rows))
		}
		tensors = append(tensors, t)
	}
	return tensors, nil
}

// fill appends n elements: floats in [0, 1), integers in [0, limit).
func (p madeUp) fill(data []byte, d infer.DataType, n int64, source rand.Source) []byte {
	random := rand.New(source) //nolint:gosec // made up inputs need no secrecy
	le := binary.LittleEndian
	for range n {
		f, i := random.Float32(), random.Uint64N(p.limit)
		switch d {
		case infer.Bytes:
			text := fmt.Sprint("text ", i)
			data = append(le.AppendUint32(data, uint32(len(text))), text...)
		case infer.Bool:
			data = append(data, byte(i&1))
		case infer.FP32:
			data = le.AppendUint32(data, math.Float32bits(f))
		case infer.FP64:
			data = le.AppendUint64(data, math.Float64bits(float64(f)))
		case infer.BF16:
			data = le.AppendUint16(data, uint16(math.Float32bits(f)>>16))
		case infer.FP16:
			// 1 + fraction/1024 over 2: in [0.5, 1), which needs no rounding.
			data = le.AppendUint16(data, 14<<10|uint16(f*1024))
		default:
			for j := range d.Size() {
				data = append(data, byte(i>>(8*j)))
			}
		}
	}
	return data
}
