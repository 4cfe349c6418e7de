package rows

import "slices"

// matMul multiplies matrices. The rows are before the matrices, or are the lines
// of the first or the columns of the second; never what is summed over.
func matMul(c *call) []value {
	if !c.need(2, 2) {
		return nil
	}
	return c.product(c.in[0], c.in[1])
}

// fusedMatMul is MatMul of matrices that may be transposed.
func fusedMatMul(c *call) []value {
	if !c.need(2, 2) {
		return nil
	}
	if c.flag("transBatchA", 0) || c.flag("transBatchB", 0) {
		return c.refuse("transposes what is before the matrices")
	}
	a := c.turned(c.in[0], c.flag("transA", 0))
	b := c.turned(c.in[1], c.flag("transB", 0))
	if c.why != "" {
		return nil
	}
	return c.product(a, b)
}

// turned is v with its last two axes exchanged.
func (c *call) turned(v value, turn bool) value {
	n := len(v.dims)
	if !turn || !v.ranked {
		return v
	}
	if n < 2 {
		c.refuse("transposes what is no matrix")
		return v
	}
	dims := slices.Clone(v.dims)
	dims[n-1], dims[n-2] = dims[n-2], dims[n-1]
	out := v.where(dims)
	switch v.axis {
	case n - 1:
		out.axis = n - 2
	case n - 2:
		out.axis = n - 1
	}
	return out
}

func (c *call) product(a, b value) []value {
	if a.kind == count || b.kind == count {
		return c.refuse("takes the number of rows as a value")
	}
	if !a.ranked || !b.ranked {
		if a.kind == same && b.kind == same {
			return c.sames(1)
		}
		return c.refuse("joins rows with a value of unknown rank")
	}
	n, m := len(a.dims), len(b.dims)
	if n < 2 || m < 2 {
		return c.vectors(a, b)
	}
	switch {
	case a.kind == byRow && a.axis == n-1, b.kind == byRow && b.axis == m-2:
		return c.refuse("sums over the rows")
	case a.kind == byRow && b.kind == byRow && (a.axis == n-2 || b.axis == m-1):
		return c.refuse("multiplies rows with each other")
	}
	// A value with rows in its matrix has none before it.
	strip := func(v value, n int, own bool) value {
		out := v.where(v.dims[:n-2])
		if v.kind == byRow && own {
			out.kind = same
		}
		return out
	}
	lines, columns := a.kind == byRow && a.axis == n-2, b.kind == byRow && b.axis == m-1
	before := c.broadcast(nil, strip(a, n, lines), strip(b, m, columns))
	if c.why != "" {
		return nil
	}
	out := before[0]
	if !out.ranked {
		return c.refuse("joins values whose sizes do not fit")
	}
	out.dims = slices.Concat(out.dims, []mono{a.dims[n-2], b.dims[m-1]})
	switch {
	case lines:
		out.kind, out.axis, out.outer = byRow, len(out.dims)-2, a.outer
	case columns:
		out.kind, out.axis, out.outer = byRow, len(out.dims)-1, b.outer
	}
	return []value{out}
}

// vectors multiplies where one side has one axis, which is summed over.
func (c *call) vectors(a, b value) []value {
	n, m := len(a.dims), len(b.dims)
	if n == 0 || m == 0 {
		return c.refuse("multiplies what is no matrix")
	}
	if a.kind == same && b.kind == same {
		return c.sames(1)
	}
	switch {
	case m == 1 && b.kind == same && a.axis < n-1:
		return []value{a.where(slices.Clone(a.dims[:n-1]))}
	case n == 1 && a.kind == same && b.axis != m-2 && m >= 2:
		out := b.where(slices.Concat(b.dims[:m-2], b.dims[m-1:]))
		if b.axis == m-1 {
			out.axis--
		}
		return []value{out}
	}
	return c.refuse("sums over the rows")
}

// gemm multiplies two matrices and adds a third. Operands after those are
// scales, the same for all rows.
func gemm(c *call) []value {
	if !c.need(2, 3) {
		return nil
	}
	a := c.turned(c.in[0], c.flag("transA", 0))
	b := c.turned(c.in[1], c.flag("transB", 0))
	if c.why != "" {
		return nil
	}
	for _, v := range []value{a, b} {
		if v.kind == byRow && len(v.dims) != 2 {
			return c.refuse("multiplies what is no matrix")
		}
	}
	out := c.product(a, b)
	if c.why != "" || c.arg(2).kind == absent {
		return out
	}
	// What is added is broadcast to the product, never the other way.
	if add := c.arg(2); out[0].kind == same && add.kind == byRow {
		return c.refuse("adds rows to what has none")
	}
	return c.broadcast(nil, out[0], c.arg(2))
}

// matMulInteger is MatMul of integers less zero points: one, or one for each
// column.
func matMulInteger(c *call) []value {
	if !c.need(2, 4) || !c.fixed(2) {
		return nil
	}
	for i, v := range c.in[2:] {
		if v.kind != absent && !v.one() && c.in[i].kind == byRow {
			return c.refuse("has several zero points for rows")
		}
	}
	return c.product(c.in[0], c.in[1])
}

// qLinearMatMul is MatMul of values that were quantized by scales that are known
// beforehand.
func qLinearMatMul(c *call) []value {
	if !c.need(8, 8) {
		return nil
	}
	for i, v := range c.in {
		if i != 0 && i != 3 && (v.kind != same || i != 4 && i != 5 && !v.one()) {
			return c.refuse("has scales that are not one number")
		}
	}
	if c.in[3].kind != same {
		return c.refuse("multiplies rows with each other")
	}
	return c.product(c.in[0], c.in[3])
}

// conv slides a kernel over what comes after the channels. Its inputs from the
// third on are the same for all rows.
func conv(c *call) []value {
	if !c.need(2, 3) || c.counted() || !c.fixed(1) {
		return nil
	}
	return c.convolve(c.in[0], c.in[1], false)
}

func convTranspose(c *call) []value {
	if !c.need(2, 3) || c.counted() || !c.fixed(1) {
		return nil
	}
	return c.convolve(c.in[0], c.in[1], true)
}

// fusedConv is Conv with something added to it, and an activation.
func fusedConv(c *call) []value {
	if !c.need(2, 4) || c.counted() {
		return nil
	}
	sum := c.arg(3)
	c.in = c.in[:min(len(c.in), 3)]
	if !c.fixed(1) {
		return nil
	}
	return c.added(c.convolve(c.in[0], c.in[1], false), sum)
}

// added is a result to which another of the same shape is added.
func (c *call) added(out []value, sum value) []value {
	if c.why != "" || sum.kind == absent {
		return out
	}
	v := out[0]
	if v.kind != sum.kind || v.kind == byRow && (len(v.dims) != len(sum.dims) || v.axis != sum.axis || v.outer != sum.outer || v.dims[v.axis] != sum.dims[v.axis]) {
		return c.refuse("adds rows to what has not the same rows")
	}
	return out
}

// convolve is the result of a convolution: of the number of channels that its
// kernels have, of a size that is the same for all rows.
func (c *call) convolve(x, w value, transposed bool) []value {
	if !c.images(x) {
		return nil
	}
	if !x.ranked || len(x.dims) < 3 {
		return c.sames(1)
	}
	channels := c.someSize()
	if w.ranked && len(w.dims) == len(x.dims) {
		channels = w.dims[0]
		if transposed {
			if channels, _ = w.dims[1].times(number(c.integer("group", 1))); channels.coef <= 0 {
				channels = c.someSize()
			}
		}
	}
	return []value{c.slid(x, channels, w)}
}

// images reports whether the rows of x are images: on the first axis, before the
// channels.
func (c *call) images(x value) bool {
	if x.kind == byRow && (x.axis != 0 || len(x.dims) < 3) {
		c.refuse("does not have the rows on its first axis")
		return false
	}
	return true
}

// slid is x with other channels, and a size that a kernel makes of it.
func (c *call) slid(x value, channels mono, w value) value {
	dims := append([]mono{x.dims[0], channels}, x.dims[2:]...)
	for i := 2; i < len(dims); i++ {
		dims[i] = c.someSize()
		if w.ranked && len(w.dims) == len(x.dims) {
			if m, ok := c.steps(x.dims[i], w.dims[i], i-2); ok {
				dims[i] = m
			}
		}
	}
	return x.where(dims)
}

// steps is the size that a convolution makes of one, where its padding is
// written out.
func (c *call) steps(size, kernel mono, axis int) (mono, bool) {
	k, ok := kernel.constant()
	if !ok || c.text("auto_pad", "NOTSET") != "NOTSET" || c.n.Op == "ConvTranspose" {
		return mono{}, false
	}
	stride, dilation, pads := int64(1), int64(1), int64(0)
	if list := c.integers("strides"); axis < len(list) {
		stride = list[axis]
	}
	if list := c.integers("dilations"); axis < len(list) {
		dilation = list[axis]
	}
	if list := c.integers("pads"); axis < len(list)/2 {
		pads = list[axis] + list[axis+len(list)/2]
	}
	for _, n := range []int64{stride, dilation, pads, k} {
		if n < 0 || n > 1<<20 {
			return mono{}, false
		}
	}
	less := pads - (k-1)*dilation - 1
	if stride == 1 && less == -1 {
		return size, true
	}
	if n, ok := size.constant(); ok && stride > 0 && n+less >= 0 && n < 1<<40 {
		return number((n+less)/stride + 1), true
	}
	return c.of(notNegative, "conv", size, number(less), number(stride)), true
}

// pool is the result of pooling: of the same channels. Where else the maximum
// is, a second output has as its place in the tensor of all rows.
func pool(c *call) []value {
	if !c.need(1, 1) || c.counted() || !c.images(c.in[0]) {
		return nil
	}
	x := c.in[0]
	if !x.ranked || len(x.dims) < 3 {
		return c.sames(1)
	}
	return []value{c.slid(x, x.dims[1], c.window(x))}
}

// window is the kernel that attributes describe, as one of the rank of x; absent where
// what it makes of a size is not followed.
func (c *call) window(x value) value {
	list := c.integers("kernel_shape")
	if c.flag("ceil_mode", 0) || len(list)+2 != len(x.dims) {
		return value{}
	}
	dims := slices.Clone(x.dims)
	for i, n := range list {
		dims[i+2] = number(n)
	}
	return fixed(dims...)
}

// globalPool leaves 1 of each axis after the channels.
func globalPool(c *call) []value {
	if !c.need(1, 1) || c.counted() || !c.images(c.in[0]) {
		return nil
	}
	x := c.in[0]
	if !x.ranked {
		return c.sames(1)
	}
	dims := slices.Clone(x.dims)
	for i := 2; i < len(dims); i++ {
		dims[i] = number(1)
	}
	return []value{x.where(dims)}
}

// blocks moves between channels and size.
func blocks(c *call) []value {
	if !c.need(1, 1) || c.counted() || !c.images(c.in[0]) {
		return nil
	}
	x := c.in[0]
	if !x.ranked {
		return c.sames(1)
	}
	dims := slices.Clone(x.dims)
	for i := 1; i < len(dims); i++ {
		dims[i] = c.someSize()
	}
	return []value{x.where(dims)}
}
