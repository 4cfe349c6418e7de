package rows

import "slices"

// softmax is over one axis, and up to version 12 over all from it on.
func softmax(c *call) []value {
	if !c.need(1, 1) {
		return nil
	}
	byDefault := int64(-1)
	if c.n.Since < 13 {
		byDefault = 1
	}
	axis := c.integer("axis", byDefault)
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	at := c.axisOf(axis, len(x.dims))
	if at == x.axis || c.n.Since < 13 && at < x.axis {
		return c.refuse("is over the axis that the rows are on")
	}
	return []value{x.plain()}
}

// layerNorm is over all axes from one on; its scale and bias are the same for
// all rows.
func layerNorm(c *call) []value {
	if !c.need(2, 3) {
		return nil
	}
	axis := c.integer("axis", -1)
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	if c.axisOf(axis, len(x.dims)) <= x.axis {
		return c.refuse("is over the axis that the rows are on")
	}
	return c.scaled(x, 1)
}

// scaled is x with inputs, from one on, that are broadcast to it. Other outputs
// are not followed.
func (c *call) scaled(x value, from int) []value {
	for _, v := range c.in[from:] {
		if v.kind == absent {
			continue
		}
		if !v.ranked || len(v.dims) > len(x.dims) {
			return c.refuse("has a scale of a rank that does not fit")
		}
		if c.broadcast(nil, x, v); c.why != "" {
			return nil
		}
	}
	return []value{x.plain()}
}

// skipNorm adds a value of the same rows, or one for all of them, and normalizes
// the last axis. Its fourth output is the sum.
func skipNorm(c *call) []value {
	if !c.need(3, 5) || c.counted() || !c.fixed(2) {
		return nil
	}
	sum := c.broadcast(nil, c.in[0], c.in[1])
	if c.why != "" {
		return nil
	}
	x := c.in[0]
	if sum[0].kind == same {
		return c.sames(len(c.n.Outputs))
	}
	if x.kind != byRow || c.in[1].kind == byRow && !c.aligned(x, c.in[1]) {
		return c.refuse("adds rows to what has not the same rows")
	}
	if x.axis == len(x.dims)-1 {
		return c.refuse("is over the axis that the rows are on")
	}
	if x = c.scaledBy(x, c.in[2:]); c.why != "" {
		return nil
	}
	return []value{x, {}, {}, x}
}

// scaledBy holds what is broadcast along the last axis to it.
func (c *call) scaledBy(x value, scales []value) value {
	for _, v := range scales {
		if v.kind != absent && (!v.ranked || len(v.dims) != 1) {
			c.refuse("has a scale of a rank that does not fit")
		}
	}
	return x.plain()
}

// channelNorm is over each image, by its channels: rows on the first axis.
func channelNorm(c *call) []value {
	if !c.need(1, 3) {
		return nil
	}
	x, done := c.data()
	if done != nil || c.why != "" || !c.images(x) {
		return done
	}
	for _, v := range c.in[1:] {
		if v.kind != absent && (!v.ranked || len(v.dims) != 1) {
			return c.refuse("has a scale of a rank that does not fit")
		}
	}
	return []value{x.plain()}
}

// batchNorm is by what is known beforehand, where it is not for training.
func batchNorm(c *call) []value {
	if !c.need(5, 5) {
		return nil
	}
	if c.flag("training_mode", 0) || c.integer("spatial", 1) != 1 || len(c.n.Outputs) > 1 {
		return c.refuse("is for training, over all rows together")
	}
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	if x.axis == 1 || len(x.dims) < 2 {
		return c.refuse("has a scale for each row")
	}
	return []value{x.plain()}
}

// meanVariance normalizes over a list of axes, by default the first among them.
func meanVariance(c *call) []value {
	if !c.need(1, 1) {
		return nil
	}
	axes := c.integers("axes")
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	if axes == nil {
		axes = []int64{0, 2, 3}
	}
	if slices.Contains(c.axes(axes, len(x.dims)), x.axis) {
		return c.refuse("is over the axis that the rows are on")
	}
	return []value{x.plain()}
}

// alongAxis works along one axis, which is not that of the rows, by attributes
// and by inputs that are the same for all of them.
func alongAxis(byDefault int64, inputs int) rule {
	return func(c *call) []value {
		if !c.need(1, inputs) {
			return nil
		}
		axis := c.integer("axis", byDefault)
		x, done := c.data()
		if done != nil || c.why != "" {
			return done
		}
		if c.axisOf(axis, len(x.dims)) == x.axis {
			return c.refuse("is over the axis that the rows are on")
		}
		return []value{x.plain()}
	}
}

// cumSum adds up along the axis that an input names.
func cumSum(c *call) []value {
	if !c.need(2, 2) {
		return nil
	}
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	list, ok := c.in[1].constants()
	if !ok || len(list) != 1 {
		return c.refuse("has an axis that is not constant")
	}
	if c.axisOf(list[0], len(x.dims)) == x.axis {
		return c.refuse("is over the axis that the rows are on")
	}
	return []value{x.plain()}
}

// topK has the largest of an axis, and their places.
func topK(c *call) []value {
	if !c.need(1, 2) {
		return nil
	}
	axis := c.integer("axis", -1)
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	at := c.axisOf(axis, len(x.dims))
	if at == x.axis {
		return c.refuse("sorts the rows")
	}
	d := c.someSize()
	if c.n.Since < 10 {
		d = number(max(c.integer("k", 0), 0))
	} else if k, ok := c.arg(1).constants(); ok && len(k) == 1 && k[0] >= 0 {
		d = number(k[0])
	}
	out := x.where(x.with(at, d))
	return []value{out, out}
}

// reduce works over axes: an attribute, or an input from a version on. None are
// all of them.
func reduce(since int) rule {
	return func(c *call) []value {
		if !c.need(1, 2) || !c.fixed(1) {
			return nil
		}
		x := c.in[0]
		keep := c.flag("keepdims", 1)
		nothing := c.flag("noop_with_empty_axes", 0)
		list, there := c.given("axes", since)
		if nothing && c.n.Since < since {
			return c.refuse("has the attribute noop_with_empty_axes, which its version has not")
		}
		if x.kind == count {
			return c.refuse("computes something of the number of rows that is not a multiple of it")
		}
		if x.kind == same && (!x.ranked || c.why != "") {
			c.why = ""
			return c.sames(1)
		}
		if !there || len(list) == 0 {
			if nothing {
				return []value{x.plain()}
			}
			for i := range x.dims {
				list = append(list, int64(i))
			}
		}
		return []value{c.without(x, c.axes(list, len(x.dims)), keep)}
	}
}

// without is x with axes reduced to 1, or dropped.
func (c *call) without(x value, axes []int, keep bool) value {
	if x.kind == byRow && slices.Contains(axes, x.axis) {
		c.refuse("is over the axis that the rows are on")
		return value{}
	}
	var dims []mono
	out := x
	for i, d := range x.dims {
		if i == x.axis {
			out.axis = len(dims)
		}
		switch {
		case !slices.Contains(axes, i):
			dims = append(dims, d)
		case keep:
			dims = append(dims, number(1))
		}
	}
	return out.where(dims)
}

// reduceProduct is reduce, and follows shape arithmetic.
func reduceProduct(c *call) []value {
	x := c.arg(0)
	elems, ok := x.vector()
	list, there := c.given("axes", 18)
	if ok && len(x.dims) == 1 && len(elems) > 0 && (!there || len(list) == 1 && (list[0] == 0 || list[0] == -1)) && !c.flag("noop_with_empty_axes", 0) {
		e, ok := folded(wholes(mul))(c.symbols, elems)
		if !ok {
			return c.refuse("computes something of the number of rows that is not a multiple of it")
		}
		dims := []mono{}
		if c.flag("keepdims", 1) {
			dims = append(dims, number(1))
		}
		return []value{small(dims, []elem{e})}
	}
	return reduce(18)(c)
}

// arg has the place of the largest or smallest of an axis, by default the first.
func argOf(c *call) []value {
	if !c.need(1, 1) {
		return nil
	}
	axis, keep := c.integer("axis", 0), c.flag("keepdims", 1)
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	return []value{c.without(x, c.axes([]int64{axis}, len(x.dims)), keep)}
}

// oneHot adds an axis of a size that is the same for all rows.
func oneHot(c *call) []value {
	if !c.need(3, 3) {
		return nil
	}
	axis := c.integer("axis", -1)
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	at := c.axisOf(axis, len(x.dims)+1)
	if c.why != "" {
		return nil
	}
	d := c.someSize()
	if depth, ok := c.in[1].constants(); ok && len(depth) == 1 && depth[0] >= 0 {
		d = number(depth[0])
	}
	out := x.where(slices.Insert(slices.Clone(x.dims), at, d))
	if at <= x.axis {
		out.axis++
	}
	return []value{out}
}

// matrixwise works on the last two axes.
func matrixwise(inputs int) rule {
	return func(c *call) []value {
		if !c.need(1, inputs) {
			return nil
		}
		x, done := c.data()
		if done != nil || c.why != "" {
			return done
		}
		if x.axis >= len(x.dims)-2 {
			return c.refuse("is over the axis that the rows are on")
		}
		return []value{x.plain()}
	}
}
