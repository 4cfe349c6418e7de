package rows

import "slices"

// quantRules are of ONNX Runtime's own operators of values that were quantized by
// scales that are known beforehand.
func quantRules(put putter) {
	const window = "auto_pad dilations group kernel_shape pads strides"
	put(contrib, entry{rule: qLinearPair}, "QLinearAdd", "QLinearMul")
	put(contrib, entry{rule: qLinearSingle, attributes: "alpha"}, "QLinearSigmoid", "QLinearLeakyRelu")
	put(contrib, entry{rule: qLinearConv, attributes: window + " channels_last"}, "QLinearConv")
	put(contrib, entry{rule: qLinearSoftmax, attributes: "axis opset"}, "QLinearSoftmax")
	put(contrib, entry{rule: qLinearPool, attributes: "auto_pad ceil_mode channels_last count_include_pad kernel_shape pads strides"}, "QLinearAveragePool")
	put(contrib, entry{rule: qLinearPool, attributes: "channels_last"}, "QLinearGlobalAveragePool")
	put(contrib, entry{rule: lastPool, attributes: "auto_pad ceil_mode dilations kernel_shape pads strides"}, "NhwcMaxPool")
	put(contrib, entry{rule: qLinearConcat, attributes: "axis"}, "QLinearConcat")
	put(contrib, entry{rule: qGemm, attributes: "alpha transA transB"}, "QGemm")
	put(contrib, entry{rule: integersToFloat}, "MatMulIntegerToFloat")
	put(contrib, entry{rule: matMulBits, attributes: "K N accuracy_level bits block_size weight_prepacked"}, "MatMulNBits")
}

// qLinearPair is of two quantized values: each with a scale and a zero point,
// which are one number.
func qLinearPair(c *call) []value {
	if !c.need(7, 8) {
		return nil
	}
	if !c.scalars(1, 2, 4, 5, 6, 7) {
		return nil
	}
	return c.broadcast(nil, c.in[0], c.in[3])
}

func qLinearSingle(c *call) []value {
	if !c.need(4, 5) || !c.scalars(1, 2, 3, 4) {
		return nil
	}
	return c.broadcast(nil, c.in[0])
}

// integersToFloat is MatMul of integers: by two scales, two zero points and a
// bias, the same for all rows.
func integersToFloat(c *call) []value {
	if !c.need(4, 7) || c.counted() || !c.fixed(1) || !c.scalars(2, 4) {
		return nil
	}
	if bias := c.arg(6); bias.kind != absent && (!bias.ranked || len(bias.dims) != 1) {
		return c.refuse("has a bias of a rank that does not fit")
	}
	return c.product(c.in[0], c.in[1])
}

// scalars reports whether inputs, where they are there, are one number that is the
// same for all rows.
func (c *call) scalars(places ...int) bool {
	for _, i := range places {
		if v := c.arg(i); v.kind != absent && (v.kind != same || !v.one()) {
			c.refuse("has scales that are not one number")
			return false
		}
	}
	return true
}

// quantized reports whether what follows the first input are scales and zero points
// that are one number each, the same for all rows.
func (c *call) quantized() bool {
	return c.need(4, 5) && !c.counted() && c.scalars(1, 2, 3, 4)
}

// qLinearSoftmax is Softmax as the opset in an attribute has it.
func qLinearSoftmax(c *call) []value {
	if !c.quantized() {
		return nil
	}
	opset := c.integer("opset", 0)
	axis := c.integer("axis", -1)
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	if at := c.axisOf(axis, len(x.dims)); at == x.axis || opset < 13 && at < x.axis {
		return c.refuse("is over the axis that the rows are on")
	}
	return []value{x.plain()}
}

// qLinearPool is a pool, or a global one, of channels that may be last.
func qLinearPool(c *call) []value {
	if !c.quantized() {
		return nil
	}
	c.in = c.in[:1]
	switch {
	case c.flag("channels_last", 0):
		return lastPool(c)
	case c.n.Op == "QLinearGlobalAveragePool":
		return globalPool(c)
	}
	return pool(c)
}

// lastPool is a pool of images whose channels are after their size.
func lastPool(c *call) []value {
	if !c.need(1, 1) || c.counted() || !c.images(c.in[0]) {
		return nil
	}
	x := c.in[0]
	if !x.ranked || len(x.dims) < 3 {
		return c.sames(1)
	}
	last := len(x.dims) - 1
	if c.n.Op == "QLinearGlobalAveragePool" {
		dims := slices.Clone(x.dims)
		for i := 1; i < last; i++ {
			dims[i] = number(1)
		}
		return []value{x.where(dims)}
	}
	first := x.where(slices.Concat(x.dims[:1], x.dims[last:], x.dims[1:last]))
	out := c.slid(first, first.dims[1], c.window(first))
	return []value{out.where(slices.Concat(out.dims[:1], out.dims[2:], out.dims[1:2]))}
}

// qLinearConcat joins values along an axis, each with a scale and a zero point,
// after those of what comes of it.
func qLinearConcat(c *call) []value {
	if !c.need(5, 30_000) || c.counted() {
		return nil
	}
	if !c.scalars(0, 1) {
		return nil
	}
	if len(c.in)%3 != 2 {
		return c.refuse("has too few inputs")
	}
	if c.n.Attribute("axis") == nil {
		return c.refuse("has no axis")
	}
	var in []value
	for i := 2; i < len(c.in); i += 3 {
		if c.in[i].kind == absent {
			return c.refuse("has too few inputs")
		}
		if !c.scalars(i+1, i+2) {
			return nil
		}
		in = append(in, c.in[i].plain())
	}
	if c.allSame() {
		return c.sames(1)
	}
	return c.joined(c.integer("axis", 0), in)
}

// qGemm is Gemm: a, its scale and zero point, b, its own, c, and those of what
// comes of it. The scales of b may be one for each column.
func qGemm(c *call) []value {
	if !c.need(6, 9) || c.counted() || !c.scalars(1, 2, 7, 8) {
		return nil
	}
	for i, v := range c.in[3:] {
		if v.kind == byRow {
			return c.refuse("takes rows as its input %d, which must be the same for all of them", i+3)
		}
	}
	for _, i := range []int{4, 5} {
		if v := c.in[i]; !v.ranked || len(v.dims) > 1 {
			return c.refuse("has a scale of a rank that does not fit")
		}
	}
	a := c.turned(c.in[0], c.flag("transA", 0))
	b := c.turned(c.in[3], c.flag("transB", 0))
	if c.why != "" {
		return nil
	}
	if a.kind == byRow && len(a.dims) != 2 {
		return c.refuse("multiplies what is no matrix")
	}
	out := c.product(a, b)
	if c.why != "" || c.arg(6).kind == absent {
		return out
	}
	return c.broadcast(nil, out[0], c.arg(6))
}

// matMulBits is MatMul with one matrix of few bits, and its scales: all of it the
// same for all rows. The rows are before what is summed over.
func matMulBits(c *call) []value {
	if !c.need(3, 6) {
		return nil
	}
	columns := c.integer("N", 0)
	if c.integer("weight_prepacked", 0) != 0 {
		return c.refuse("has weights that were packed for other devices")
	}
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	last := len(x.dims) - 1
	if x.axis == last {
		return c.refuse("sums over the rows")
	}
	if columns < 1 {
		return c.refuse("has no number of columns")
	}
	return []value{x.where(x.with(last, number(columns)))}
}
