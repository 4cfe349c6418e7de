// Package onnxtest writes small ONNX models for tests: one operator over each
// data type, outputs whose shape depends on the data, a model that is slow
// enough to be cancelled, one that breaks a rule. They are made in memory from
// a few lines, so that no test needs Python or a file of bytes.
//
// It writes ONNX's protobuf by hand (onnx.proto) and reads none: it is not for
// anything but tests.
package onnxtest

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Element is an element type by onnx.proto's TensorProto.DataType.
type Element int32

// The element types that the protocol has, and one that it has not.
const (
	Float     Element = 1
	Uint8     Element = 2
	Int8      Element = 3
	Uint16    Element = 4
	Int16     Element = 5
	Int32     Element = 6
	Int64     Element = 7
	String    Element = 8
	Bool      Element = 9
	Float16   Element = 10
	Double    Element = 11
	Uint32    Element = 12
	Uint64    Element = 13
	Complex64 Element = 14
	BFloat16  Element = 16
)

// ElementOf is the element type of a protocol data type; 0 for what is none.
func ElementOf(d infer.DataType) Element {
	return map[infer.DataType]Element{
		infer.Bool: Bool, infer.Uint8: Uint8, infer.Uint16: Uint16, infer.Uint32: Uint32, infer.Uint64: Uint64,
		infer.Int8: Int8, infer.Int16: Int16, infer.Int32: Int32, infer.Int64: Int64,
		infer.FP16: Float16, infer.BF16: BFloat16, infer.FP32: Float, infer.FP64: Double, infer.Bytes: String,
	}[d]
}

// Model is an ONNX model. The zero values of IR and Opset are 10 and 21.
type Model struct {
	IR, Opset int64
	Graph     Graph
	Metadata  map[string]string
}

// Graph is a model's graph, or one inside an attribute.
type Graph struct {
	Nodes        []Node
	Initializers []Tensor
	Inputs       []Value
	Outputs      []Value
}

// Node is one operator.
type Node struct {
	Op         string
	Domain     string // "" is ONNX's own
	Inputs     []string
	Outputs    []string
	Attributes []Attribute
}

// Attribute is one attribute of a node; the one field set is its type.
type Attribute struct {
	Name   string
	Int    *int64
	Float  *float32
	String string
	Ints   []int64
	Tensor *Tensor
	Graph  *Graph
}

// Value declares an input or output.
type Value struct {
	Name    string
	Element Element
	Shape   []any // int or int64 for a fixed size, string for a symbol; nil declares no shape
	Kind    Kind
}

// Kind is what a value is.
type Kind int

// The kinds of a value.
const (
	IsTensor Kind = iota
	IsSequence
	IsMap // from int64
	IsOptional
	IsMaps // a sequence of maps from int64
)

// Tensor is a constant: its raw little-endian bytes, or the strings of a
// String tensor, or External: where they lie instead.
type Tensor struct {
	Name     string
	Element  Element
	Shape    []int64
	Raw      []byte
	Strings  []string
	External string
}

// Marshal writes the model.
func (m Model) Marshal() []byte {
	ir, opset := m.IR, m.Opset
	if ir == 0 {
		ir = 10
	}
	if opset == 0 {
		opset = 21
	}
	b := varint(nil, 1, uint64(ir))
	b = text(b, 2, "onnxtest")
	b = message(b, 7, m.Graph.marshal())
	b = message(b, 8, varint(nil, 2, uint64(opset)))
	domains := map[string]bool{"": true}
	for _, n := range m.Graph.Nodes {
		if !domains[n.Domain] {
			b = message(b, 8, varint(text(nil, 1, n.Domain), 2, 1))
		}
		domains[n.Domain] = true
	}
	for _, key := range slices.Sorted(maps.Keys(m.Metadata)) {
		b = message(b, 14, text(text(nil, 1, key), 2, m.Metadata[key]))
	}
	return b
}

// Write writes the model into a new folder of the test and returns its path.
func (m Model) Write(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, m.Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (g Graph) marshal() []byte {
	var b []byte
	for _, n := range g.Nodes {
		b = message(b, 1, n.marshal())
	}
	b = text(b, 2, "graph")
	for _, t := range g.Initializers {
		b = message(b, 5, t.marshal())
	}
	for _, v := range g.Inputs {
		b = message(b, 11, v.marshal())
	}
	for _, v := range g.Outputs {
		b = message(b, 12, v.marshal())
	}
	return b
}

func (n Node) marshal() []byte {
	var b []byte
	for _, s := range n.Inputs {
		b = text(b, 1, s)
	}
	for _, s := range n.Outputs {
		b = text(b, 2, s)
	}
	b = text(b, 4, n.Op)
	if n.Domain != "" {
		b = text(b, 7, n.Domain)
	}
	for _, a := range n.Attributes {
		b = message(b, 5, a.marshal())
	}
	return b
}

func (a Attribute) marshal() []byte {
	b := text(nil, 1, a.Name)
	switch {
	case a.Int != nil:
		return varint(varint(b, 3, uint64(*a.Int)), 20, 2)
	case a.Float != nil:
		b = protowire.AppendTag(b, 2, protowire.Fixed32Type)
		return varint(protowire.AppendFixed32(b, math.Float32bits(*a.Float)), 20, 1)
	case a.Tensor != nil:
		return varint(message(b, 5, a.Tensor.marshal()), 20, 4)
	case a.Graph != nil:
		return varint(message(b, 6, a.Graph.marshal()), 20, 5)
	case a.Ints != nil:
		for _, i := range a.Ints {
			b = varint(b, 8, uint64(i))
		}
		return varint(b, 20, 7)
	default:
		return varint(text(b, 4, a.String), 20, 3)
	}
}

func (v Value) marshal() []byte {
	return message(text(nil, 1, v.Name), 2, v.typeProto())
}

func (v Value) typeProto() []byte {
	tensor := varint(nil, 1, uint64(v.Element))
	if v.Shape != nil {
		var shape []byte
		for _, d := range v.Shape {
			switch d := d.(type) {
			case int:
				shape = message(shape, 1, varint(nil, 1, uint64(d)))
			case int64:
				shape = message(shape, 1, varint(nil, 1, uint64(d)))
			case string:
				shape = message(shape, 1, text(nil, 2, d))
			}
		}
		tensor = message(tensor, 2, shape)
	}
	elem := message(nil, 1, tensor)
	switch v.Kind {
	case IsSequence:
		return message(nil, 4, message(nil, 1, elem))
	case IsMap:
		return message(nil, 5, message(varint(nil, 1, uint64(Int64)), 2, elem))
	case IsMaps:
		return message(nil, 4, message(nil, 1, Value{Element: v.Element, Kind: IsMap}.typeProto()))
	case IsOptional:
		return message(nil, 9, message(nil, 1, elem))
	default:
		return elem
	}
}

func (t Tensor) marshal() []byte {
	var b []byte
	for _, d := range t.Shape {
		b = varint(b, 1, uint64(d))
	}
	b = varint(b, 2, uint64(t.Element))
	for _, s := range t.Strings {
		b = text(b, 6, s)
	}
	if t.Name != "" {
		b = text(b, 8, t.Name)
	}
	if t.External != "" {
		b = message(b, 13, text(text(nil, 1, "location"), 2, t.External))
		return varint(b, 14, 1)
	}
	if t.Strings == nil {
		b = message(b, 9, t.Raw)
	}
	return b
}

func varint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func text(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func message(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}
