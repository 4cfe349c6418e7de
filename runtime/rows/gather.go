package rows

import "slices"

// gather takes elements of an axis by their places: of an axis that the rows are
// not on, or by the values of rows of what is the same for all.
func gather(c *call) []value {
	if !c.need(2, 2) {
		return nil
	}
	x, places := c.in[0], c.in[1]
	if places.kind == count || x.kind == byRow && places.kind == byRow {
		return c.refuse("takes for each row what depends on all rows together, or the number of rows as a place")
	}
	if !x.ranked || !places.ranked {
		if c.allSame() {
			return c.sames(1)
		}
		return c.refuse("takes elements of a value of unknown rank")
	}
	axis := c.axisOf(c.integer("axis", 0), len(x.dims))
	if c.why != "" {
		return nil
	}
	if x.elems != nil && places.kind == same {
		if v, ok := c.gatherElems(x, places, axis); ok {
			return []value{v}
		}
	}
	if x.kind == count {
		return c.refuse("takes the number of rows as a value")
	}
	dims := slices.Concat(x.dims[:axis], places.dims, x.dims[axis+1:])
	switch {
	case x.kind == byRow && x.axis == axis:
		return c.refuse("takes some of the rows")
	case x.kind == byRow:
		v := x.where(dims)
		if x.axis > axis {
			v.axis += len(places.dims) - 1
		}
		return []value{v}
	case places.kind == byRow:
		v := places.where(dims)
		v.axis += axis
		return []value{v}
	}
	return []value{fixed(dims...)}
}

func (c *call) gatherElems(x, places value, axis int) (value, bool) {
	list, ok := places.constants()
	n, _ := x.dims[axis].constant()
	if !ok {
		return value{}, false
	}
	for i := range list {
		if list[i] < 0 {
			list[i] += n
		}
		if list[i] < 0 || list[i] >= n {
			return value{}, false
		}
	}
	v := x.pick(axis, list)
	if len(places.dims) == 0 {
		v = small(slices.Delete(slices.Clone(v.dims), axis, axis+1), v.elems)
	}
	return v, v.elems != nil
}

// gatherElements takes, in each row of a value, the elements at the places that are
// in the same row.
func gatherElements(c *call) []value {
	if !c.need(2, 2) || c.counted() {
		return nil
	}
	x, places := c.in[0], c.in[1]
	axis := c.integer("axis", 0)
	if c.allSame() {
		return []value{places.plain()}
	}
	if x.kind != byRow || places.kind != byRow || !c.aligned(x, places) {
		return c.refuse("takes for rows what depends on other rows")
	}
	if c.axisOf(axis, len(x.dims)) == x.axis {
		return c.refuse("takes some of the rows")
	}
	return []value{places.plain()}
}

// aligned reports whether two values by row have the rows on the same axis of the
// same rank, in the same sequence.
func (c *call) aligned(a, b value) bool {
	return a.kind == byRow && b.kind == byRow && len(a.dims) == len(b.dims) && a.axis == b.axis && a.outer == b.outer && a.dims[a.axis] == b.dims[b.axis]
}

// gatherND takes parts by their places: by the values of rows of what is the same for all,
// or of the same row, where the rows are before the places (batch_dims).
func gatherND(c *call) []value {
	if !c.need(2, 2) || c.counted() {
		return nil
	}
	x, places := c.in[0], c.in[1]
	batch := c.integer("batch_dims", 0)
	if c.allSame() {
		return c.sames(1)
	}
	if !x.ranked || !places.ranked || places.kind != byRow {
		return c.refuse("takes some of the rows")
	}
	last := len(places.dims) - 1
	if places.axis == last || batch < 0 || batch > int64(last) || batch > int64(len(x.dims)) {
		return c.refuse("has the rows on the axis of the places")
	}
	if int64(places.axis) < batch && (x.kind != byRow || x.axis != places.axis || x.outer != places.outer || x.dims[x.axis] != places.dims[places.axis]) ||
		int64(places.axis) >= batch && x.kind != same {
		return c.refuse("takes for rows what depends on other rows")
	}
	n, ok := places.dims[last].constant()
	if !ok || n < 1 || batch+n > int64(len(x.dims)) {
		return c.refuse("takes parts of an unknown rank")
	}
	return []value{places.where(slices.Concat(places.dims[:last], x.dims[batch+n:]))}
}

// scatterElements replaces, in each row of a value, the elements at the places that
// are in the same row.
func scatterElements(c *call) []value {
	if !c.need(3, 3) || c.counted() {
		return nil
	}
	if c.allSame() {
		return []value{c.in[0].plain()}
	}
	axis := c.integer("axis", 0)
	c.text("reduction", "none")
	x := c.in[0]
	if !c.aligned(x, c.in[1]) || !c.aligned(x, c.in[2]) {
		return c.refuse("puts into rows what depends on other rows")
	}
	if c.axisOf(axis, len(x.dims)) == x.axis {
		return c.refuse("puts something into some of the rows")
	}
	return []value{x.plain()}
}

// onlySame is an operator that is followed only where no rows reach it.
func onlySame(why string) rule {
	return func(c *call) []value {
		if !c.allSame() {
			return c.refuse("%s", why)
		}
		return c.sames(len(c.n.Outputs))
	}
}
