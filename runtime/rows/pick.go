package rows

// pick gives those elements of v whose place on an axis is in a list.
func (v value) pick(axis int, places []int64) value {
	before, size, after := int64(1), int64(1), int64(1)
	for i, d := range v.dims {
		n, _ := d.constant()
		switch {
		case i < axis:
			before *= n
		case i == axis:
			size = n
		default:
			after *= n
		}
	}
	var elems []elem
	for b := range before {
		for _, p := range places {
			if p < 0 || p >= size {
				return unranked()
			}
			at := (b*size + p) * after
			elems = append(elems, v.elems[at:at+after]...)
		}
	}
	return small(v.with(axis, number(int64(len(places)))), elems)
}

// farEnd is the least that stands for the end of an axis, whatever its size
// (tf2onnx writes it so): no run has as many elements.
const farEnd = 1_000_000_000

// slice takes a part of some axes; all of that of the rows.
func slice(c *call) []value {
	if !c.need(1, 5) {
		return nil
	}
	starts, ends, axes, steps, ok := c.sliceOperands()
	if !ok {
		return nil
	}
	x := c.in[0]
	if !x.ranked {
		return c.sames(1)
	}
	if axes == nil {
		if starts == nil {
			if x.kind == same {
				return c.sames(1)
			}
			return c.refuse("takes a part of axes that are not known")
		}
		for i := range starts {
			axes = append(axes, int64(i))
		}
	}
	out := x
	done := map[int]bool{}
	for i, axis := range c.axes(axes, len(x.dims)) {
		if done[axis] {
			return c.refuse("has an axis twice")
		}
		done[axis] = true
		start, end, step := at(starts, i, elem{}), at(ends, i, elem{}), at(steps, i, integer(1))
		full := start.is(0) && step.is(1) && end.kind == whole && (end.n == x.dims[axis] || end.n.syms == "" && end.n.coef >= farEnd)
		switch {
		case full:
		case x.kind == byRow && axis == x.axis:
			return c.refuse("takes a part of the rows")
		default:
			out = c.part(out, axis, start, end, step)
		}
	}
	if x.kind == count && out.elems == nil {
		return c.refuse("takes the number of rows as a value")
	}
	return []value{out}
}

func at(list []elem, i int, byDefault elem) elem {
	if i < len(list) {
		return list[i]
	}
	if list == nil {
		return byDefault
	}
	return elem{}
}

// sliceOperands are attributes up to version 9, and then inputs. Those that are
// not known are nil.
func (c *call) sliceOperands() (starts, ends []elem, axes []int64, steps []elem, ok bool) {
	if c.n.Since < 10 {
		for _, n := range c.integers("starts") {
			starts = append(starts, integer(n))
		}
		for _, n := range c.integers("ends") {
			ends = append(ends, integer(n))
		}
		return starts, ends, c.integers("axes"), nil, c.no(1) && c.why == ""
	}
	for _, name := range []string{"starts", "ends", "axes"} {
		if c.n.Attribute(name) != nil {
			c.refuse("has the attribute %s, which its version has not", name)
			return nil, nil, nil, nil, false
		}
	}
	if !c.need(3, 5) {
		return nil, nil, nil, nil, false
	}
	for i, v := range c.in {
		if i > 0 && v.kind == byRow || i > 2 && v.kind == count {
			c.refuse("takes rows as its input %d, which must be the same for all of them", i)
			return nil, nil, nil, nil, false
		}
	}
	starts, _ = c.in[1].vector()
	ends, _ = c.in[2].vector()
	if a := c.arg(3); a.kind != absent {
		if axes, ok = a.constants(); !ok {
			if c.in[0].kind != same {
				c.refuse("takes a part of axes that are not known")
				return nil, nil, nil, nil, false
			}
			return nil, nil, nil, nil, true
		}
	}
	if a := c.arg(4); a.kind != absent {
		if steps, ok = a.vector(); !ok {
			steps = []elem{}
		}
	}
	for _, list := range [][]elem{starts, ends} {
		for i, e := range list {
			// A whole axis up to the number of rows is the only use of it.
			full := i < len(starts) && starts[i].is(0)
			if e.hasRows() && !full {
				c.refuse("takes a part from the number of rows on")
				return nil, nil, nil, nil, false
			}
		}
	}
	return starts, ends, axes, steps, true
}

// part is what Slice takes of one axis, which is not that of the rows.
func (c *call) part(x value, axis int, start, end, step elem) value {
	if end.hasRows() {
		c.refuse("takes a part up to the number of rows")
		return value{}
	}
	size := x.dims[axis]
	from, ok1 := start.constant()
	to, ok2 := end.constant()
	by, ok3 := step.constant()
	n, ok4 := size.constant()
	if ok1 && ok2 && ok3 && ok4 && by != 0 && n < 1<<31 {
		first, count := taken(n, from, to, by)
		if x.elems == nil {
			return x.where(x.with(axis, number(count)))
		}
		list := make([]int64, count)
		for i := range list {
			list[i] = first + int64(i)*by
		}
		return x.pick(axis, list)
	}
	if x.elems != nil && x.kind == count {
		c.refuse("takes the number of rows as a value")
		return value{}
	}
	d := c.someSize()
	switch {
	case ok3 && by == 1 && c.bound(size) == positive && ok1 && ok2 && (from == 0 && to == 1 || from == -1 && to >= farEnd):
		d = number(1)
	case start.kind == whole && end.kind == whole && step.kind == whole:
		d = c.of(notNegative, "slice", size, start.n, end.n, step.n)
	}
	return x.where(x.with(axis, d))
}

// taken is what a slice takes of n elements: from which on, and how many. It
// follows ONNX's bounds, which are NumPy's.
func taken(n, from, to, by int64) (first, count int64) {
	clamp := func(p, least, most int64) int64 {
		if p < 0 {
			p = max(p, -n-1) + n
		}
		return min(max(p, least), most)
	}
	if by > 0 {
		from, to = clamp(from, 0, n), clamp(to, 0, n)
		if to <= from {
			return from, 0
		}
		return from, (to-from-1)/by + 1
	}
	from, to = clamp(from, 0, n-1), clamp(to, -1, n-1)
	if to >= from || n == 0 {
		return from, 0
	}
	by = max(by, -1<<32)
	return from, (from-to-1)/-by + 1
}

// concat joins values along an axis that the rows are not on.
func concat(c *call) []value {
	if !c.need(1, 10_000) {
		return nil
	}
	if a := c.n.Attribute("axis"); a == nil && c.n.Domain == "" {
		return c.refuse("has no axis")
	}
	return c.joined(c.integer("axis", 1), c.in)
}

func (c *call) joined(along int64, in []value) []value {
	first := in[0]
	if c.known(in) {
		if v, ok := c.joinedElems(along, in); ok {
			return []value{v}
		}
	}
	for _, v := range in {
		if v.kind == count {
			return c.refuse("takes the number of rows as a value")
		}
		if !v.ranked {
			if c.allSame() {
				return c.sames(1)
			}
			return c.refuse("joins rows with a value of unknown rank")
		}
		if v.kind == byRow {
			first = v
		}
	}
	axis := c.axisOf(along, len(first.dims))
	if first.kind == byRow && axis == first.axis {
		return c.stacked(in)
	}
	total, ok := number(0), true
	dims := append([]mono{}, first.dims...)
	for _, v := range in {
		if len(v.dims) != len(first.dims) {
			return c.refuse("joins values of different ranks")
		}
		if first.kind == byRow && (v.kind != byRow || v.axis != first.axis || v.outer != first.outer || v.dims[v.axis] != first.dims[first.axis]) {
			return c.refuse("joins rows with what has not the same rows on the same axis")
		}
		if ok {
			total, ok = add(c.symbols, total, v.dims[axis])
		}
	}
	if dims[axis] = total; !ok {
		dims[axis] = c.someSize()
	}
	return []value{first.where(dims)}
}

// stacked joins values along the axis that the rows are on, one after another:
// all rows of the first, then all rows of the second.
func (c *call) stacked(in []value) []value {
	first := in[0]
	inner, ok := first.perRow()
	total, outer := number(0), number(0)
	for _, v := range in {
		own, ok2 := v.perRow()
		if !ok || !ok2 || len(v.dims) != len(first.dims) || v.axis != first.axis || own != inner {
			return c.refuse("joins values of their own along the axis that the rows are on")
		}
		if total, ok = add(c.symbols, total, v.dims[v.axis]); ok {
			outer, ok = add(c.symbols, outer, v.outer)
		}
	}
	if !ok {
		return c.refuse("makes a size that is too long to follow")
	}
	out := first.where(first.with(first.axis, total))
	out.outer = outer
	return []value{out}
}

// known reports whether all values are vectors with elements that are computed
// with, of which some may be hidden.
func (c *call) known(in []value) bool {
	for _, v := range in {
		if v.kind != same && v.kind != count || v.elems == nil && !c.short(v) {
			return false
		}
	}
	return true
}

// short reports whether v is a vector of few elements.
func (c *call) short(v value) bool {
	if !v.ranked || len(v.dims) != 1 {
		return false
	}
	n, ok := v.dims[0].constant()
	return ok && n >= 0 && n <= maxElems
}

func (c *call) joinedElems(along int64, in []value) (value, bool) {
	rank := len(in[0].dims)
	if along != 0 && along != -int64(rank) || rank == 0 {
		return value{}, false
	}
	var elems []elem
	n := int64(0)
	for _, v := range in {
		if len(v.dims) != rank || !equalDims(v.dims[1:], in[0].dims[1:]) {
			return value{}, false
		}
		size, _ := v.dims[0].constant()
		n += size
		own := v.elems
		if own == nil {
			own = make([]elem, size)
		}
		if elems = append(elems, own...); len(elems) > maxElems {
			return value{}, false
		}
	}
	return small(in[0].with(0, number(n)), elems), true
}

func equalDims(a, b []mono) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// split is the reverse of concat.
func split(c *call) []value {
	if !c.need(1, 2) || !c.fixed(1) {
		return nil
	}
	x := c.in[0]
	outputs := len(c.n.Outputs)
	sizes, there := c.given("split", 13)
	if c.why != "" {
		return nil
	}
	axis := c.integer("axis", 0)
	c.integer("num_outputs", 0)
	if !x.ranked {
		return c.sames(outputs)
	}
	along := c.axisOf(axis, len(x.dims))
	if c.why != "" {
		return nil
	}
	if x.kind == byRow && along == x.axis {
		return c.refuse("parts the rows")
	}
	n, constant := x.dims[along].constant()
	if !there && constant {
		each := (n + int64(outputs) - 1) / int64(outputs)
		for i := range int64(outputs) {
			sizes = append(sizes, max(min(each, n-i*each), 0))
		}
	}
	out := make([]value, outputs)
	from := int64(0)
	for i := range out {
		out[i] = x.where(x.with(along, c.someSize()))
		if i >= len(sizes) || sizes[i] < 0 {
			if x.kind == count {
				return c.refuse("takes the number of rows as a value")
			}
			continue
		}
		out[i] = x.where(x.with(along, number(sizes[i])))
		if x.elems != nil {
			if sizes[i] > n-from {
				return c.refuse("parts more than there is")
			}
			places := make([]int64, sizes[i])
			for j := range places {
				places[j] = from + int64(j)
			}
			out[i] = x.pick(along, places)
		}
		from += sizes[i]
	}
	return out
}
