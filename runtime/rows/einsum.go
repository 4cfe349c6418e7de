package rows

import "strings"

// einsum sums products over letters. The letter of the rows is not summed over,
// and is no other operand's but one with the same rows.
func einsum(c *call) []value {
	if !c.need(1, 8) || c.counted() {
		return nil
	}
	equation := strings.ReplaceAll(c.text("equation", ""), " ", "")
	if c.allSame() {
		return c.sames(1)
	}
	left, right, ok := strings.Cut(equation, "->")
	terms := strings.Split(left, ",")
	if !ok || strings.ContainsAny(equation, ".") || len(terms) != len(c.in) {
		return c.refuse("has an equation that is not followed")
	}
	var rows byte
	var first value
	sizes := map[byte]mono{}
	for i, v := range c.in {
		if !v.ranked || len(v.dims) != len(terms[i]) {
			return c.refuse("has an equation that does not fit")
		}
		for d := range v.dims {
			letter := terms[i][d]
			if known, ok := sizes[letter]; !ok || known.literal(1) {
				sizes[letter] = v.dims[d]
			} else if known != v.dims[d] && !v.dims[d].literal(1) {
				sizes[letter] = c.someSize()
			}
		}
		if v.kind != byRow {
			continue
		}
		letter := terms[i][v.axis]
		if rows != 0 && (rows != letter || v.outer != first.outer || v.dims[v.axis] != first.dims[first.axis]) {
			return c.refuse("multiplies rows with each other")
		}
		rows, first = letter, v
	}
	for i, v := range c.in {
		if n := strings.Count(terms[i], string(rows)); v.kind == byRow && n != 1 || v.kind != byRow && n != 0 {
			return c.refuse("takes a value of its own along the axis that the rows are on")
		}
	}
	if strings.Count(right, string(rows)) != 1 {
		return c.refuse("sums over the rows")
	}
	sizes[rows] = first.dims[first.axis]
	dims := make([]mono, len(right))
	for i := range dims {
		d, ok := sizes[right[i]]
		if !ok || strings.Count(right, right[i:i+1]) > 1 {
			return c.refuse("has an equation that does not fit")
		}
		dims[i] = d
	}
	return []value{{kind: byRow, ranked: true, dims: dims, axis: strings.IndexByte(right, rows), outer: first.outer}}
}
