package rows

// recur is RNN, GRU and LSTM, with time first: the rows are on the second axis,
// the first of the lengths, and the second of the states that it begins with.
func recur(c *call) []value {
	if !c.need(3, 8) || c.counted() {
		return nil
	}
	if c.flag("layout", 0) {
		return c.refuse("has the rows first, which ONNX Runtime does not run")
	}
	x := c.in[0]
	if c.allSame() {
		return c.sames(len(c.n.Outputs))
	}
	if x.kind != byRow || len(x.dims) != 3 || x.axis != 1 {
		return c.refuse("does not have the rows on the second axis of its input")
	}
	size := x.dims[1]
	for i, v := range c.in[1:] {
		place := i + 1
		switch {
		case v.kind == absent:
		case place == 4 || place == 5 || place == 6 && c.n.Op == "LSTM":
			axis := 1
			if place == 4 {
				axis = 0
			}
			if v.kind != byRow || v.axis != axis || v.outer != x.outer || v.dims[v.axis] != size {
				return c.refuse("begins with lengths or states that are not of the same rows")
			}
		case v.kind != same:
			return c.refuse("takes rows as its input %d, which must be the same for all of them", place)
		}
	}
	directions, hidden := number(1), c.someSize()
	if c.text("direction", "forward") == "bidirectional" {
		directions = number(2)
	}
	if n := c.integer("hidden_size", 0); n > 0 {
		hidden = number(n)
	}
	all := value{kind: byRow, ranked: true, dims: []mono{x.dims[0], directions, size, hidden}, axis: 2, outer: x.outer}
	last := value{kind: byRow, ranked: true, dims: []mono{directions, size, hidden}, axis: 1, outer: x.outer}
	return []value{all, last, last}
}
