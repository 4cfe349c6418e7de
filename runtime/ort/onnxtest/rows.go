package onnxtest

// Keep gives those rows of "x" of [n, width] whose first element is not below
// the limit, as "y" of [rows, width]: how many there are depends on the values.
func Keep(width int, limit float32, rows string) Model {
	m := unary("", Float, Float, []any{"n", width}, []any{rows, width})
	axis := int64(0)
	m.Graph.Nodes = []Node{
		{Op: "Slice", Inputs: []string{"x", "zero", "one", "one"}, Outputs: []string{"column"}},
		{Op: "Squeeze", Inputs: []string{"column", "one"}, Outputs: []string{"first"}},
		{Op: "Less", Inputs: []string{"first", "limit"}, Outputs: []string{"below"}},
		{Op: "Not", Inputs: []string{"below"}, Outputs: []string{"kept"}},
		{
			Op: "Compress", Inputs: []string{"x", "kept"}, Outputs: []string{"y"},
			Attributes: []Attribute{{Name: "axis", Int: &axis}},
		},
	}
	m.Graph.Initializers = []Tensor{
		Int64s("zero", []int64{1}, 0), Int64s("one", []int64{1}, 1), Floats("limit", []int64{}, limit),
	}
	return m
}
