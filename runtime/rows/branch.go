package rows

import (
	"slices"

	"github.com/modelserveai/modelserve/runtime/graph"
)

// branch is If: one of two graphs, by a condition that is the same for all rows.
// Both must make the same of the rows, where the condition is not known.
func branch(c *call) []value {
	if !c.need(1, 1) {
		return nil
	}
	if c.in[0].kind != same {
		return c.refuse("goes by a condition that rows decide")
	}
	then, other := c.attribute("then_branch", graph.GraphType), c.attribute("else_branch", graph.GraphType)
	if then == nil || other == nil || then.Graph == nil || other.Graph == nil {
		return c.refuse("has no two graphs")
	}
	if len(c.in[0].elems) == 1 {
		if n, ok := c.in[0].elems[0].constant(); ok {
			if n != 0 {
				return c.body(then.Graph)
			}
			return c.body(other.Graph)
		}
	}
	a, b := c.body(then.Graph), c.body(other.Graph)
	if c.why != "" || c.err != nil {
		return nil
	}
	out := make([]value, len(a))
	for i := range a {
		out[i] = c.both(a[i], b[i])
	}
	return out
}

// body follows a graph inside an operator.
func (c *call) body(g *graph.Graph) []value {
	if len(g.Inputs) > 0 || len(g.Outputs) != len(c.n.Outputs) {
		return c.refuse("has a graph with inputs, or other outputs than it has itself")
	}
	s := &scope{values: map[string]value{}, outer: c.s}
	if c.err = c.graph(g, s); c.err != nil {
		return nil
	}
	out := make([]value, len(g.Outputs))
	for i, name := range g.Outputs {
		if out[i] = s.find(name); out[i].kind == absent {
			return c.refuse("has a graph without the output %s", cut(name))
		}
	}
	return out
}

// both is what is known of a value that is either of two.
func (c *call) both(a, b value) value {
	switch {
	case a.kind == unknown:
		return a
	case b.kind == unknown:
		return b
	case a.kind != b.kind || a.kind == count || a.kind == padded:
		return refused(describe(c.n) + " has branches of which only one has rows, or the number of rows")
	case a.kind == same && (!a.ranked || !b.ranked || len(a.dims) != len(b.dims)):
		return unranked()
	case a.kind == byRow && !c.aligned(a, b):
		return refused(describe(c.n) + " has branches with rows on different axes")
	}
	dims := slices.Clone(a.dims)
	for i := range dims {
		if dims[i] != b.dims[i] {
			dims[i] = c.someSize()
		}
	}
	return a.where(dims)
}
