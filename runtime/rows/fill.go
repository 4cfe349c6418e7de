package rows

import "slices"

// expand broadcasts its input to a shape.
func expand(c *call) []value {
	if !c.need(2, 2) {
		return nil
	}
	x, shape := c.in[0], c.in[1]
	sizes, known := shape.vector()
	switch {
	case shape.kind == byRow:
		return c.refuse("takes a shape that is computed of rows")
	case x.kind == count:
		return c.expandElems(x, shape)
	case !known || len(shape.dims) != 1 || !x.ranked:
		if c.allSame() {
			return c.sames(1)
		}
		return c.refuse("takes a shape that is not known")
	}
	to := make([]mono, len(sizes))
	for i, e := range sizes {
		to[i] = c.size(e)
	}
	target := value{kind: same, ranked: true, dims: to}
	if shape.kind == count {
		if target = c.filled(to); c.why != "" {
			return nil
		}
		if x.kind == byRow {
			target.outer = x.outer
		}
	}
	if x.elems != nil && x.kind == same && shape.kind == same {
		target.elems = nil
		if v, ok := c.compute(keep, []value{x, c.zeros(to)}); ok {
			return []value{v}
		}
	}
	return c.broadcast(nil, x.plain(), target)
}

// zeros are of dims, where they are few and constant.
func (c *call) zeros(dims []mono) value {
	n, ok := product(dims)
	size, constant := n.constant()
	if !ok || !constant || size < 0 || size > maxElems {
		return fixed(dims...)
	}
	elems := make([]elem, size)
	for i := range elems {
		elems[i] = integer(0)
	}
	return small(dims, elems)
}

func (c *call) expandElems(x, shape value) []value {
	sizes, ok := shape.constants()
	if !ok {
		return c.refuse("takes the number of rows as a value")
	}
	dims := make([]mono, len(sizes))
	for i, n := range sizes {
		if n < 1 || n > maxElems {
			return c.refuse("takes the number of rows as a value")
		}
		dims[i] = number(n)
	}
	v, ok := c.compute(keep, []value{x, c.zeros(dims)})
	if !ok {
		return c.refuse("takes the number of rows as a value")
	}
	return []value{v}
}

// tile repeats its input along each axis: rows only where there were none.
func tile(c *call) []value {
	if !c.need(2, 2) {
		return nil
	}
	x, repeats := c.in[0], c.in[1]
	times, known := repeats.vector()
	if x.kind == count || repeats.kind == byRow {
		return c.refuse("takes the number of rows as a value, or rows as how often")
	}
	if !known || !x.ranked || len(times) != len(x.dims) {
		if c.allSame() {
			return c.sames(1)
		}
		return c.refuse("repeats rows as often as is not known")
	}
	dims := make([]mono, len(times))
	for i, e := range times {
		switch {
		case e.hasRows():
			if x.kind == byRow || !x.dims[i].literal(1) {
				return c.refuse("repeats more than one of something as often as there are rows")
			}
			dims[i] = e.n
		case x.kind == byRow && i == x.axis:
			var ok, ok2 bool
			dims[i], ok = x.dims[i].times(e.n)
			x.outer, ok2 = x.outer.times(e.n)
			if e.kind != whole || c.bound(e.n) != positive || !ok || !ok2 {
				return c.refuse("repeats the rows as often as is not known")
			}
		default:
			m, ok := x.dims[i].times(c.size(e))
			if !ok {
				m = c.someSize()
			}
			dims[i] = m
		}
	}
	if x.kind == byRow {
		return []value{x.where(dims)}
	}
	return []value{c.filled(dims)}
}

func constantOfShape(c *call) []value {
	if !c.need(1, 1) {
		return nil
	}
	shape := c.in[0]
	if shape.kind == byRow {
		return c.refuse("takes a shape that is computed of rows")
	}
	sizes, known := shape.vector()
	if !known || len(shape.dims) != 1 {
		return []value{c.someRank(shape)}
	}
	dims := make([]mono, len(sizes))
	for i, e := range sizes {
		dims[i] = c.size(e)
	}
	v := c.filled(dims)
	if c.why != "" || v.kind == byRow {
		return []value{v}
	}
	e := elem{kind: decimal}
	if a := c.n.Attribute("value"); a != nil {
		e = elem{}
		if a.Tensor != nil && len(a.Tensor.Ints) == 1 {
			e = integer(a.Tensor.Ints[0])
		} else if a.Tensor != nil && len(a.Tensor.Floats) == 1 {
			e.kind, e.f = decimal, a.Tensor.Floats[0]
		}
	}
	if n, ok := product(dims); ok {
		if size, ok := n.constant(); ok && size <= maxElems {
			return []value{small(dims, slices.Repeat([]elem{e}, int(max(size, 0))))}
		}
	}
	return []value{v}
}

// sequence is Range: of numbers that do not depend on how many rows there are.
func sequence(c *call) []value {
	if !c.need(3, 3) {
		return nil
	}
	if !c.allSame() {
		return c.refuse("counts up to the number of rows, or to a value of a row")
	}
	size := c.someSize()
	if len(c.in[0].elems) == 1 && c.in[0].elems[0].is(0) && len(c.in[2].elems) == 1 && c.in[2].elems[0].is(1) &&
		len(c.in[1].elems) == 1 && c.in[1].elems[0].kind == whole && c.bound(c.in[1].elems[0].n) != anything {
		size = c.in[1].elems[0].n
	}
	return []value{fixed(size)}
}
