package rows_test

import (
	"slices"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// snippet adds an operator, or a few, to a graph, with attributes that are drawn.
type snippet func(g *gen)

const (
	f32 = infer.FP32
	i64 = infer.Int64
	b1  = infer.Bool
)

func int2(name string, v int64) attribute { return attribute{name, int(v)} }

// snippets are those of each operator; one is drawn of several.
func snippets() map[string]snippet {
	all := map[string]snippet{}
	for _, ops := range []map[string]snippet{elementSnippets(), shapeSnippets(), axisSnippets(), kernelSnippets(), learnedSnippets(), wordSnippets(), contribSnippets(), quantSnippets()} {
		for op, s := range ops {
			all[op] = s
		}
	}
	return all
}

func elementSnippets() map[string]snippet {
	all := map[string]snippet{}
	for _, op := range strings.Fields("Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Log Mish Neg Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu") {
		all[op] = func(g *gen) {
			x := g.pick(f32, 0)
			g.node(op, f32, x.shape, []val{x})
		}
	}
	for op, kinds := range map[string][2]infer.DataType{"IsNaN": {f32, b1}, "IsInf": {f32, b1}, "Not": {b1, b1}, "BitwiseNot": {i64, i64}} {
		all[op] = func(g *gen) {
			x := g.pick(kinds[0], 0)
			g.node(op, kinds[1], x.shape, []val{x})
		}
	}
	for op, kinds := range map[string][2]infer.DataType{
		"Add": {f32, f32}, "Sub": {f32, f32}, "Mul": {f32, f32}, "Div": {f32, f32}, "Pow": {f32, f32}, "PRelu": {f32, f32},
		"Equal": {i64, b1}, "Less": {f32, b1}, "LessOrEqual": {f32, b1}, "Greater": {f32, b1}, "GreaterOrEqual": {f32, b1},
		"And": {b1, b1}, "Or": {b1, b1}, "Xor": {b1, b1}, "Mod": {i64, i64},
		"BitwiseAnd": {i64, i64}, "BitwiseOr": {i64, i64}, "BitwiseXor": {i64, i64},
		"Min": {f32, f32}, "Max": {f32, f32}, "Mean": {f32, f32}, "Sum": {f32, f32},
	} {
		all[op] = func(g *gen) {
			x := g.pick(kinds[0], 0)
			y := g.partner(x)
			if op != "PRelu" && g.IntN(2) == 0 {
				x, y = y, x
			}
			g.node(op, kinds[1], joint(x.shape, y.shape), []val{x, y})
		}
	}
	all["BitShift"] = func(g *gen) {
		x := g.node("Cast", infer.Uint8, nil, []val{g.pick(i64, 0)}, int2("to", 2))
		x.shape = []int64{rowsDim}
		g.node("BitShift", infer.Uint8, nil, []val{x, g.weight(g.tensor(infer.Uint8, []int64{1}))}, attribute{"direction", "LEFT"})
	}
	all["Where"] = func(g *gen) {
		c := g.pick(b1, 0)
		x, y := g.pick(f32, 0), g.pick(f32, 0)
		if g.IntN(2) == 0 {
			y = g.partner(x)
		}
		g.node("Where", f32, joint(c.shape, joint(x.shape, y.shape)), []val{c, x, y})
	}
	all["Cast"] = func(g *gen) {
		kinds := []infer.DataType{f32, i64, b1}
		x := g.pick(kinds[g.IntN(3)], 0)
		to := kinds[g.IntN(3)]
		g.node("Cast", to, x.shape, []val{x}, int2("to", int64(elementOf(to))))
	}
	all["CastLike"] = func(g *gen) {
		x, y := g.pick(f32, 0), g.pick(i64, 0)
		g.node("CastLike", i64, x.shape, []val{x, y})
	}
	all["Clip"] = func(g *gen) {
		x := g.pick(f32, 0)
		g.node("Clip", f32, x.shape, []val{x, g.float(-1), g.float(1)})
	}
	all["Dropout"] = func(g *gen) {
		x := g.pick(f32, 0)
		g.node("Dropout", f32, x.shape, []val{x})
	}
	all["QuantizeLinear"] = func(g *gen) {
		x := g.pick(f32, 1)
		axis := g.axis(x)
		scale, zero := g.float(0.1), g.weight(g.tensor(infer.Uint8, []int64{}))
		if d := x.shape[(axis+int64(len(x.shape)))%int64(len(x.shape))]; d > 0 && g.IntN(2) == 0 {
			scale, zero = g.float(0.1, d), g.weight(g.tensor(infer.Uint8, []int64{d}))
		}
		q := g.node("QuantizeLinear", infer.Uint8, x.shape, []val{x, scale, zero}, int2("axis", axis))
		if g.IntN(2) == 0 {
			g.node("DequantizeLinear", f32, x.shape, []val{q, scale, zero}, int2("axis", axis))
		}
	}
	all["DequantizeLinear"] = func(g *gen) {
		x := g.pick(infer.Uint8, 1)
		g.node("DequantizeLinear", f32, x.shape, []val{x, g.float(0.1), g.weight(g.tensor(infer.Uint8, []int64{}))})
	}
	return all
}

func shapeSnippets() map[string]snippet {
	all := map[string]snippet{}
	all["Reshape"] = func(g *gen) {
		x := g.pick(f32, 0)
		var shape []int64
		for range 1 + g.IntN(4) {
			shape = append(shape, []int64{0, 0, 1, 2, 3, 4, 6, -1}[g.IntN(8)])
		}
		if !slices.Contains(shape, -1) {
			shape[g.IntN(len(shape))] = -1
		}
		if i := slices.Index(shape, -1); slices.Contains(shape[i+1:], -1) {
			shape = slices.Concat(shape[:i+1], slices.DeleteFunc(slices.Clone(shape[i+1:]), func(d int64) bool { return d == -1 }))
		}
		out := slices.Repeat([]int64{otherDim}, len(shape))
		g.node("Reshape", f32, out, []val{x, g.ints(shape...)})
	}
	// As exporters write it: sizes taken from the shape of what is reshaped.
	all["Reshape by Shape"] = func(g *gen) {
		x := g.pick(f32, 1)
		s := g.node("Shape", i64, []int64{int64(len(x.shape))}, []val{x})
		n := int64(len(x.shape))
		parts := []val{}
		for range 1 + g.IntN(3) {
			if g.IntN(2) == 0 {
				parts = append(parts, g.ints([]int64{-1, 1, 2}[g.IntN(3)]))
				continue
			}
			at := g.node("Gather", i64, []int64{1}, []val{s, g.ints(g.Int64N(n))}, int2("axis", 0))
			if g.IntN(3) == 0 {
				at = g.node([]string{"Mul", "Div", "Add"}[g.IntN(3)], i64, []int64{1}, []val{at, g.ints(1 + g.Int64N(2))})
			}
			parts = append(parts, at)
		}
		to := g.node("Concat", i64, nil, parts, int2("axis", 0))
		g.node("Reshape", f32, slices.Repeat([]int64{otherDim}, len(parts)), []val{x, to})
	}
	// Rows that are not outermost on their axis, beside such that are.
	all["Reshape behind Transpose"] = func(g *gen) {
		x := g.pick(f32, 2)
		width := positives(x.shape[len(x.shape)-1:])[0]
		last := int64(1)
		if len(x.shape) > 2 {
			last = width
		}
		a := g.node("Reshape", f32, []int64{otherDim, last}, []val{g.exchanged(x), g.ints(-1, last)})
		b := g.node("Reshape", f32, []int64{otherDim, last}, []val{x, g.ints(-1, last)})
		if g.IntN(2) == 0 {
			a = g.node("Neg", f32, a.shape, []val{b})
		}
		sum := g.node("Add", f32, a.shape, []val{a, b})
		if d := x.shape[1]; d > 0 && len(x.shape) == 2 {
			of := []val{a, sum}[g.IntN(2)]
			g.node("Reshape", f32, []int64{d, rowsDim, last}, []val{of, g.ints(d, -1, last)})
			g.node("Reshape", f32, []int64{rowsDim, d, last}, []val{of, g.ints(-1, d, last)})
		}
	}
	all["Concat of rows"] = func(g *gen) {
		x := g.pick(f32, 2)
		y := g.node("Neg", f32, x.shape, []val{x})
		z := g.node("Concat", f32, slices.Repeat([]int64{otherDim}, len(x.shape)), []val{x, y}, int2("axis", 0))
		if g.IntN(2) == 0 {
			g.node("Reshape", f32, []int64{2, rowsDim, 1}, []val{z, g.ints(2, -1, 1)})
			return
		}
		g.node("Reshape", f32, []int64{rowsDim, 2}, []val{z, g.ints(-1, 2)})
	}
	all["Flatten"] = func(g *gen) {
		x := g.pick(f32, 0)
		g.node("Flatten", f32, []int64{otherDim, otherDim}, []val{x}, int2("axis", g.Int64N(int64(len(x.shape)+1))))
	}
	all["Squeeze"] = func(g *gen) {
		x := g.pick(f32, 1)
		in := []val{x}
		if g.IntN(3) > 0 {
			in = append(in, g.ints(g.axis(x)))
		}
		g.node("Squeeze", f32, slices.Repeat([]int64{otherDim}, len(x.shape)-1), in)
	}
	all["Unsqueeze"] = func(g *gen) {
		x := g.pick(f32, 0)
		at := g.IntN(len(x.shape) + 1)
		g.node("Unsqueeze", f32, slices.Insert(slices.Clone(x.shape), at, 1), []val{x, g.ints(int64(at))})
	}
	all["Transpose"] = func(g *gen) {
		x := g.pick(f32, 2)
		var perm, shape []int64
		for _, p := range g.Perm(len(x.shape)) {
			perm, shape = append(perm, int64(p)), append(shape, x.shape[p])
		}
		g.node("Transpose", f32, shape, []val{x}, attribute{"perm", perm})
	}
	all["Shape"] = func(g *gen) {
		x := g.pick(f32, 0)
		g.node("Shape", i64, []int64{int64(len(x.shape))}, []val{x})
	}
	all["Size"] = func(g *gen) {
		n := g.node("Size", i64, []int64{}, []val{g.pick(f32, 0)})
		n = g.node("Unsqueeze", i64, []int64{1}, []val{n, g.ints(0)})
		g.node("Reshape", f32, []int64{otherDim}, []val{g.pick(f32, 0), n})
	}
	all["Expand"] = func(g *gen) {
		x, like := g.pick(f32, 0), g.pick(f32, 1)
		if g.IntN(2) == 0 {
			x = g.partner(like)
		}
		to := g.node("Shape", i64, nil, []val{like})
		if g.IntN(3) == 0 {
			g.node("Expand", f32, nil, []val{x, g.ints(1+g.Int64N(2), 1)})
			return
		}
		g.node("Expand", f32, joint(x.shape, like.shape), []val{x, to})
	}
	// As torch writes expand: -1 stands for what there is.
	all["Expand by Where"] = func(g *gen) {
		x, like := g.pick(f32, 1), g.pick(f32, 1)
		if g.IntN(2) == 0 {
			x = g.partner(like)
		}
		to := g.node("Shape", i64, []int64{int64(len(like.shape))}, []val{like})
		ones := g.node("ConstantOfShape", i64, []int64{int64(len(like.shape))}, []val{g.ints(int64(len(like.shape)))}, attribute{"value", oneOf(1)})
		minus := g.node("Mul", i64, ones.shape, []val{ones, g.number(-1)})
		is := g.node("Equal", b1, ones.shape, []val{to, minus})
		to = g.node("Where", i64, ones.shape, []val{is, ones, to})
		g.node("Expand", f32, joint(x.shape, like.shape), []val{x, to})
	}
	all["Tile"] = func(g *gen) {
		x := g.pick(f32, 1)
		var times []int64
		for range x.shape {
			times = append(times, 1+g.Int64N(2))
		}
		if g.IntN(2) == 0 {
			times[0] = 1
		}
		g.node("Tile", f32, slices.Repeat([]int64{otherDim}, len(times)), []val{x, g.ints(times...)})
	}
	all["Tile by Shape"] = func(g *gen) {
		like := g.pick(f32, 1)
		first := g.node("Shape", i64, []int64{1}, []val{like}, int2("start", 0), int2("end", 1))
		times := g.node("Concat", i64, []int64{2}, []val{first, g.ints(1)}, int2("axis", 0))
		g.node("Tile", f32, []int64{rowsDim, 3}, []val{g.floats(1, 3), times})
	}
	all["ConstantOfShape"] = func(g *gen) {
		x := g.pick(f32, 1)
		s := g.node("Shape", i64, []int64{int64(len(x.shape))}, []val{x})
		if g.IntN(2) == 0 {
			s = g.node("Concat", i64, nil, []val{g.ints(2), s}, int2("axis", 0))
			g.node("ConstantOfShape", f32, slices.Insert(slices.Clone(x.shape), 0, 2), []val{s})
			return
		}
		g.node("ConstantOfShape", f32, x.shape, []val{s})
	}
	all["Range"] = func(g *gen) {
		x := g.pick(i64, 2)
		s := g.node("Shape", i64, []int64{2}, []val{x})
		n := g.node("Gather", i64, []int64{}, []val{s, g.number(g.Int64N(2))}, int2("axis", 0))
		g.node("Range", i64, []int64{otherDim}, []val{g.number(0), n, g.number(1)})
	}
	all["NonZero"] = func(g *gen) {
		x := g.pick(f32, 1)
		if g.IntN(2) == 0 {
			x = g.floats(2, 3)
			s := g.node("Add", f32, x.shape, []val{x, g.sharedOr(x)})
			x = s
		}
		g.node("NonZero", i64, []int64{otherDim, otherDim}, []val{x})
	}
	all["Slice"] = func(g *gen) {
		x := g.pick(f32, 1)
		start, end, step := g.Int64N(3)-1, []int64{1, 2, 3, -1, 1 << 40}[g.IntN(5)], []int64{1, 1, 1, 2, -1}[g.IntN(5)]
		shape := slices.Repeat([]int64{otherDim}, len(x.shape))
		shape[0] = x.shape[0]
		g.node("Slice", f32, shape, []val{x, g.ints(start), g.ints(end), g.ints(g.axis(x)), g.ints(step)})
	}
	all["Concat"] = func(g *gen) {
		x := g.pick(f32, 1)
		y := x
		if g.IntN(2) == 0 {
			y = g.partner(x)
		}
		shape := slices.Clone(x.shape)
		axis := (g.axis(x) + int64(len(shape))) % int64(len(shape))
		shape[axis] = otherDim
		g.node("Concat", f32, shape, []val{x, y}, int2("axis", axis))
	}
	all["Split"] = func(g *gen) {
		x := g.pick(f32, 1)
		shape := slices.Clone(x.shape)
		axis := (g.axis(x) + int64(len(shape))) % int64(len(shape))
		in, attributes := []val{x}, []attribute{int2("axis", axis)}
		if d := shape[axis]; d > 1 && g.IntN(2) == 0 {
			in = append(in, g.ints(1, d-1))
		} else {
			attributes = append(attributes, int2("num_outputs", 2))
		}
		shape[axis] = otherDim
		g.node("Split", f32, shape, in, attributes...)
		g.more(f32)
	}
	all["Gather"] = func(g *gen) {
		switch g.IntN(3) {
		case 0: // a table, as embeddings are
			ids := g.pick(i64, 1)
			g.node("Gather", f32, append(slices.Clone(ids.shape), 3), []val{g.floats(4, 3), ids}, int2("axis", 0))
		case 1: // places of an axis
			x := g.pick(f32, 1)
			g.node("Gather", f32, slices.Repeat([]int64{otherDim}, len(x.shape)), []val{x, g.ints(0, -1)}, int2("axis", g.axis(x)))
		default: // one place of an axis
			x := g.pick(f32, 1)
			g.node("Gather", f32, slices.Repeat([]int64{otherDim}, len(x.shape)-1), []val{x, g.number(0)}, int2("axis", g.axis(x)))
		}
	}
	all["GatherElements"] = func(g *gen) {
		x, ids := g.pick(f32, 2), g.pick(i64, 2)
		g.node("GatherElements", f32, ids.shape, []val{x, ids}, int2("axis", g.axis(ids)))
	}
	all["GatherND"] = func(g *gen) {
		ids := g.pick(i64, 2)
		if g.IntN(2) == 0 {
			g.node("GatherND", f32, nil, []val{g.floats(4, 4, 4, 2), ids})
			return
		}
		g.node("GatherND", f32, nil, []val{g.pick(f32, 2), ids}, int2("batch_dims", 1))
	}
	all["ScatterElements"] = func(g *gen) {
		x, ids := g.pick(f32, 2), g.pick(i64, 2)
		updates := g.node("Cast", f32, ids.shape, []val{ids}, int2("to", 1))
		g.node("ScatterElements", f32, x.shape, []val{x, ids, updates}, int2("axis", g.axis(x)), attribute{"reduction", []string{"none", "add"}[g.IntN(2)]})
	}
	all["Pad"] = func(g *gen) {
		x := g.pick(f32, 1)
		pads := make([]int64, 2*len(x.shape))
		for range 1 + g.IntN(2) {
			pads[g.IntN(len(pads))] = g.Int64N(3)
		}
		shape := slices.Repeat([]int64{otherDim}, len(x.shape))
		if pads[0] == 0 && pads[len(x.shape)] == 0 {
			shape[0] = x.shape[0]
		}
		g.node("Pad", f32, shape, []val{x, g.ints(pads...), g.float(0)}, attribute{"mode", []string{"constant", "edge", "reflect", "wrap"}[g.IntN(4)]})
	}
	for _, op := range []string{"DepthToSpace", "SpaceToDepth"} {
		all[op] = func(g *gen) {
			x := g.images(4, 2, 2)
			g.node(op, f32, nil, []val{x}, int2("blocksize", 2))
		}
	}
	all["If"] = func(g *gen) {
		x := g.pick(f32, 1)
		c := g.node("Less", b1, []int64{}, []val{g.float(0), g.scalarShared()})
		branch := func(op string) model {
			return model{nodes: []node{{op: op, inputs: []string{x.name}, outputs: []string{"inner" + op}}}, outputs: []string{"inner" + op}}
		}
		g.node("If", f32, x.shape, []val{c}, attribute{"then_branch", branch("Relu")}, attribute{"else_branch", branch("Neg")})
	}
	return all
}

// images is an input with rows of a shape; sometimes one whose rows are not on
// its first axis any more.
func (g *gen) images(shape ...int64) val {
	shape = slices.Insert(shape, 0, rowsDim)
	g.input("images"+strconv.Itoa(len(g.m.inputs)), f32, shape)
	x := g.values[len(g.values)-1]
	if g.IntN(8) == 0 && len(shape) > 1 {
		perm := []int64{1, 0}
		for i := 2; i < len(shape); i++ {
			perm = append(perm, int64(i))
		}
		shape = slices.Clone(shape)
		shape[0], shape[1] = shape[1], shape[0]
		x = g.node("Transpose", f32, shape, []val{x}, attribute{"perm", perm})
	}
	return x
}

// exchanged is x with its first two axes exchanged.
func (g *gen) exchanged(x val) val {
	if len(x.shape) < 2 {
		return x
	}
	perm, shape := []int64{1, 0}, slices.Clone(x.shape)
	for i := 2; i < len(shape); i++ {
		perm = append(perm, int64(i))
	}
	shape[0], shape[1] = shape[1], shape[0]
	return g.node("Transpose", f32, shape, []val{x}, attribute{"perm", perm})
}

// sharedOr is an input without rows; scalarShared is one of one number.
func (g *gen) sharedOr(like val) val {
	name := "plain" + like.name
	g.input(name, f32, like.shape)
	return g.values[len(g.values)-1]
}

func (g *gen) scalarShared() val {
	g.input("scalar"+string(rune('a'+len(g.m.inputs))), f32, []int64{})
	return g.values[len(g.values)-1]
}

func oneOf(n int64) infer.Tensor {
	return infer.Tensor{DataType: i64, Shape: []int64{1}, Data: []byte{byte(n), 0, 0, 0, 0, 0, 0, 0}}
}
