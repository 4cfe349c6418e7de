package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// The messages of onnx.proto that the test data is in are read by hand: ONNX
// has no Go package, and these are few fields.
// https://github.com/onnx/onnx/blob/main/onnx/onnx.proto

// field is one field of a message: a number for varints and fixed ones, bytes
// for the others.
type field struct {
	number protowire.Number
	wire   protowire.Type
	value  uint64
	bytes  []byte
}

// fields reads a message.
func fields(message []byte) ([]field, error) {
	var out []field
	for len(message) > 0 {
		number, wire, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
		f := field{number: number, wire: wire}
		switch wire {
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(message)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(message)
			f.value = uint64(v)
		case protowire.Fixed64Type:
			f.value, n = protowire.ConsumeFixed64(message)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message)
		default:
			return nil, fmt.Errorf("field %d has wire type %d", number, wire)
		}
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
		out = append(out, f)
	}
	return out, nil
}

// numbers reads a repeated number, packed or not.
func (f *field) numbers(packed protowire.Type) ([]uint64, error) {
	if f.wire != protowire.BytesType {
		return []uint64{f.value}, nil
	}
	var out []uint64
	for rest := f.bytes; len(rest) > 0; {
		var v uint64
		var n int
		switch packed {
		case protowire.Fixed32Type:
			var v32 uint32
			v32, n = protowire.ConsumeFixed32(rest)
			v = uint64(v32)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(rest)
		default:
			v, n = protowire.ConsumeVarint(rest)
		}
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		out, rest = append(out, v), rest[n:]
	}
	return out, nil
}

// dataTypes are TensorProto.DataType's that the protocol has, too.
func dataTypes() map[uint64]infer.DataType {
	return map[uint64]infer.DataType{
		1: infer.FP32, 2: infer.Uint8, 3: infer.Int8, 4: infer.Uint16, 5: infer.Int16, 6: infer.Int32, 7: infer.Int64,
		8: infer.Bytes, 9: infer.Bool, 10: infer.FP16, 11: infer.FP64, 12: infer.Uint32, 13: infer.Uint64, 16: infer.BF16,
	}
}

// errNoTensor is what a file holds that the protocol cannot carry.
var errNoTensor = errors.New("no tensor of the protocol")

// parseTensor reads a TensorProto.
func parseTensor(message []byte) (infer.Tensor, error) {
	t := infer.Tensor{Shape: []int64{}}
	all, err := fields(message)
	if err != nil {
		return t, err
	}
	var element uint64
	var raw []byte
	var strings [][]byte
	var values []uint64 // of whichever field the elements are in
	for _, f := range all {
		switch f.number {
		case 1: // dims
			var dims []uint64
			dims, err = f.numbers(protowire.VarintType)
			for _, d := range dims {
				t.Shape = append(t.Shape, int64(d))
			}
		case 2:
			element = f.value
		case 4: // float_data
			err = gather(&values, &f, protowire.Fixed32Type)
		case 5, 7, 11: // int32_data, int64_data, uint64_data
			err = gather(&values, &f, protowire.VarintType)
		case 6:
			strings = append(strings, f.bytes)
		case 8:
			t.Name = string(f.bytes)
		case 9:
			raw = f.bytes
		case 10: // double_data
			err = gather(&values, &f, protowire.Fixed64Type)
		case 13, 14:
			err = errors.New("its data is in another file")
		}
		if err != nil {
			return t, err
		}
	}
	var known bool
	if t.DataType, known = dataTypes()[element]; !known {
		return t, fmt.Errorf("%w: data type %d", errNoTensor, element)
	}
	t.Data, err = tensorData(t.DataType, raw, strings, values)
	if size := int64(t.DataType.Size()); err == nil && size > 0 && int64(len(t.Data)) != t.Elements()*size {
		err = fmt.Errorf("%s of shape %v has %d bytes", t.DataType, t.Shape, len(t.Data))
	}
	return t, err
}

func gather(values *[]uint64, f *field, packed protowire.Type) error {
	more, err := f.numbers(packed)
	*values = append(*values, more...)
	return err
}

// tensorData is the elements in the protocol's raw form. Those of a typed field
// are each the low bytes of their number, floats by their bits.
func tensorData(d infer.DataType, raw []byte, strings [][]byte, values []uint64) ([]byte, error) {
	if d == infer.Bytes {
		return infer.NewBytes("", nil, strings...).Data, nil
	}
	if raw != nil {
		if values != nil {
			return nil, errors.New("its elements are there twice")
		}
		return raw, nil
	}
	data := make([]byte, 0, len(values)*d.Size())
	for _, v := range values {
		data = append(data, binary.LittleEndian.AppendUint64(nil, v)[:d.Size()]...)
	}
	return data, nil
}

// port is an input or output that a model declares.
type port struct {
	name     string
	isTensor bool
	element  uint64 // of a tensor
}

// graph is what the test needs to know of a model.
type graph struct {
	inputs, outputs []port
	operators       map[string]bool
}

// parseModel reads a ModelProto.
func parseModel(message []byte) (*graph, error) {
	all, err := fields(message)
	if err != nil {
		return nil, err
	}
	g := &graph{operators: map[string]bool{}}
	for _, f := range all {
		switch f.number {
		case 7:
			err = g.read(f.bytes)
		case 25: // a function of the model's own, whose nodes are field 7
			err = g.readNodes(f.bytes, 7)
		}
		if err != nil {
			return nil, err
		}
	}
	return g, nil
}

// read reads a GraphProto.
func (g *graph) read(message []byte) error {
	all, err := fields(message)
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.number != 11 && f.number != 12 {
			continue
		}
		p, err := parsePort(f.bytes)
		if err != nil {
			return err
		}
		if f.number == 11 {
			g.inputs = append(g.inputs, p)
		} else {
			g.outputs = append(g.outputs, p)
		}
	}
	return g.readNodes(message, 1)
}

// readNodes adds the operators of the nodes in a field of a message.
func (g *graph) readNodes(message []byte, number protowire.Number) error {
	all, err := fields(message)
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.number != number {
			continue
		}
		node, err := fields(f.bytes)
		if err != nil {
			return err
		}
		for _, n := range node {
			if n.number == 4 {
				g.operators[string(n.bytes)] = true
			}
		}
	}
	return nil
}

// parsePort reads a ValueInfoProto.
func parsePort(message []byte) (port, error) {
	var p port
	all, err := fields(message)
	if err != nil {
		return p, err
	}
	for _, f := range all {
		switch f.number {
		case 1:
			p.name = string(f.bytes)
		case 2:
			kind, err := fields(f.bytes)
			if err != nil {
				return p, err
			}
			for _, k := range kind {
				if k.number != 1 { // tensor_type
					continue
				}
				p.isTensor = true
				tensor, err := fields(k.bytes)
				if err != nil {
					return p, err
				}
				for _, f := range tensor {
					if f.number == 1 {
						p.element = f.value
					}
				}
			}
		}
	}
	return p, nil
}

// float reads one element of a floating-point tensor.
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
