package rows

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/modelserveai/modelserve/runtime/graph"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Bounds on a walk: a file has work for so much at most.
const (
	maxSteps = 300_000
	maxDepth = 24 // of graphs inside each other
	maxRank  = 16
)

// walk goes over a graph.
type walk struct {
	*symbols
	rules map[operator]entry
	steps int
	depth int
}

func newWalk() *walk { return &walk{symbols: newSymbols(), rules: rules()} }

// scope has the values of a graph, and those of the graph around it.
type scope struct {
	values map[string]value
	outer  *scope
}

func (s *scope) find(name string) value {
	for ; s != nil; s = s.outer {
		if v, ok := s.values[name]; ok {
			return v
		}
	}
	return value{}
}

// set gives a name its value; false where it has one.
func (s *scope) set(name string, v value) bool {
	if s.find(name).kind != absent {
		return false
	}
	s.values[name] = v
	return true
}

// inputs are the values of a model's inputs, as requests are held to them.
func (w *walk) inputs(g *graph.Graph, sig *infer.Signature, rows []string) (*scope, error) {
	top := &scope{values: map[string]value{}}
	if g.Rewritten {
		return nil, errors.New("the file asks for rewriting when it is loaded")
	}
	for _, name := range g.Inputs {
		if _, constant := g.Initializers[name]; constant {
			continue
		}
		v := refused(fmt.Sprintf("input %q is not in the signature", cut(name)))
		if spec := infer.SpecOf(sig.Inputs, name); spec != nil {
			v = w.input(spec, slices.Contains(rows, name), sig.BatchAxis != nil)
		}
		if !top.set(name, v) {
			return nil, fmt.Errorf("%q stands for two values", cut(name))
		}
	}
	for _, name := range rows {
		if top.find(name).kind == absent {
			return nil, fmt.Errorf("the graph has no input %q that must be given", name)
		}
	}
	return top, nil
}

func (w *walk) input(spec *infer.TensorSpec, rows, decided bool) value {
	if len(spec.Shape) > maxRank {
		return refused(fmt.Sprintf("input %q has more than %d axes", spec.Name, maxRank))
	}
	dims := make([]mono, len(spec.Shape))
	for i, d := range spec.Shape {
		if dims[i] = number(d); d < 0 {
			dims[i] = w.fresh(positive)
		}
	}
	switch {
	case rows && len(dims) == 0:
		return refused(fmt.Sprintf("input %q has no axis for rows", spec.Name))
	case rows:
		dims[0] = rowCount()
		return value{kind: byRow, ranked: true, dims: dims, outer: number(1)}
	case decided && !spec.Unbatched:
		return refused(fmt.Sprintf("input %q has no rows, and the signature does not declare it unbatched", spec.Name))
	}
	return fixed(dims...)
}

// constant is the value of an initializer.
func (w *walk) constant(t *graph.Tensor) value {
	if len(t.Dims) > maxRank {
		return unranked()
	}
	dims := make([]mono, len(t.Dims))
	for i, d := range t.Dims {
		dims[i] = number(d)
	}
	var elems []elem
	if n := t.Elements(); n >= 0 && n <= maxElems {
		for _, i := range t.Ints {
			elems = append(elems, integer(i))
		}
		for _, f := range t.Floats {
			elems = append(elems, elem{kind: decimal, f: f})
		}
		if elems == nil && n > 0 {
			elems = make([]elem, n)
		}
	}
	return small(dims, elems)
}

// graph finds the values of a graph's operators, into s. Its inputs are there.
func (w *walk) graph(g *graph.Graph, s *scope) error {
	if w.depth++; w.depth > maxDepth {
		return fmt.Errorf("graphs are nested beyond %d", maxDepth)
	}
	defer func() { w.depth-- }()
	for name, t := range g.Initializers {
		if !s.set(name, w.constant(&t)) {
			return fmt.Errorf("%q stands for two values", cut(name))
		}
	}
	order, err := g.Order()
	if err != nil {
		return err
	}
	for _, i := range order {
		if err := w.node(&g.Nodes[i], s); err != nil {
			return err
		}
	}
	return nil
}

// node finds the values of one operator's outputs.
func (w *walk) node(n *graph.Node, s *scope) error {
	if w.steps++; w.steps > maxSteps {
		return fmt.Errorf("it takes more than %d steps to follow", maxSteps)
	}
	out, err := w.apply(n, s)
	if err != nil {
		return err
	}
	if w.full {
		return fmt.Errorf("it has more than %d sizes to follow", maxKnown)
	}
	for i, name := range n.Outputs {
		if name == "" {
			continue
		}
		v := refused(describe(n) + " has an output that no rule covers")
		if i < len(out) && out[i].kind != absent {
			v = out[i]
		}
		if !s.set(name, v) {
			return fmt.Errorf("%q stands for two values", cut(name))
		}
	}
	return nil
}

// apply is what an operator's rule shows of its outputs. An error ends the walk.
func (w *walk) apply(n *graph.Node, s *scope) ([]value, error) {
	id := operator{n.Domain, n.Op}
	e, ok := w.rules[id]
	switch {
	case n.Fused:
		return refuseOutputs(n, describe(n)+" is not an operator that is known"), nil
	case !ok:
		return refuseOutputs(n, describe(n)+" "+whyNot(id)), nil
	case n.Since < e.since || n.Since > e.last(id.domain):
		return refuseOutputs(n, fmt.Sprintf("%s is of version %d, which no rule covers", describe(n), n.Since)), nil
	}
	c := &call{walk: w, n: n, s: s, in: make([]value, len(n.Inputs))}
	for i, name := range n.Inputs {
		if name == "" {
			continue
		}
		c.in[i] = s.find(name)
		switch c.in[i].kind {
		case absent:
			return refuseOutputs(n, fmt.Sprintf("%s takes %.60q, which nothing gives", describe(n), name)), nil
		case unknown:
			return refuseOutputs(n, c.in[i].why), nil
		case padded:
			if !e.padded {
				return refuseOutputs(n, describe(n)+" takes words that are filled up to the longest of all rows"), nil
			}
		default:
		}
	}
	c.attributes(e.attributes)
	var out []value
	if c.why == "" {
		out = e.rule(c)
	}
	switch {
	case c.err != nil:
		return nil, c.err
	case c.why != "":
		return refuseOutputs(n, describe(n)+" "+c.why), nil
	}
	for i := range out {
		if len(out[i].dims) > maxRank {
			out[i] = refused(fmt.Sprintf("%s gives more than %d axes", describe(n), maxRank))
		}
	}
	return out, nil
}

func refuseOutputs(n *graph.Node, why string) []value {
	out := make([]value, len(n.Outputs))
	for i := range out {
		out[i] = refused(why)
	}
	return out
}

// describe names an operator for a publisher.
func describe(n *graph.Node) string {
	op := cut(n.Op)
	if n.Domain != "" {
		op = cut(n.Domain) + "." + op
	}
	if n.Name != "" && n.Name != n.Op {
		op += " " + strconv.Quote(cut(n.Name))
	}
	return op
}

// cut is the beginning of a name, in characters that a log and a page may have.
func cut(s string) string {
	if len(s) > 60 {
		s = s[:57] + "..."
	}
	quoted := strconv.QuoteToASCII(s)
	return quoted[1 : len(quoted)-1]
}
