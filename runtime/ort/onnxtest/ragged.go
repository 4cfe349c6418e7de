package onnxtest

// ReduceTokens reduces "x" of [n, t, width] over its tokens t to "y" of
// [n, width]: ReduceMean and ReduceMax see what pads a row, ReduceSum not where
// it is padded with zeros.
func ReduceTokens(op string, width int) Model {
	keep := int64(0)
	m := unary(op, Float, Float, []any{"n", "t", width}, []any{"n", width})
	m.Graph.Nodes[0].Inputs = []string{"x", "axes"}
	m.Graph.Nodes[0].Attributes = []Attribute{{Name: "keepdims", Int: &keep}}
	m.Graph.Initializers = []Tensor{Int64s("axes", []int64{1}, 1)}
	return m
}

// EveryOther gives every second token of "x" of [n, t, width] as "y", beginning
// with the one at first: their number is t/2, rounded up for 0 and down for 1.
func EveryOther(width int, first int64) Model {
	m := unary("Slice", Float, Float, []any{"n", "t", width}, []any{"n", "s", width})
	m.Graph.Nodes[0].Inputs = []string{"x", "starts", "ends", "axes", "steps"}
	m.Graph.Initializers = []Tensor{
		Int64s("starts", []int64{1}, first), Int64s("ends", []int64{1}, 1<<40),
		Int64s("axes", []int64{1}, 1), Int64s("steps", []int64{1}, 2),
	}
	return m
}

// Embed is the shape of a text encoder: int64 "ids" and "mask" of [n, t], the
// vectors of width floats of a table of as many rows as "tokens" of
// [n, t, width], and their sum over what the mask has as "whole" of [n, width].
func Embed(rows, width int) Model {
	keep, float := int64(0), int64(Float)
	values := make([]float32, rows*width)
	for i := range values {
		values[i] = float32(i%7) - 2.5
	}
	return Model{Graph: Graph{
		Nodes: []Node{
			{Op: "Gather", Inputs: []string{"table", "ids"}, Outputs: []string{"vectors"}},
			{Op: "Cast", Inputs: []string{"mask"}, Outputs: []string{"there"}, Attributes: []Attribute{{Name: "to", Int: &float}}},
			{Op: "Unsqueeze", Inputs: []string{"there", "last"}, Outputs: []string{"weights"}},
			{Op: "Mul", Inputs: []string{"vectors", "weights"}, Outputs: []string{"tokens"}},
			{
				Op: "ReduceSum", Inputs: []string{"tokens", "axes"}, Outputs: []string{"whole"},
				Attributes: []Attribute{{Name: "keepdims", Int: &keep}},
			},
		},
		Initializers: []Tensor{
			Floats("table", []int64{int64(rows), int64(width)}, values...),
			Int64s("axes", []int64{1}, 1), Int64s("last", []int64{1}, 2),
		},
		Inputs: []Value{
			{Name: "ids", Element: Int64, Shape: []any{"n", "t"}},
			{Name: "mask", Element: Int64, Shape: []any{"n", "t"}},
		},
		Outputs: []Value{
			{Name: "tokens", Element: Float, Shape: []any{"n", "t", width}},
			{Name: "whole", Element: Float, Shape: []any{"n", width}},
		},
	}}
}

// Two is two models side by side, over rows of one batch: the first's values
// and names as they are, the second's behind "b_".
func Two(a, b Model) Model {
	rename := func(names []string) []string {
		out := make([]string, len(names))
		for i, name := range names {
			out[i] = "b_" + name
		}
		return out
	}
	for _, n := range b.Graph.Nodes {
		n.Inputs, n.Outputs = rename(n.Inputs), rename(n.Outputs)
		a.Graph.Nodes = append(a.Graph.Nodes, n)
	}
	for _, t := range b.Graph.Initializers {
		t.Name = "b_" + t.Name
		a.Graph.Initializers = append(a.Graph.Initializers, t)
	}
	for _, side := range []struct {
		to   *[]Value
		from []Value
	}{{&a.Graph.Inputs, b.Graph.Inputs}, {&a.Graph.Outputs, b.Graph.Outputs}} {
		for _, v := range side.from {
			v.Name = "b_" + v.Name
			v.Shape = append([]any{}, v.Shape...)
			for i, d := range v.Shape {
				if s, ok := d.(string); ok && s != "n" {
					v.Shape[i] = "b_" + s
				}
			}
			*side.to = append(*side.to, v)
		}
	}
	return a
}
