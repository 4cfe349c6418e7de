package rows_test

import (
	"slices"
	"strings"
)

func axisSnippets() map[string]snippet {
	all := map[string]snippet{}
	for _, op := range []string{"Softmax", "LogSoftmax", "Hardmax", "LpNormalization"} {
		all[op] = func(g *gen) {
			x := g.pick(f32, 1)
			if len(g.m.nodes) == 0 && g.IntN(3) == 0 {
				g.m.opset = 11 // when it was over all axes from one on
				if len(x.shape) > 1 && g.IntN(3) > 0 {
					x = g.exchanged(x)
				}
			}
			g.node(op, f32, x.shape, []val{x}, int2("axis", g.axis(x)))
		}
	}
	all["LayerNormalization"] = func(g *gen) {
		x := g.pick(f32, 1)
		axis := (g.axis(x) + int64(len(x.shape))) % int64(len(x.shape))
		scale := g.floats(positives(x.shape[axis:])...)
		in := []val{x, scale}
		if g.IntN(2) == 0 {
			in = append(in, g.floats(positives(x.shape[axis:])...))
		}
		g.node("LayerNormalization", f32, x.shape, in, int2("axis", axis))
	}
	all["RMSNormalization"] = func(g *gen) {
		x := g.pick(f32, 2)
		g.m.opset = 23
		g.node("RMSNormalization", f32, x.shape, []val{x, g.floats(positives(x.shape[1:])...)}, int2("axis", 1))
	}
	// What the optimiser makes SimplifiedLayerNormalization of.
	all["SimplifiedLayerNormalization"] = func(g *gen) {
		x := g.pick(f32, 2)
		two := g.node("Pow", f32, x.shape, []val{x, g.float(2)})
		mean := g.node("ReduceMean", f32, x.shape, []val{two, g.ints(-1)}, int2("keepdims", 1))
		mean = g.node("Add", f32, x.shape, []val{mean, g.float(1e-6)})
		root := g.node("Sqrt", f32, x.shape, []val{mean})
		out := g.node("Div", f32, x.shape, []val{x, root})
		g.node("Mul", f32, x.shape, []val{g.floats(positives(x.shape[len(x.shape)-1:])...), out})
	}
	all["InstanceNormalization"] = func(g *gen) {
		x := g.pick(f32, 3)
		c := positives(x.shape[1:2])
		g.node("InstanceNormalization", f32, x.shape, []val{x, g.floats(c...), g.floats(c...)})
	}
	all["GroupNormalization"] = func(g *gen) {
		x := g.pick(f32, 3)
		c := positives(x.shape[1:2])
		g.node("GroupNormalization", f32, x.shape, []val{x, g.floats(c...), g.floats(c...)}, int2("num_groups", 1))
	}
	all["LRN"] = func(g *gen) {
		x := g.pick(f32, 3)
		g.node("LRN", f32, x.shape, []val{x}, int2("size", 3))
	}
	all["BatchNormalization"] = func(g *gen) {
		x := g.pick(f32, 2)
		c := positives(x.shape[1:2])
		g.node("BatchNormalization", f32, x.shape, []val{x, g.floats(c...), g.floats(c...), g.floats(c...), g.float(1, c...)})
	}
	all["MeanVarianceNormalization"] = func(g *gen) {
		x := g.pick(f32, 1)
		axes := []attribute{{"axes", []int64{g.Int64N(int64(len(x.shape)))}}}
		if len(x.shape) == 4 && g.IntN(2) == 0 {
			axes = nil
		}
		g.node("MeanVarianceNormalization", f32, x.shape, []val{x}, axes...)
	}
	all["CumSum"] = func(g *gen) {
		x := g.pick(f32, 1)
		g.node("CumSum", f32, x.shape, []val{x, g.number(g.axis(x))}, int2("reverse", g.Int64N(2)), int2("exclusive", g.Int64N(2)))
	}
	all["TopK"] = func(g *gen) {
		x := g.pick(f32, 1)
		shape := slices.Clone(x.shape)
		axis := (g.axis(x) + int64(len(shape))) % int64(len(shape))
		shape[axis] = 1
		g.node("TopK", f32, shape, []val{x, g.ints(1)}, int2("axis", axis))
		g.more(i64)
	}
	for _, op := range strings.Fields("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare") {
		all[op] = func(g *gen) {
			x := g.pick(f32, 1)
			in := []val{x}
			keep := g.Int64N(2)
			shape := slices.Clone(x.shape)
			if g.IntN(5) > 0 {
				axis := (g.axis(x) + int64(len(shape))) % int64(len(shape))
				in = append(in, g.ints(axis))
				if shape[axis] = 1; keep == 0 {
					shape = slices.Delete(shape, int(axis), int(axis)+1)
				}
			}
			g.node(op, f32, shape, in, int2("keepdims", keep), int2("noop_with_empty_axes", g.Int64N(2)))
		}
	}
	for _, op := range []string{"ArgMax", "ArgMin"} {
		all[op] = func(g *gen) {
			x := g.pick(f32, 1)
			axis := (g.axis(x) + int64(len(x.shape))) % int64(len(x.shape))
			g.node(op, i64, slices.Delete(slices.Clone(x.shape), int(axis), int(axis)+1), []val{x}, int2("axis", axis), int2("keepdims", 0))
		}
	}
	all["OneHot"] = func(g *gen) {
		ids := g.pick(i64, 1)
		at := g.IntN(len(ids.shape) + 1)
		g.node("OneHot", f32, slices.Insert(slices.Clone(ids.shape), at, 5), []val{ids, g.number(5), g.floats(2)}, int2("axis", int64(at)))
	}
	all["Trilu"] = func(g *gen) {
		x := g.pick(f32, 2)
		g.node("Trilu", f32, x.shape, []val{x, g.number(g.Int64N(3) - 1)}, int2("upper", g.Int64N(2)))
	}
	all["ReverseSequence"] = func(g *gen) {
		x, lengths := g.pick(f32, 2), g.pick(i64, 1)
		one := g.node("ReduceMax", i64, []int64{rowsDim}, []val{lengths, g.ints(1)}, int2("keepdims", 0))
		batch := g.Int64N(2)
		g.node("ReverseSequence", f32, x.shape, []val{x, one}, int2("batch_axis", batch), int2("time_axis", 1-batch))
	}
	all["DFT"] = func(g *gen) {
		x := g.pick(f32, 1)
		x = g.node("Unsqueeze", f32, append(slices.Clone(x.shape), 1), []val{x, g.ints(-1)})
		g.node("DFT", f32, append(slices.Clone(x.shape[:len(x.shape)-1]), 2), []val{x, {}, g.number(g.Int64N(int64(len(x.shape) - 1)))})
	}
	all["STFT"] = func(g *gen) {
		x := g.images(16)
		g.node("STFT", f32, []int64{rowsDim, otherDim, otherDim, 2}, []val{x, g.number(4), g.floats(8)})
	}
	return all
}

// positives are a shape's sizes, with 2 for what is not known.
func positives(shape []int64) []int64 {
	out := slices.Clone(shape)
	for i := range out {
		if out[i] < 0 {
			out[i] = 2
		}
	}
	return out
}
