package rows

import (
	"math"
	"slices"
)

// regroup gives a value by row other dimensions, its elements staying where they
// are: as many stay before the rows. False where that is not shown.
func (c *call) regroup(x value, dims []mono) (value, bool) {
	axis := slices.IndexFunc(dims, mono.hasRows)
	if axis < 0 || slices.ContainsFunc(dims[axis+1:], mono.hasRows) {
		return value{}, false
	}
	before, ok := product(x.dims[:x.axis])
	if !ok {
		return value{}, false
	}
	if before, ok = before.times(x.outer); !ok {
		return value{}, false
	}
	now, ok := product(dims[:axis])
	if !ok {
		return value{}, false
	}
	outer, ok := before.over(now)
	if !ok {
		return value{}, false
	}
	// What is left of the axis is rows, and what each has.
	rest, ok := dims[axis].over(outer)
	if !ok {
		return value{}, false
	}
	if _, once := rest.perRow(); !once || rest.coef <= 0 {
		return value{}, false
	}
	return value{kind: byRow, ranked: true, dims: dims, axis: axis, outer: outer}, true
}

// reshape takes the sizes that it is given: 0 copies one, -1 is what is left.
func reshape(c *call) []value {
	if !c.need(2, 2) {
		return nil
	}
	x, shape := c.in[0], c.in[1]
	zero := !c.flag("allowzero", 0)
	if !zero && c.n.Since < 14 {
		return c.refuse("has the attribute allowzero, which its version has not")
	}
	sizes, known := shape.vector()
	if shape.kind == byRow {
		return c.refuse("takes a shape that is computed of rows")
	}
	if !known || len(shape.dims) != 1 {
		if c.allSame() {
			return []value{c.someRank(shape)}
		}
		return c.refuse("takes a shape that is not known")
	}
	dims, ok := c.sizes(x, sizes, zero)
	if !ok {
		return nil
	}
	switch x.kind {
	case byRow:
		v, ok := c.regroup(x, dims)
		if !ok {
			return c.refuse("may put elements of one row beside those of another")
		}
		return []value{v}
	case count:
		if shape.kind == count {
			return c.refuse("takes the number of rows as a value")
		}
		return []value{small(dims, x.elems)}
	default:
		if shape.kind == count {
			return c.refuse("takes the number of rows for the shape of what has none")
		}
		return []value{small(dims, x.elems)}
	}
}

// someRank is a value that is the same in all runs, of the rank that a shape
// has elements.
func (c *call) someRank(shape value) value {
	if !shape.ranked || len(shape.dims) != 1 {
		return unranked()
	}
	n, ok := shape.dims[0].constant()
	if !ok || n > maxRank {
		return unranked()
	}
	dims := make([]mono, n)
	for i := range dims {
		dims[i] = c.someSize()
	}
	return fixed(dims...)
}

// sizes are the dimensions that Reshape makes of its shape.
func (c *call) sizes(x value, sizes []elem, zeroCopies bool) ([]mono, bool) {
	dims := make([]mono, len(sizes))
	left := -1
	for i, e := range sizes {
		switch {
		case e.is(-1) && left < 0:
			left = i
			dims[i] = number(1)
		case e.is(0) && zeroCopies:
			dims[i] = c.someSize()
			if i < len(x.dims) {
				dims[i] = x.dims[i]
			} else if x.ranked {
				c.refuse("copies an axis that its input has not")
				return nil, false
			}
		case e.kind == whole && (c.bound(e.n) == positive || i < len(x.dims) && e.n == x.dims[i]):
			dims[i] = e.n // and if it is 0, it copies one that is
		case x.kind == byRow && i == x.axis && zeroCopies:
			// If it is 0, it copies the rows.
			c.refuse("has a size, where the rows are, that may be 0")
			return nil, false
		case e.hasRows():
			c.refuse("has a size with the number of rows in it that may be 0")
			return nil, false
		default:
			dims[i] = c.someSize()
		}
	}
	if left < 0 {
		return dims, true
	}
	if !x.ranked {
		dims[left] = c.someSize()
		return dims, true
	}
	all, ok := product(x.dims)
	if ok {
		var others mono
		if others, ok = product(dims); ok {
			if dims[left], ok = all.over(others); ok {
				return dims, true // and if others are 0, it does not run
			}
			// The rows are elsewhere: what is left is the same in all runs.
			_, once := others.perRow()
			_, was := all.perRow()
			ok = once && was || !others.hasRows() && !all.hasRows()
		}
	}
	if !ok {
		c.refuse("has a size left to it that is not a multiple of the number of rows")
		return nil, false
	}
	dims[left] = c.someSize()
	return dims, true
}

func flatten(c *call) []value {
	if !c.need(1, 1) || c.counted() {
		return nil
	}
	axis := c.integer("axis", 1)
	x := c.in[0]
	if x.kind == padded {
		if axis != 1 {
			return c.refuse("makes other rows of words that are filled up to the longest of all rows")
		}
		return []value{x}
	}
	if !x.ranked {
		return []value{fixed(c.someSize(), c.someSize())}
	}
	if axis < 0 {
		axis += int64(len(x.dims))
	}
	if axis < 0 || axis > int64(len(x.dims)) {
		return c.refuse("has an axis that its input has not")
	}
	first, ok := product(x.dims[:axis])
	last, ok2 := product(x.dims[axis:])
	if !ok || !ok2 {
		return c.refuse("makes a size that is too long to follow")
	}
	if x.kind == same {
		return []value{fixed(first, last)}
	}
	v, ok := c.regroup(x, []mono{first, last})
	if !ok {
		return c.refuse("may put elements of one row beside those of another")
	}
	return []value{v}
}

func squeeze(c *call) []value {
	if !c.need(1, 2) || !c.fixed(1) {
		return nil
	}
	x := c.in[0]
	list, there := c.given("axes", 13)
	if !there {
		if x.kind == same && x.elems == nil {
			return c.sames(1)
		}
		for i, d := range x.dims {
			n, constant := d.constant()
			if !constant {
				return c.refuse("drops the axes that happen to be 1, of which one may be the number of rows")
			}
			if n == 1 {
				list = append(list, int64(i))
			}
		}
	}
	if !x.ranked {
		return c.sames(1)
	}
	axes := c.axes(list, len(x.dims))
	if x.kind == byRow && slices.Contains(axes, x.axis) {
		return c.refuse("drops the axis that the rows are on")
	}
	var dims []mono
	axis := 0
	for i, d := range x.dims {
		if i == x.axis {
			axis = len(dims)
		}
		if !slices.Contains(axes, i) {
			dims = append(dims, d)
		}
	}
	if x.kind == byRow {
		v := x.where(dims)
		v.axis = axis
		return []value{v}
	}
	return []value{small(dims, x.elems)}
}

func unsqueeze(c *call) []value {
	if !c.need(1, 2) || !c.fixed(1) {
		return nil
	}
	x := c.in[0]
	list, there := c.given("axes", 13)
	if !there {
		return c.refuse("has no axes")
	}
	if !x.ranked {
		return c.sames(1)
	}
	rank := len(x.dims) + len(list)
	if rank > maxRank {
		return c.refuse("makes more than %d axes", maxRank)
	}
	axes := c.axes(list, rank)
	dims := make([]mono, 0, rank)
	axis, own := 0, 0
	for i := range rank {
		switch {
		case slices.Contains(axes, i):
			dims = append(dims, number(1))
		case own >= len(x.dims):
			return c.refuse("has an axis twice")
		default:
			if own == x.axis {
				axis = i
			}
			dims = append(dims, x.dims[own])
			own++
		}
	}
	if own != len(x.dims) {
		return c.refuse("has an axis twice")
	}
	if x.kind == byRow {
		v := x.where(dims)
		v.axis = axis
		return []value{v}
	}
	return []value{small(dims, x.elems)}
}

func transpose(c *call) []value {
	if !c.need(1, 1) {
		return nil
	}
	x := c.in[0]
	if !x.ranked {
		return c.sames(1)
	}
	perm := c.integers("perm")
	if perm == nil {
		for i := range x.dims {
			perm = append(perm, int64(len(x.dims)-1-i))
		}
	}
	if len(perm) != len(x.dims) {
		return c.refuse("permutes another number of axes than its input has")
	}
	dims := make([]mono, len(perm))
	seen := make([]bool, len(perm))
	axis := 0
	for i, p := range perm {
		if p < 0 || p >= int64(len(perm)) || seen[p] {
			return c.refuse("has no permutation of its input's axes")
		}
		seen[p] = true
		dims[i] = x.dims[p]
		if int(p) == x.axis {
			axis = i
		}
	}
	switch {
	case x.kind == byRow:
		v := x.where(dims)
		v.axis = axis
		return []value{v}
	case len(dims) <= 1:
		return []value{small(dims, x.elems)}
	case x.elems != nil && len(dims) == 2:
		rows, _ := x.dims[0].constant()
		columns, _ := x.dims[1].constant()
		if perm[0] == 0 {
			return []value{small(dims, x.elems)}
		}
		elems := make([]elem, 0, len(x.elems))
		for i := range columns {
			for j := range rows {
				elems = append(elems, x.elems[j*columns+i])
			}
		}
		return []value{small(dims, elems)}
	case x.kind == count:
		return c.refuse("takes the number of rows as a value")
	}
	return []value{fixed(dims...)}
}

// shapeOf gives the dimensions of its input.
func shapeOf(c *call) []value {
	if !c.need(1, 1) {
		return nil
	}
	x := c.in[0]
	if !x.ranked {
		return []value{fixed(c.someSize())}
	}
	if c.n.Since < 15 && len(c.n.Attributes) > 0 {
		return c.refuse("has attributes, which its version has not")
	}
	rank := int64(len(x.dims))
	bounded := func(n int64) int64 {
		if n < 0 {
			n += rank
		}
		return min(max(n, 0), rank)
	}
	start, end := bounded(c.integer("start", 0)), bounded(c.integer("end", math.MaxInt64))
	elems := []elem{}
	for i := start; i < end; i++ {
		elems = append(elems, elem{kind: whole, n: x.dims[i]})
	}
	return []value{small([]mono{number(int64(len(elems)))}, elems)}
}

func sizeOf(c *call) []value {
	if !c.need(1, 1) {
		return nil
	}
	x := c.in[0]
	if !x.ranked {
		return []value{fixed()}
	}
	n, ok := product(x.dims)
	switch {
	case ok:
		return []value{small([]mono{}, []elem{{kind: whole, n: n}})}
	case x.kind == byRow:
		return c.refuse("counts more than is followed")
	}
	return []value{fixed()}
}
