package rows_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// The ONNX project's models are read and written here as far as the tests need
// it (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).

// fields calls do with each field of a message that is bytes or a number.
func fields(data []byte, do func(number protowire.Number, bytes []byte, value uint64) error) error {
	for len(data) > 0 {
		number, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		var bytes []byte
		var value uint64
		switch wire {
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(data)
			value = uint64(v)
		default:
			n = protowire.ConsumeFieldValue(number, wire, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if err := do(number, bytes, value); err != nil {
			return err
		}
	}
	return nil
}

// edited is a message with some of its fields, which are bytes, replaced; nil
// drops one.
func edited(data []byte, edit func(number protowire.Number, bytes []byte) []byte) []byte {
	var out []byte
	for len(data) > 0 {
		number, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(number, wire, data[n:])
		if size < 0 {
			return nil
		}
		if wire != protowire.BytesType {
			out = append(out, data[:n+size]...)
		} else if bytes, _ := protowire.ConsumeBytes(data[n:]); true {
			if b := edit(number, bytes); b != nil {
				out = message(out, number, b)
			}
		}
		data = data[n+size:]
	}
	return out
}

func message(b []byte, number protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), m)
}

// nameOf is the name of a ValueInfoProto or a TensorProto.
func nameOf(data []byte, number protowire.Number) (name string) {
	_ = fields(data, func(n protowire.Number, bytes []byte, _ uint64) error {
		if n == number {
			name = string(bytes)
		}
		return nil
	})
	return name
}

// withRows is a model whose inputs in rows have a first axis of any size. What
// it declares of the sizes of other values is dropped.
func withRows(model []byte, rows map[string]bool) []byte {
	return edited(model, func(number protowire.Number, graph []byte) []byte {
		if number != 7 {
			return graph
		}
		return edited(graph, func(number protowire.Number, value []byte) []byte {
			switch {
			case number == 13:
				return nil
			case number == 12:
				return withShape(value, func([]byte) []byte { return nil })
			case number == 11 && rows[nameOf(value, 1)]:
				return withShape(value, func(shape []byte) []byte {
					first := true
					return edited(shape, func(number protowire.Number, dim []byte) []byte {
						if number == 1 && first {
							first = false
							return message(nil, 2, []byte("rows"))
						}
						return dim
					})
				})
			}
			return value
		})
	})
}

// withShape is a ValueInfoProto with another shape.
func withShape(value []byte, edit func([]byte) []byte) []byte {
	return edited(value, func(number protowire.Number, kind []byte) []byte {
		if number != 2 {
			return kind
		}
		return edited(kind, func(number protowire.Number, tensor []byte) []byte {
			if number != 1 {
				return tensor
			}
			return edited(tensor, func(number protowire.Number, shape []byte) []byte {
				if number != 2 {
					return shape
				}
				return edit(shape)
			})
		})
	})
}

// inputNames are those of a model's graph, without those that have a default.
func inputNames(model []byte) []string {
	var names []string
	constant := map[string]bool{}
	_ = fields(model, func(number protowire.Number, graph []byte, _ uint64) error {
		if number != 7 {
			return nil
		}
		return fields(graph, func(number protowire.Number, value []byte, _ uint64) error {
			switch number {
			case 11:
				names = append(names, nameOf(value, 1))
			case 5:
				constant[nameOf(value, 8)] = true
			}
			return nil
		})
	})
	var out []string
	for _, name := range names {
		if !constant[name] {
			out = append(out, name)
		}
	}
	return out
}

// testData are the inputs of a case of the node suite; those that are no tensors
// are left out.
func testData(dir string, names []string) []infer.Tensor {
	var out []infer.Tensor
	for i, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, "test_data_set_0", "input_"+strconv.Itoa(i)+".pb"))
		if err != nil {
			continue
		}
		t, err := parseTensor(data)
		if err != nil {
			continue
		}
		t.Name = name
		out = append(out, t)
	}
	return out
}

// dataTypes are the protocol's, by onnx.proto's.
func dataTypes(element uint64) infer.DataType {
	return map[uint64]infer.DataType{
		1: infer.FP32, 2: infer.Uint8, 3: infer.Int8, 4: infer.Uint16, 5: infer.Int16, 6: infer.Int32, 7: infer.Int64,
		8: infer.Bytes, 9: infer.Bool, 10: infer.FP16, 11: infer.FP64, 12: infer.Uint32, 13: infer.Uint64, 16: infer.BF16,
	}[element]
}

func parseTensor(data []byte) (infer.Tensor, error) {
	t := infer.Tensor{Shape: []int64{}}
	var raw, floats, doubles []byte
	var numbers []uint64
	var texts [][]byte
	err := fields(data, func(number protowire.Number, bytes []byte, value uint64) error {
		switch number {
		case 1:
			if bytes == nil {
				t.Shape = append(t.Shape, int64(value))
			}
			for len(bytes) > 0 {
				v, n := protowire.ConsumeVarint(bytes)
				t.Shape, bytes = append(t.Shape, int64(v)), bytes[n:]
			}
		case 2:
			t.DataType = dataTypes(value)
		case 4:
			floats = append(floats, bytes...)
		case 5, 7, 11:
			if bytes == nil {
				numbers = append(numbers, value)
			}
			for len(bytes) > 0 {
				v, n := protowire.ConsumeVarint(bytes)
				numbers, bytes = append(numbers, v), bytes[n:]
			}
		case 6:
			texts = append(texts, bytes)
		case 9:
			raw = bytes
		case 10:
			doubles = append(doubles, bytes...)
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	switch {
	case t.DataType == "":
		return t, errors.New("no data type of the protocol")
	case t.DataType == infer.Bytes:
		for _, s := range texts {
			t.Data = append(binary.LittleEndian.AppendUint32(t.Data, uint32(len(s))), s...)
		}
		return t, nil
	case raw != nil:
		t.Data = raw
	case floats != nil:
		t.Data = floats
	case doubles != nil:
		t.Data = doubles
	default:
		for _, v := range numbers {
			t.Data = append(t.Data, binary.LittleEndian.AppendUint64(nil, v)[:t.DataType.Size()]...)
		}
	}
	if int64(len(t.Data)) != t.Elements()*int64(t.DataType.Size()) {
		return t, fmt.Errorf("%d bytes for %v of %s", len(t.Data), t.Shape, t.DataType)
	}
	t.Data = append([]byte{}, t.Data...)
	return t, nil
}

// model is one that tests write: operators of any domain.
type model struct {
	opset   int64
	nodes   []node
	inputs  []port
	outputs []string
	weights []infer.Tensor
}

type node struct {
	domain, op      string
	inputs, outputs []string
	attributes      []attribute
}

// attribute has a value of int, float32, string, []int64, []float32, []string,
// infer.Tensor or model.
type attribute struct {
	name  string
	value any
}

// port is an input: -1 is the rows, and -2 any other size.
type port struct {
	name  string
	kind  infer.DataType
	shape []int64
}

func (m model) marshal() []byte {
	b := varint(nil, 1, 10)
	b = message(b, 7, m.graph())
	domains := map[string]bool{}
	for _, n := range m.nodes {
		domains[n.domain] = true
	}
	version := m.opset
	if version == 0 {
		version = 21
	}
	b = message(b, 8, varint(nil, 2, uint64(version)))
	for domain, version := range map[string]uint64{"ai.onnx.ml": m.learned(), "com.microsoft": 1} {
		if domains[domain] {
			b = message(b, 8, varint(message(nil, 1, []byte(domain)), 2, version))
		}
	}
	return b
}

// learned is the version of ai.onnx.ml: the first that has all of its operators.
func (m model) learned() uint64 {
	if slices.ContainsFunc(m.nodes, func(n node) bool { return n.op == "TreeEnsemble" }) {
		return 5
	}
	return 3
}

func (m model) graph() []byte {
	var b []byte
	for _, n := range m.nodes {
		b = message(b, 1, n.marshal())
	}
	b = message(b, 2, []byte("graph"))
	for i := range m.weights {
		b = message(b, 5, tensorProto(&m.weights[i]))
	}
	for _, p := range m.inputs {
		var shape []byte
		for i, d := range p.shape {
			var dim []byte
			switch d {
			case -1:
				dim = message(nil, 2, []byte("rows"))
			case -2:
				dim = message(nil, 2, []byte(p.name+strconv.Itoa(i)))
			default:
				dim = varint(nil, 1, uint64(d))
			}
			shape = message(shape, 1, dim)
		}
		tensor := message(varint(nil, 1, elementOf(p.kind)), 2, shape)
		b = message(b, 11, message(message(nil, 1, []byte(p.name)), 2, message(nil, 1, tensor)))
	}
	for _, name := range m.outputs {
		b = message(b, 12, message(nil, 1, []byte(name)))
	}
	return b
}

func elementOf(kind infer.DataType) uint64 {
	for e := range uint64(17) {
		if dataTypes(e) == kind {
			return e
		}
	}
	return 0
}

func (n node) marshal() []byte {
	var b []byte
	for _, s := range n.inputs {
		b = message(b, 1, []byte(s))
	}
	for _, s := range n.outputs {
		b = message(b, 2, []byte(s))
	}
	b = message(b, 4, []byte(n.op))
	for _, a := range n.attributes {
		b = message(b, 5, a.marshal())
	}
	return message(b, 7, []byte(n.domain))
}

func (a attribute) marshal() []byte {
	b := message(nil, 1, []byte(a.name))
	float := func(b []byte, number protowire.Number, f float32) []byte {
		return protowire.AppendFixed32(protowire.AppendTag(b, number, protowire.Fixed32Type), math.Float32bits(f))
	}
	switch v := a.value.(type) {
	case int:
		return varint(varint(b, 3, uint64(v)), 20, 2)
	case float32:
		return varint(float(b, 2, v), 20, 1)
	case string:
		return varint(message(b, 4, []byte(v)), 20, 3)
	case []int64:
		for _, i := range v {
			b = varint(b, 8, uint64(i))
		}
		return varint(b, 20, 7)
	case []float32:
		for _, f := range v {
			b = float(b, 7, f)
		}
		return varint(b, 20, 6)
	case []string:
		for _, s := range v {
			b = message(b, 9, []byte(s))
		}
		return varint(b, 20, 8)
	case infer.Tensor:
		return varint(message(b, 5, tensorProto(&v)), 20, 4)
	case model:
		return varint(message(b, 6, v.graph()), 20, 5)
	}
	panic(fmt.Sprintf("an attribute of %T", a.value))
}

func tensorProto(t *infer.Tensor) []byte {
	var b []byte
	for _, d := range t.Shape {
		b = varint(b, 1, uint64(d))
	}
	b = varint(b, 2, elementOf(t.DataType))
	if t.Name != "" {
		b = message(b, 8, []byte(t.Name))
	}
	if t.DataType == infer.Bytes {
		for data := t.Data; len(data) > 0; {
			n := binary.LittleEndian.Uint32(data)
			b = message(b, 6, data[4:4+n])
			data = data[4+n:]
		}
		return b
	}
	return message(b, 9, t.Data)
}

func varint(b []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}
