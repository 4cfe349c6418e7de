package rows

import (
	"fmt"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/runtime/graph"
)

// call is one operator with the values that it takes.
type call struct {
	*walk
	n   *graph.Node
	s   *scope
	in  []value
	why string // nothing is known of the outputs: the operator "…"
	err error  // nothing is known at all
}

// refuse records why nothing is known of the outputs.
func (c *call) refuse(format string, args ...any) []value {
	if c.why == "" {
		c.why = fmt.Sprintf(format, args...)
	}
	return nil
}

// attributes refuses those that no rule covers, and those there twice.
func (c *call) attributes(known string) {
	names := strings.Fields(known)
	for i := range c.n.Attributes {
		a := &c.n.Attributes[i]
		if !slices.Contains(names, a.Name) {
			c.refuse("has the attribute %s, which no rule covers", cut(a.Name))
		}
		if c.n.Attribute(a.Name) != a {
			c.refuse("has the attribute %s twice", cut(a.Name))
		}
	}
}

// attribute is one of a type; nil without it. ONNX Runtime goes on without one
// of another type; here that is refused.
func (c *call) attribute(name string, t graph.AttributeType) *graph.Attribute {
	a := c.n.Attribute(name)
	if a != nil && a.Type != t {
		c.refuse("has the attribute %s of another type than expected", name)
		return nil
	}
	return a
}

func (c *call) integer(name string, byDefault int64) int64 {
	if a := c.attribute(name, graph.Int); a != nil {
		return a.Int
	}
	return byDefault
}

// flag is an attribute that is 0 or 1. What else it is, kernels do not agree on.
func (c *call) flag(name string, byDefault int64) bool {
	n := c.integer(name, byDefault)
	if n != 0 && n != 1 {
		c.refuse("has the attribute %s of %d, where 0 or 1 was expected", name, n)
	}
	return n == 1
}

func (c *call) text(name, byDefault string) string {
	if a := c.attribute(name, graph.String); a != nil {
		return a.String
	}
	return byDefault
}

// integers are those of a list; nil without one.
func (c *call) integers(name string) []int64 {
	a := c.attribute(name, graph.Ints)
	if a == nil {
		return nil
	}
	if a.Ints == nil {
		c.refuse("has too long a list %s", name)
		return []int64{}
	}
	return a.Ints
}

// arg is an input; of kind absent where it is left out.
func (c *call) arg(i int) value {
	if i < len(c.in) {
		return c.in[i]
	}
	return value{}
}

// need refuses fewer or more inputs than a rule covers.
func (c *call) need(least, most int) bool {
	if len(c.in) > most {
		c.refuse("has more inputs than a rule covers")
		return false
	}
	for i := range least {
		if c.arg(i).kind == absent {
			c.refuse("has too few inputs")
			return false
		}
	}
	return true
}

// no refuses inputs that a rule does not cover.
func (c *call) no(from int) bool {
	for i := from; i < len(c.in); i++ {
		if c.in[i].kind != absent {
			c.refuse("has more inputs than a rule covers")
			return false
		}
	}
	return true
}

// fixed refuses inputs that are not the same for all rows, from one on.
func (c *call) fixed(from int) bool {
	for i := from; i < len(c.in); i++ {
		switch c.in[i].kind {
		case byRow:
			c.refuse("takes rows as its input %d, which must be the same for all of them", i)
			return false
		case count:
			c.refuse("takes the number of rows as its input %d", i)
			return false
		default:
		}
	}
	return true
}

// allSame reports whether all inputs are the same in all runs.
func (c *call) allSame() bool {
	return !slices.ContainsFunc(c.in, func(v value) bool { return v.kind != absent && v.kind != same })
}

// counted refuses inputs that have the number of rows in them, which only shape
// arithmetic may.
func (c *call) counted() bool {
	if slices.ContainsFunc(c.in, func(v value) bool { return v.kind == count }) {
		c.refuse("takes the number of rows as a value")
		return true
	}
	return false
}

// data is the input that has the rows, where all others are the same for all of
// them. Where it has none either, the outputs are the same, and done is true.
func (c *call) data() (x value, done []value) {
	x = c.arg(0)
	if c.counted() || !c.fixed(1) {
		return x, nil
	}
	if x.kind == same {
		return x, c.sames(len(c.n.Outputs))
	}
	return x, nil
}

// sames are outputs of which no more is known than that they are the same.
func (c *call) sames(n int) []value {
	out := make([]value, n)
	for i := range out {
		out[i] = unranked()
	}
	return out
}

// axisOf is an axis of a rank, counted from the end where it is negative.
func (c *call) axisOf(axis int64, rank int) int {
	if axis < 0 {
		axis += int64(rank)
	}
	if axis < 0 || axis >= int64(rank) {
		c.refuse("has an axis that its input has not")
		return 0
	}
	return int(axis)
}

// axes are a list's, of a rank.
func (c *call) axes(list []int64, rank int) []int {
	out := make([]int, len(list))
	for i, a := range list {
		out[i] = c.axisOf(a, rank)
	}
	return out
}

// given are the integers of an attribute, before since, or of the second input
// from then on; there reports whether either is.
func (c *call) given(name string, since int) (list []int64, there bool) {
	if c.n.Since < since {
		list = c.integers(name)
		return list, list != nil
	}
	if c.n.Attribute(name) != nil {
		c.refuse("has the attribute %s, which its version has not", name)
	}
	v := c.arg(1)
	if v.kind == absent {
		return nil, false
	}
	list, ok := v.constants()
	if !ok {
		c.refuse("has %s that are not constant", name)
		return nil, true
	}
	return list, true
}

// someSize is a dimension of which nothing is known but that it is the same.
func (w *walk) someSize() mono { return w.fresh(notNegative) }

// size is a dimension by an element's value.
func (w *walk) size(e elem) mono {
	if e.kind == whole && (e.n.hasRows() || w.bound(e.n) == positive || e.n.coef == 0) {
		return e.n
	}
	return w.someSize()
}

// filled is a value of dims that is the same all over: where one of them has the
// number of rows, it is by row there. More than one is refused.
func (c *call) filled(dims []mono) value {
	axis := -1
	for i, d := range dims {
		if !d.hasRows() {
			continue
		}
		if _, once := d.perRow(); !once || axis >= 0 || c.bound(d) != positive {
			c.refuse("has the number of rows in more than one axis")
			return value{}
		}
		axis = i
	}
	if axis < 0 {
		return fixed(dims...)
	}
	return value{kind: byRow, ranked: true, dims: dims, axis: axis, outer: number(1)}
}

// where is v with other dimensions, its rows on the axis they were on.
func (v value) where(dims []mono) value {
	v.dims, v.elems = dims, nil
	return v
}

// with is v's dims with one replaced.
func (v value) with(axis int, d mono) []mono {
	dims := slices.Clone(v.dims)
	dims[axis] = d
	return dims
}
