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

// AllIndices gives "x" of [n, width] back as "y" of [rows, width]: its rows are
// gathered by all their indices, found as exporters do, among ones of its shape.
func AllIndices(width int, rows string) Model {
	m := unary("", Float, Float, []any{"n", width}, []any{rows, width})
	one := Int64s("", []int64{1}, 1)
	m.Graph.Nodes = []Node{
		{Op: "Shape", Inputs: []string{"x"}, Outputs: []string{"shape"}},
		{Op: "Gather", Inputs: []string{"shape", "zero"}, Outputs: []string{"count"}},
		{
			Op: "ConstantOfShape", Inputs: []string{"count"}, Outputs: []string{"ones"},
			Attributes: []Attribute{{Name: "value", Tensor: &one}},
		},
		{Op: "NonZero", Inputs: []string{"ones"}, Outputs: []string{"found"}},
		{Op: "Squeeze", Inputs: []string{"found", "zero"}, Outputs: []string{"indices"}},
		{Op: "Gather", Inputs: []string{"x", "indices"}, Outputs: []string{"y"}},
	}
	m.Graph.Initializers = []Tensor{Int64s("zero", []int64{1}, 0)}
	return m
}
