package rows

import "slices"

// broadcast is what an operator gives that works element by element of inputs
// that are broadcast to each other (NumPy's rules). Where rows are, an input
// must have as many of the same, or not that axis, or 1 of it, written so.
func (c *call) broadcast(f scalar, in ...value) []value {
	in = slices.DeleteFunc(slices.Clone(in), func(v value) bool { return v.kind == absent })
	if v, ok := c.compute(f, in); ok || c.why != "" {
		return []value{v}
	}
	if slices.ContainsFunc(in, func(v value) bool { return v.kind == count }) {
		return c.refuse("takes the number of rows as a value")
	}
	if !slices.ContainsFunc(in, func(v value) bool { return v.kind == byRow }) {
		if slices.ContainsFunc(in, func(v value) bool { return !v.ranked }) {
			return []value{unranked()}
		}
		dims, ok := c.joint(in)
		if !ok {
			return []value{unranked()}
		}
		return []value{fixed(dims...)}
	}
	rank := 0
	for _, v := range in {
		if !v.ranked {
			return c.refuse("joins rows with a value of unknown rank")
		}
		rank = max(rank, len(v.dims))
	}
	out, ok := c.rowAxis(in, rank)
	if !ok {
		return nil
	}
	if out.dims, ok = c.joint(in); !ok {
		return c.refuse("joins values whose sizes do not fit")
	}
	return []value{out}
}

// rowAxis is a value of a rank with its rows where all inputs that are broadcast
// to it have them: whatever meets them has the same rows, or is a 1.
func (c *call) rowAxis(in []value, rank int) (out value, ok bool) {
	var size mono
	for _, v := range in {
		if v.kind != byRow {
			continue
		}
		at := rank - len(v.dims) + v.axis
		if out.kind == byRow && (at != out.axis || v.dims[v.axis] != size || v.outer != out.outer) {
			c.refuse("joins rows on one axis with rows on another")
			return value{}, false
		}
		size = v.dims[v.axis]
		out = value{kind: byRow, ranked: true, axis: at, outer: v.outer}
	}
	for _, v := range in {
		own := out.axis - (rank - len(v.dims))
		if v.kind == same && own >= 0 && !v.dims[own].literal(1) {
			c.refuse("takes a value of its own along the axis that the rows are on")
			return value{}, false
		}
	}
	return out, true
}

// joint are the dimensions that inputs are broadcast to; false where they never
// are.
func (w *walk) joint(in []value) ([]mono, bool) {
	rank := 0
	for _, v := range in {
		rank = max(rank, len(v.dims))
	}
	dims := make([]mono, rank)
	for i := range dims {
		dims[i] = number(1)
		for _, v := range in {
			own := i - (rank - len(v.dims))
			if own < 0 {
				continue
			}
			var ok bool
			if dims[i], ok = w.either(dims[i], v.dims[own]); !ok {
				return nil, false
			}
		}
	}
	return dims, true
}

// either is the size that two are broadcast to.
func (w *walk) either(a, b mono) (mono, bool) {
	switch {
	case a == b || b.literal(1):
		return a, true
	case a.literal(1):
		return b, true
	}
	_, isA := a.constant()
	_, isB := b.constant()
	switch {
	case isA && isB:
		return mono{}, false
	case isA:
		return a, true // the other is 1, or as much
	case isB:
		return b, true
	}
	if b.coef < a.coef || b.coef == a.coef && b.syms < a.syms {
		a, b = b, a
	}
	return w.of(min(w.bound(a), w.bound(b), notNegative), "broadcast", a, b), true
}

// compute does shape arithmetic: false where there is none to do.
func (c *call) compute(f scalar, in []value) (value, bool) {
	if f == nil || slices.ContainsFunc(in, func(v value) bool { return v.elems == nil }) {
		return value{}, false
	}
	dims, ok := c.joint(in)
	if !ok {
		return value{}, false
	}
	n := int64(1)
	for _, d := range dims {
		size, _ := d.constant()
		if n *= size; n > maxElems {
			return value{}, false
		}
	}
	elems := make([]elem, n)
	at := make([]int64, len(dims)) // the element's place
	operands := make([]elem, len(in))
	for i := range elems {
		for j, v := range in {
			operands[j] = v.elems[v.place(at)]
		}
		if elems[i], ok = f(c.symbols, operands); !ok {
			c.refuse("computes something of the number of rows that is not a multiple of it")
			return value{}, false
		}
		for d := len(at) - 1; d >= 0; d-- {
			size, _ := dims[d].constant()
			if at[d]++; at[d] < size {
				break
			}
			at[d] = 0
		}
	}
	return small(dims, elems), true
}

// place is the index of the element that is broadcast to a place. Its
// dimensions are constant.
func (v value) place(at []int64) int64 {
	index := int64(0)
	for d, m := range v.dims {
		size, _ := m.constant()
		own := at[len(at)-len(v.dims)+d]
		if size == 1 {
			own = 0
		}
		index = index*size + own
	}
	return index
}

func (c *call) elementwise(f scalar) []value { return c.broadcast(f, c.in...) }

// unary is an operator of one input that works element by element. Its other
// inputs hold for all elements.
func single(f scalar) rule {
	return func(c *call) []value {
		if !c.need(1, 1) {
			return nil
		}
		return c.elementwise(f)
	}
}

func pair(f scalar) rule {
	return func(c *call) []value {
		if !c.need(2, 2) {
			return nil
		}
		return c.elementwise(f)
	}
}

func variadic(f scalar) rule {
	return func(c *call) []value {
		if !c.need(1, 1024) {
			return nil
		}
		return c.elementwise(f)
	}
}

func where(c *call) []value {
	if !c.need(3, 3) {
		return nil
	}
	return c.elementwise(choose)
}

// reduced folds a scalar of two over elements of many.
func folded(f scalar) scalar {
	return func(s *symbols, in []elem) (elem, bool) {
		out := in[0]
		for _, e := range in[1:] {
			var ok bool
			if out, ok = f(s, []elem{out, e}); !ok {
				return out, false
			}
		}
		return out, true
	}
}

// cast follows integers to integers and truth values, and constants to floats.
func cast(c *call) []value {
	if !c.need(1, 1) {
		return nil
	}
	return c.broadcast(converted(c.integer("to", 0)), c.in...)
}

// converted is a scalar that casts to an element type of onnx.proto.
func converted(to int64) scalar {
	return func(s *symbols, in []elem) (elem, bool) {
		e := in[0]
		n, constant := e.constant()
		switch to {
		case 6, 7: // int32 and int64
			if e.kind == whole && (to == 7 || narrow(e.n)) {
				return e, true
			}
			if e.kind == decimal && e.f > -1<<24 && e.f < 1<<24 {
				return integer(int64(e.f)), true
			}
		case 9: // bool
			if constant {
				return integer(bit(n != 0)), true
			}
			if e.kind == whole && s.bound(e.n) == positive {
				return integer(1), true
			}
		case 1: // float
			if e.kind == decimal {
				return e, true
			}
			if constant && n > -1<<24 && n < 1<<24 {
				return elem{kind: decimal, f: float32(n)}, true
			}
		}
		return opaque(s, in)
	}
}

// clip has bounds for all elements: attributes, or scalars.
func clip(c *call) []value {
	if !c.need(1, 3) {
		return nil
	}
	if c.counted() {
		return nil
	}
	if c.n.Since < 11 && !c.no(1) || !c.fixed(1) {
		return nil
	}
	for _, v := range c.in[1:] {
		if v.kind == same && !v.one() && c.in[0].kind == byRow {
			return c.refuse("has bounds that are not one number")
		}
	}
	return []value{c.in[0].plain()}
}

// dropout gives its input as it is, where it is not for training.
func dropout(c *call) []value {
	if !c.need(1, 3) || !c.fixed(1) || c.counted() {
		return nil
	}
	if c.n.Since >= 12 {
		if t := c.arg(2); t.kind != absent && (len(t.elems) != 1 || !t.elems[0].is(0)) {
			return c.refuse("may be for training, where what it drops is random")
		}
	}
	return []value{c.in[0].plain(), c.in[0].plain()}
}

// quantize is by a scale that is known beforehand: one, or one for each element
// of an axis that the rows are not on.
func quantize(c *call) []value {
	if !c.need(2, 3) {
		return nil
	}
	axis, block := c.integer("axis", 1), c.integer("block_size", 0)
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	for _, v := range c.in[1:] {
		if v.kind == absent || v.one() && len(v.dims) <= 1 {
			continue
		}
		if !v.ranked || len(v.dims) != 1 || block != 0 {
			return c.refuse("has scales that are not for one axis")
		}
		if c.axisOf(axis, len(x.dims)) == x.axis {
			return c.refuse("has a scale for each row")
		}
	}
	return []value{x.plain()}
}
