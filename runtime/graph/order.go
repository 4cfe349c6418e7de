package graph

import (
	"fmt"
	"slices"
)

// Order is an order of the graph's nodes, by index, in which each comes after
// those whose outputs it takes, in graphs inside it too. A name that stands for
// two values is refused, and so is a circle.
func (g *Graph) Order() ([]int, error) {
	edges, err := g.edges()
	if err != nil {
		return nil, err
	}
	waits := make([]int, len(g.Nodes)) // for how many others
	feeds := make([][]int, len(g.Nodes))
	for e := range edges {
		waits[e.to]++
		feeds[e.from] = append(feeds[e.from], e.to)
	}
	order := make([]int, 0, len(g.Nodes))
	for i, n := range waits {
		slices.Sort(feeds[i]) // so that the order is always the same
		if n == 0 {
			order = append(order, i)
		}
	}
	for at := 0; at < len(order); at++ {
		for _, next := range feeds[order[at]] {
			if waits[next]--; waits[next] == 0 {
				order = append(order, next)
			}
		}
	}
	if len(order) < len(g.Nodes) {
		return nil, fmt.Errorf("%w: its operators wait for each other in a circle", ErrInvalid)
	}
	return order, nil
}

// each calls do with every name that the node takes, and every name that a graph
// inside it takes or gives, of which some are of the graph around it.
func (n *Node) each(do func(name string)) {
	for _, in := range n.Inputs {
		if in != "" {
			do(in)
		}
	}
	for i := range n.Attributes {
		g := n.Attributes[i].Graph
		if g == nil {
			continue
		}
		for _, out := range g.Outputs {
			do(out)
		}
		for j := range g.Nodes {
			g.Nodes[j].each(do)
		}
	}
}
