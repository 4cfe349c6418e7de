package rows

import "slices"

// stft has the frames of each row of a signal: [rows, samples] or
// [rows, samples, parts].
func stft(c *call) []value {
	if !c.need(2, 4) {
		return nil
	}
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	if x.axis != 0 || len(x.dims) < 2 || len(x.dims) > 3 {
		return c.refuse("does not have the rows on its first axis")
	}
	return []value{x.where([]mono{x.dims[0], c.someSize(), c.someSize(), number(2)})}
}

// dft is along one axis; the last has the parts of complex numbers.
func dft(c *call) []value {
	if !c.need(1, 3) {
		return nil
	}
	axis := c.integer("axis", 1)
	if c.n.Since >= 20 {
		axis = -2
		if a := c.arg(2); a.kind != absent {
			list, ok := a.constants()
			if !ok || len(list) != 1 || len(a.dims) > 1 {
				return c.refuse("has an axis that is not constant")
			}
			axis = list[0]
		}
	}
	x, done := c.data()
	if done != nil || c.why != "" {
		return done
	}
	at, last := c.axisOf(axis, len(x.dims)), len(x.dims)-1
	if at == x.axis || last == x.axis {
		return c.refuse("is over the axis that the rows are on")
	}
	dims := slices.Clone(x.dims)
	dims[at], dims[last] = c.someSize(), c.someSize()
	return []value{x.where(dims)}
}

// reverse is ReverseSequence: of the rows' lengths, where they are its batch
// axis, along the other of the first two.
func reverse(c *call) []value {
	if !c.need(2, 2) || c.counted() {
		return nil
	}
	batch, time := c.integer("batch_axis", 1), c.integer("time_axis", 0)
	x, lengths := c.in[0], c.in[1]
	if c.allSame() {
		return []value{x.plain()}
	}
	if x.kind != byRow || lengths.kind != byRow || int64(x.axis) != batch || time == batch ||
		len(lengths.dims) != 1 || lengths.outer != x.outer || lengths.dims[0] != x.dims[x.axis] {
		return c.refuse("does not have the rows on its batch axis, and their lengths")
	}
	return []value{x.plain()}
}
