package rows_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

const u8 = infer.Uint8

func bytesOf(list ...byte) infer.Tensor {
	return infer.Tensor{DataType: u8, Shape: []int64{int64(len(list))}, Data: list}
}

// window has the attributes of a pool that slides over two axes.
func (g *gen) window() []attribute {
	out := []attribute{{"kernel_shape", []int64{2, 1 + g.Int64N(3)}}, {"strides", []int64{1 + g.Int64N(2), 1}}}
	if g.IntN(2) == 0 {
		out = append(out, attribute{"pads", []int64{g.Int64N(2), 0, g.Int64N(2), 0}})
	}
	if g.IntN(3) == 0 {
		out = append(out, int2("ceil_mode", 1))
	}
	return out
}

// quantized is images of small integers.
func (g *gen) quantized(shape ...int64) val {
	x := g.images(shape...)
	return g.node("Cast", u8, x.shape, []val{x}, int2("to", 2))
}

func quantSnippets() map[string]snippet {
	const ms = "com.microsoft"
	all := map[string]snippet{}
	scales := func(g *gen) (scale, zero val) { return g.float(0.1), g.weight(g.tensor(u8, []int64{})) }
	all["QLinearSoftmax"] = func(g *gen) {
		x := g.quantized([]int64{2, 3, 2}[:1+g.IntN(3)]...)
		scale, zero := scales(g)
		g.of(ms, "QLinearSoftmax", u8, x.shape, []val{x, scale, zero, scale, zero}, int2("axis", g.axis(x)), int2("opset", []int64{11, 13}[g.IntN(2)]))
	}
	all["QLinearAveragePool"] = func(g *gen) {
		scale, zero := scales(g)
		// Of no image that is smaller than the window: with the channels last,
		// ONNX Runtime divides by the size of what is left, and ends the process.
		g.input("large"+strconv.Itoa(len(g.m.inputs)), f32, []int64{rowsDim, 4, 4, 4})
		x := g.node("Cast", u8, []int64{rowsDim, 4, 4, 4}, []val{g.values[len(g.values)-1]}, int2("to", 2))
		g.of(ms, "QLinearAveragePool", u8, nil, []val{x, scale, zero, scale, zero}, append(g.window(), int2("channels_last", g.Int64N(2)))...)
	}
	all["QLinearGlobalAveragePool"] = func(g *gen) {
		scale, zero := scales(g)
		g.of(ms, "QLinearGlobalAveragePool", u8, nil, []val{g.quantized(2, 3, 4), scale, zero, scale, zero}, int2("channels_last", g.Int64N(2)))
	}
	all["NhwcMaxPool"] = func(g *gen) {
		g.of(ms, "NhwcMaxPool", u8, nil, []val{g.quantized(4, 4, 2)}, g.window()...)
	}
	all["QLinearConcat"] = func(g *gen) {
		x := g.quantized(2, 3)
		scale, zero := scales(g)
		y := g.node("BitwiseNot", u8, x.shape, []val{x})
		if g.IntN(3) == 0 {
			y = g.weight(g.tensor(u8, []int64{1 + g.Int64N(2), 2, 3}))
		}
		g.of(ms, "QLinearConcat", u8, nil, []val{scale, zero, x, scale, zero, y, g.float(0.2), zero}, int2("axis", g.axis(x)))
	}
	all["QGemm"] = func(g *gen) {
		x := g.quantized(3)
		scale, zero := scales(g)
		in := []val{x, scale, zero, g.weight(g.tensor(u8, []int64{3, 2})), scale, zero, {}}
		if g.IntN(2) == 0 {
			in[6] = g.weight(g.tensor(infer.Int32, [][]int64{{2}, {1, 2}, {2, 2}}[g.IntN(3)]))
		}
		kind := f32
		if g.IntN(2) == 0 {
			in, kind = append(in, scale, zero), u8
		}
		g.of(ms, "QGemm", kind, []int64{rowsDim, 2}, in, int2("transA", g.Int64N(4)/3))
	}
	all["MatMulNBits"] = func(g *gen) {
		x := g.images([]int64{2, 16}[g.IntN(2):]...)
		if g.IntN(4) == 0 { // the rows elsewhere
			x = g.exchanged(g.images(3, 16))
		}
		in := []val{x, g.weight(g.tensor(u8, []int64{3, 1, 8})), g.floats(3)}
		g.of(ms, "MatMulNBits", f32, nil, in, int2("K", 16), int2("N", 3), int2("bits", 4), int2("block_size", 16), int2("accuracy_level", 4*g.Int64N(2)))
	}
	return all
}

// TestRowsOfQuantized are operators of values that were quantized beforehand, and
// the cases of them whose rows do not stay apart.
func TestRowsOfQuantized(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	const ms = "com.microsoft"
	scale, zero := floatsOf("scale", 0.1), infer.Tensor{Name: "zero", DataType: u8, Shape: []int64{}, Data: []byte{3}}
	each := []string{"scale", "zero", "scale", "zero"}
	of := func(shape []int64, op string, inputs []string, attributes []attribute, more ...infer.Tensor) model {
		kind := u8
		if op == "MatMulNBits" {
			kind = f32
		}
		return model{
			nodes:   []node{{domain: ms, op: op, inputs: inputs, outputs: []string{"y"}, attributes: attributes}},
			inputs:  []port{{"x", kind, shape}},
			outputs: []string{"y"},
			weights: append(more, scale, zero),
		}
	}
	turned := func(m model) model { // with the rows on its second axis
		m.nodes = slices.Insert(m.nodes, 0, node{op: "Transpose", inputs: []string{"x"}, outputs: []string{"t"}, attributes: []attribute{{"perm", []int64{1, 0, 2}}}})
		m.nodes[1].inputs = slices.Clone(m.nodes[1].inputs)
		for i, in := range m.nodes[1].inputs {
			if in == "x" {
				m.nodes[1].inputs[i] = "t"
			}
		}
		m.nodes = append(m.nodes, node{op: "Transpose", inputs: []string{"y"}, outputs: []string{"z"}, attributes: []attribute{{"perm", []int64{1, 0, 2}}}})
		m.outputs = []string{"z"}
		return m
	}
	x := append([]string{"x"}, each...)
	images, matrix, three := []int64{-1, 2, 4, 4}, []int64{-1, 3}, []int64{-1, 2, 3}
	kernel := []attribute{{"kernel_shape", []int64{2, 2}}}
	table := infer.Tensor{Name: "b", DataType: u8, Shape: []int64{3, 2}, Data: []byte{1, 2, 3, 4, 5, 6}}
	bits := []attribute{int2("K", 16), int2("N", 1), int2("bits", 4), int2("block_size", 16)}
	few := infer.Tensor{Name: "b", DataType: u8, Shape: []int64{1, 1, 8}, Data: []byte{1, 2, 3, 4, 5, 6, 7, 8}}
	concat := []string{"scale", "zero", "x", "scale", "zero", "x", "scale", "zero"}
	for name, c := range map[string]struct {
		m   model
		why string
	}{
		"softmax of each row":                 {of(matrix, "QLinearSoftmax", x, []attribute{int2("axis", 1), int2("opset", 13)}), ""},
		"softmax over the rows":               {of(matrix, "QLinearSoftmax", x, []attribute{int2("axis", 0), int2("opset", 13)}), "QLinearSoftmax"},
		"softmax over all that follows rows":  {of(three, "QLinearSoftmax", x, []attribute{int2("axis", 1), int2("opset", 11)}), ""},
		"softmax over all":                    {of(three, "QLinearSoftmax", x, []attribute{int2("axis", 0), int2("opset", 11)}), "QLinearSoftmax"},
		"average pool":                        {of(images, "QLinearAveragePool", x, kernel), ""},
		"average pool, channels last":         {of(images, "QLinearAveragePool", x, append([]attribute{int2("channels_last", 1)}, kernel...)), ""},
		"average pool of rows for channels":   {turned(of(three, "QLinearAveragePool", x, []attribute{{"kernel_shape", []int64{2}}})), "QLinearAveragePool"},
		"global pool":                         {of(images, "QLinearGlobalAveragePool", x, nil), ""},
		"largest, channels last":              {of(images, "NhwcMaxPool", []string{"x"}, kernel), ""},
		"columns of rows joined":              {of(matrix, "QLinearConcat", concat, []attribute{int2("axis", 1)}), ""},
		"rows one after another":              {of(matrix, "QLinearConcat", concat, []attribute{int2("axis", 0)}), "it has not one of its own for each row"},
		"matrices":                            {of(matrix, "QGemm", []string{"x", "scale", "zero", "b", "scale", "zero", "", "scale", "zero"}, nil, table), ""},
		"matrices, summed over the rows":      {of([]int64{-1, 2}, "QGemm", []string{"x", "scale", "zero", "b", "scale", "zero", "", "scale", "zero"}, []attribute{int2("transA", 1)}, table), "QGemm"},
		"a matrix of few bits":                {of([]int64{-1, 16}, "MatMulNBits", []string{"x", "b", "factors"}, bits, few, floatsOf("factors", 0.5, 1)), ""},
		"a matrix of few bits, lines of rows": {of([]int64{-1, 2, 16}, "MatMulNBits", []string{"x", "b", "factors"}, bits, few, floatsOf("factors", 0.5, 1)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectWhy(t, h.verdict(t, c.m), c.why)
		})
	}
}
