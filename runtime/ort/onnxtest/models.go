package onnxtest

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Identity gives "x" back as "y".
func Identity(e Element, shape ...any) Model {
	if shape == nil {
		shape = []any{}
	}
	return unary("Identity", e, e, shape, shape)
}

// Reshape gives "x" of [n, 2, width] in the two axes that "shape" names as "y":
// it does not run with most of the values that "shape" may have.
func Reshape(width int) Model {
	m := unary("Reshape", Float, Float, []any{"n", 2, width}, []any{"a", "b"})
	m.Graph.Nodes[0].Inputs = []string{"x", "shape"}
	m.Graph.Inputs = append(m.Graph.Inputs, Value{Name: "shape", Element: Int64, Shape: []any{2}})
	return m
}

// NonZero gives the indices of the elements of "x" that are not zero, as
// int64 "y" of [1, n]: its shape depends on the data.
func NonZero() Model { return unary("NonZero", Float, Int64, []any{"n"}, []any{1, "m"}) }

// Scale gives "x" of [n, width] times factor as "y".
func Scale(width int, factor float32) Model {
	m := unary("Mul", Float, Float, []any{"n", width}, []any{"n", width})
	m.Graph.Nodes[0].Inputs = []string{"x", "factor"}
	m.Graph.Initializers = []Tensor{Floats("factor", []int64{1}, factor)}
	return m
}

// Mean subtracts from "x" of [n, width] its mean over the rows: the rows of a
// batch depend on each other.
func Mean(width int) Model {
	axis := int64(1)
	m := unary("", Float, Float, []any{"n", width}, []any{"n", width})
	m.Graph.Nodes = []Node{
		{
			Op: "ReduceMean", Inputs: []string{"x", "axes"}, Outputs: []string{"mean"},
			Attributes: []Attribute{{Name: "keepdims", Int: &axis}},
		},
		{Op: "Sub", Inputs: []string{"x", "mean"}, Outputs: []string{"y"}},
	}
	m.Graph.Initializers = []Tensor{Int64s("axes", []int64{1}, 0)}
	return m
}

// Slow multiplies the square matrix "x" of [n, n] by itself as often as steps
// sets, each time in an operator of its own: cancellation has somewhere to act.
func Slow(steps int) Model {
	m := unary("", Float, Float, []any{"n", "n"}, []any{"n", "n"})
	m.Graph.Nodes = nil
	last := "x"
	for i := range steps {
		next := fmt.Sprintf("s%d", i)
		m.Graph.Nodes = append(m.Graph.Nodes, Node{Op: "MatMul", Inputs: []string{last, "x"}, Outputs: []string{next}})
		last = next
	}
	m.Graph.Nodes = append(m.Graph.Nodes, Node{Op: "Identity", Inputs: []string{last}, Outputs: []string{"y"}})
	return m
}

// Wide gives as many zeros as "shape" of [1] says: what it answers is not bounded by
// what it is asked.
func Wide() Model {
	m := unary("ConstantOfShape", Int64, Float, []any{1}, []any{"n"})
	m.Graph.Nodes[0].Inputs[0], m.Graph.Inputs[0].Name = "shape", "shape"
	return m
}

// Offset adds "offset" to "x"; left out, it is the model's own default.
func Offset(width int, byDefault float32) Model {
	m := unary("Add", Float, Float, []any{"n", width}, []any{"n", width})
	m.Graph.Nodes[0].Inputs = []string{"x", "offset"}
	m.Graph.Inputs = append(m.Graph.Inputs, Value{Name: "offset", Element: Float, Shape: []any{1}})
	m.Graph.Initializers = []Tensor{Floats("offset", []int64{1}, byDefault)}
	return m
}

// External gives "x" plus weights that lie in a file, width float32s.
func External(width int, location string) Model {
	m := unary("Add", Float, Float, []any{"n", width}, []any{"n", width})
	m.Graph.Nodes[0].Inputs = []string{"x", "w"}
	m.Graph.Initializers = []Tensor{{Name: "w", Element: Float, Shape: []int64{int64(width)}, External: location}}
	return m
}

// Sequence gives a sequence of tensors, which no tensor protocol can carry.
func Sequence() Model {
	m := unary("SequenceConstruct", Float, Float, []any{"n"}, []any{"n"})
	m.Graph.Outputs[0].Kind = IsSequence
	return m
}

// ZipMap gives a sequence of maps, as skl2onnx exports classifiers by default.
func ZipMap() Model {
	m := unary("ZipMap", Float, Float, []any{"n", 2}, nil)
	m.Graph.Nodes[0].Domain = "ai.onnx.ml"
	m.Graph.Nodes[0].Attributes = []Attribute{{Name: "classlabels_int64s", Ints: []int64{0, 1}}}
	m.Graph.Outputs[0].Kind = IsMaps
	return m
}

// Constant takes no input and gives a float32 scalar.
func Constant(value float32) Model {
	t := Floats("", []int64{}, value)
	return Model{Graph: Graph{
		Nodes:   []Node{{Op: "Constant", Outputs: []string{"y"}, Attributes: []Attribute{{Name: "value", Tensor: &t}}}},
		Outputs: []Value{{Name: "y", Element: Float, Shape: []any{}}},
	}}
}

// Floats makes a float32 tensor.
func Floats(name string, shape []int64, values ...float32) Tensor {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return Tensor{Name: name, Element: Float, Shape: shape, Raw: raw}
}

// Int64s makes an int64 tensor.
func Int64s(name string, shape []int64, values ...int64) Tensor {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	return Tensor{Name: name, Element: Int64, Shape: shape, Raw: raw}
}

func unary(op string, in, out Element, inShape, outShape []any) Model {
	return Model{Graph: Graph{
		Nodes:   []Node{{Op: op, Inputs: []string{"x"}, Outputs: []string{"y"}}},
		Inputs:  []Value{{Name: "x", Element: in, Shape: inShape}},
		Outputs: []Value{{Name: "y", Element: out, Shape: outShape}},
	}}
}
