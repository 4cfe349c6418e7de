package onnxtest

// DynamicQuantize multiplies "x" of [n, width] by the unit matrix of int8, as
// converters write dynamic quantization: one scale is found for the whole
// tensor, so a large row takes the others' precision. e is Float, or an integer
// type that is cast to it first.
func DynamicQuantize(e Element, width int) Model {
	m := unary("", e, Float, []any{"n", width}, []any{"n", width})
	float := int64(Float)
	to := []Attribute{{Name: "to", Int: &float}}
	unit := make([]byte, width*width)
	for i := range width {
		unit[i*width+i] = 1
	}
	m.Graph.Nodes = []Node{
		{Op: "Cast", Inputs: []string{"x"}, Outputs: []string{"real"}, Attributes: to},
		{Op: "DynamicQuantizeLinear", Inputs: []string{"real"}, Outputs: []string{"q", "scale", "zero"}},
		{Op: "MatMulInteger", Inputs: []string{"q", "unit", "zero"}, Outputs: []string{"sum"}},
		{Op: "Cast", Inputs: []string{"sum"}, Outputs: []string{"product"}, Attributes: to},
		{Op: "Mul", Inputs: []string{"product", "scale"}, Outputs: []string{"y"}},
	}
	m.Graph.Initializers = []Tensor{{Name: "unit", Element: Int8, Shape: []int64{int64(width), int64(width)}, Raw: unit}}
	return m
}

// ScaledQuantize quantises "x" of [n, width] to int8 and back into "y", by the
// largest of all its elements: QuantizeLinear with a scale that is computed.
func ScaledQuantize(width int) Model {
	m := unary("", Float, Float, []any{"n", width}, []any{"n", width})
	keep := int64(0)
	m.Graph.Nodes = []Node{
		{Op: "Abs", Inputs: []string{"x"}, Outputs: []string{"size"}},
		{Op: "ReduceMax", Inputs: []string{"size"}, Outputs: []string{"largest"}, Attributes: []Attribute{{Name: "keepdims", Int: &keep}}},
		{Op: "Div", Inputs: []string{"largest", "steps"}, Outputs: []string{"scale"}},
		{Op: "QuantizeLinear", Inputs: []string{"x", "scale", "zero"}, Outputs: []string{"q"}},
		{Op: "DequantizeLinear", Inputs: []string{"q", "scale", "zero"}, Outputs: []string{"y"}},
	}
	m.Graph.Initializers = []Tensor{
		Floats("steps", []int64{}, 127), {Name: "zero", Element: Int8, Shape: []int64{}, Raw: []byte{0}},
	}
	return m
}

// Beyond adds to "x" of [n, width] by how much a reduction of it over the rows
// (ReduceMax, ReduceMin) passes the limit: rows within it do not show that they
// depend on each other.
func Beyond(reduce string, width int, limit float32) Model {
	m := unary("", Float, Float, []any{"n", width}, []any{"n", width})
	m.Graph.Nodes = []Node{
		{Op: reduce, Inputs: []string{"x", "axes"}, Outputs: []string{"most"}},
		{Op: map[string]string{"ReduceMax": "Max", "ReduceMin": "Min"}[reduce], Inputs: []string{"most", "limit"}, Outputs: []string{"at"}},
		{Op: "Sub", Inputs: []string{"at", "limit"}, Outputs: []string{"by"}},
		{Op: "Add", Inputs: []string{"x", "by"}, Outputs: []string{"y"}},
	}
	m.Graph.Initializers = []Tensor{Int64s("axes", []int64{1}, 0), Floats("limit", []int64{1}, limit)}
	return m
}

// BeyondOf is Beyond with one row, by its index from the first or (negative)
// the last, in place of the largest of each column.
func BeyondOf(row int64, width int, limit float32) Model {
	m := Beyond("ReduceMax", width, limit)
	m.Graph.Nodes[0] = Node{Op: "Gather", Inputs: []string{"x", "row"}, Outputs: []string{"most"}}
	m.Graph.Initializers[0] = Int64s("row", []int64{1}, row)
	return m
}

// Poisoned adds to "x" of [n, width] the sum of its columns times zero: nothing,
// unless a row has NaN or an infinity.
func Poisoned(width int) Model {
	m := unary("", Float, Float, []any{"n", width}, []any{"n", width})
	m.Graph.Nodes = []Node{
		{Op: "ReduceSum", Inputs: []string{"x", "axes"}, Outputs: []string{"sum"}},
		{Op: "Mul", Inputs: []string{"sum", "nothing"}, Outputs: []string{"none"}},
		{Op: "Add", Inputs: []string{"x", "none"}, Outputs: []string{"y"}},
	}
	m.Graph.Initializers = []Tensor{Int64s("axes", []int64{1}, 0), Floats("nothing", []int64{1}, 0)}
	return m
}

// AddFirst adds the first row of "x" of [n, width] to each row: strings are
// joined.
func AddFirst(e Element, width int) Model {
	m := unary("", e, e, []any{"n", width}, []any{"n", width})
	add := "Add"
	if e == String {
		add = "StringConcat"
	}
	m.Graph.Nodes = []Node{
		{Op: "Gather", Inputs: []string{"x", "first"}, Outputs: []string{"row"}},
		{Op: add, Inputs: []string{"x", "row"}, Outputs: []string{"y"}},
	}
	m.Graph.Initializers = []Tensor{Int64s("first", []int64{1}, 0)}
	return m
}

// Lookup gives the vectors of "ids" of [n, width] in a table of so many rows
// as "y" of [n, width, 2]: it runs with no other indices.
func Lookup(rows, width int) Model {
	m := unary("Gather", Int64, Float, []any{"n", width}, []any{"n", width, 2})
	m.Graph.Nodes[0].Inputs = []string{"table", "x"}
	values := make([]float32, 2*rows)
	for i := range values {
		values[i] = float32(i)
	}
	m.Graph.Initializers = []Tensor{Floats("table", []int64{int64(rows), 2}, values...)}
	return m
}
