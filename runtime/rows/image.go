package rows

import "slices"

// convInteger is Conv of integers less zero points.
func convInteger(c *call) []value {
	if !c.need(2, 4) || c.counted() || !c.fixed(1) {
		return nil
	}
	if zero := c.arg(2); zero.kind != absent && !zero.one() {
		return c.refuse("has several zero points for rows")
	}
	return c.convolve(c.in[0], c.in[1], false)
}

// qLinearConv is Conv of values that were quantized by scales that are known
// beforehand.
func qLinearConv(c *call) []value {
	if !c.need(8, 9) || c.counted() || !c.fixed(1) {
		return nil
	}
	for _, i := range []int{1, 2, 6, 7} {
		if !c.in[i].one() {
			return c.refuse("has scales that are not one number")
		}
	}
	if c.flag("channels_last", 0) {
		return c.channelsLast(c.in[0])
	}
	return c.convolve(c.in[0], c.in[3], false)
}

// channelsLast is a result of images whose channels are after their size.
func (c *call) channelsLast(x value) []value {
	if !c.images(x) {
		return nil
	}
	if x.kind == same {
		return c.sames(1)
	}
	dims := slices.Clone(x.dims)
	for i := 1; i < len(dims); i++ {
		dims[i] = c.someSize()
	}
	return []value{x.where(dims)}
}

// resize scales axes; that of the rows by 1, or to as many as there are. Kernels
// that interpolate weigh neighbours along each axis that they do not leave out,
// also where the weight is 0, and 0 times what is not finite is NaN: those leave
// out the first two axes alone, and only of four or more.
func resize(c *call) []value {
	if !c.need(1, 4) {
		return nil
	}
	x := c.in[0]
	for i, v := range c.in[1:] {
		if v.kind == byRow || v.kind == count && i != 2 {
			return c.refuse("takes rows, or their number, as its input %d", i+1)
		}
	}
	switch mode := c.text("coordinate_transformation_mode", "half_pixel"); mode {
	case "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric":
	default:
		return c.refuse("takes places by the mode %s, which is not followed", cut(mode))
	}
	if c.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
		return c.refuse("scales all axes by the sizes of all")
	}
	axes := c.integers("axes")
	if c.why != "" {
		return nil
	}
	if x.kind == count {
		return c.refuse("takes the number of rows as a value")
	}
	scales, sizes := c.arg(2), c.arg(3)
	if c.n.Op == "Upsample" || c.n.Since < 11 {
		scales, sizes = c.arg(1), value{}
		if c.n.Attribute("scales") != nil || !c.no(2) {
			return c.refuse("has scales that are not known")
		}
	}
	if !x.ranked {
		return c.sames(1)
	}
	list := make([]int64, 0, len(x.dims))
	if axes == nil {
		for i := range x.dims {
			list = append(list, int64(i))
		}
	} else {
		list = append(list, axes...)
	}
	dims := slices.Clone(x.dims)
	left := make([]bool, len(x.dims)) // those that stay as they are
	for i := range left {
		left[i] = axes != nil && !slices.Contains(c.axes(list, len(x.dims)), i)
	}
	for i, axis := range c.axes(list, len(x.dims)) {
		whole, d := c.scaledTo(x.dims[axis], i, len(list), scales, sizes)
		if x.kind == byRow && axis == x.axis && !whole {
			return c.refuse("scales the axis that the rows are on")
		}
		if d.hasRows() && (x.kind != byRow || axis != x.axis) {
			return c.refuse("makes an axis as long as there are rows")
		}
		dims[axis], left[axis] = d, whole
	}
	apart := x.axis == 0 && len(x.dims) >= 4 && left[0] && left[1]
	if x.kind == byRow && c.text("mode", "nearest") != "nearest" && !apart {
		return c.refuse("interpolates over the axis that the rows are on")
	}
	return []value{x.where(dims)}
}

// scaledTo is what an axis becomes, and whether that is what it was.
func (c *call) scaledTo(d mono, i, n int, scales, sizes value) (whole bool, to mono) {
	if s, ok := sizes.vector(); sizes.kind != absent && ok && len(s) == n {
		to = c.size(s[i])
		return to == d, to
	}
	if s, ok := scales.vector(); scales.kind != absent && ok && len(s) == n && sizes.kind == absent && s[i].kind == decimal {
		if s[i].f == 1 {
			return true, d
		}
		if n, ok := d.constant(); ok && s[i].f > 0 && s[i].f < 1024 && s[i].f == float32(int64(s[i].f)) && n < 1<<30 {
			return false, number(n * int64(s[i].f))
		}
	}
	return false, c.someSize()
}

// pad adds before and after axes; nothing to the rows.
func pad(c *call) []value {
	if !c.need(1, 4) || !c.fixed(1) {
		return nil
	}
	x := c.in[0]
	if x.kind == count {
		return c.refuse("takes the number of rows as a value")
	}
	pads, there := c.given("pads", 11)
	partly := []elem(nil)
	if c.n.Since >= 11 {
		c.why = ""
		partly, there = c.arg(1).vector()
	}
	for _, n := range pads {
		if c.n.Since < 11 {
			partly = append(partly, integer(n))
		}
	}
	if !x.ranked {
		return c.sames(1)
	}
	axes := make([]int, 0, len(x.dims))
	if v := c.arg(3); v.kind != absent {
		list, ok := v.constants()
		if !ok {
			return c.refuse("has axes that are not constant")
		}
		axes = c.axes(list, len(x.dims))
	} else {
		for i := range x.dims {
			axes = append(axes, i)
		}
	}
	if !there || len(partly) != 2*len(axes) {
		if x.kind == same {
			return c.sames(1)
		}
		return c.refuse("adds as much as is not known")
	}
	dims := slices.Clone(x.dims)
	for i, axis := range axes {
		before, after := partly[i], partly[i+len(axes)]
		if before.is(0) && after.is(0) {
			continue
		}
		if x.kind == byRow && axis == x.axis {
			return c.refuse("adds to the rows")
		}
		dims[axis] = c.someSize()
		if before.kind == whole && after.kind == whole {
			if both, ok := add(c.symbols, before.n, after.n); ok {
				if d, ok := add(c.symbols, x.dims[axis], both); ok && c.bound(d) != anything {
					dims[axis] = d
				}
			}
		}
	}
	return []value{x.where(dims)}
}

// gridSample samples each image at the places in the same row of a grid.
func gridSample(c *call) []value {
	if !c.need(2, 2) || c.counted() {
		return nil
	}
	x, grid := c.in[0], c.in[1]
	if c.allSame() {
		return c.sames(1)
	}
	if x.kind != byRow || grid.kind != byRow || x.axis != 0 || grid.axis != 0 || x.outer != grid.outer || x.dims[0] != grid.dims[0] || len(x.dims) < 3 || len(grid.dims) != len(x.dims) {
		return c.refuse("takes for rows what depends on other rows")
	}
	return []value{x.where(slices.Concat(x.dims[:2], grid.dims[1:len(grid.dims)-1]))}
}
