package graph

import "fmt"

// edge is one from an operator to one that takes what it gives, by their places
// in Nodes.
type edge struct{ from, to int }

// The fields of a NodeEdge, and the bytes of an EdgeEnd, whose first four are an
// operator's index.
const (
	edgeNode    = 0
	edgeInputs  = 1
	edgeOutputs = 2
	edgeEndSize = 12
)

// checkEdges holds the edges of a file, which ONNX Runtime orders operators by,
// to those by their names: an operator that runs before one that it takes
// from would read what nobody wrote.
func (r *ortReader) checkEdges(at table, g *Graph, indices map[int]int) error {
	names, err := g.edges()
	if err != nil {
		return err
	}
	forward, backward := map[edge]bool{}, map[edge]bool{}
	err = r.tables(at, graphEdges, func(t table) error {
		node, ok := indices[int(r.int32(t, edgeNode))]
		if !ok {
			return fmt.Errorf("%w: an edge is of an operator that is not there", ErrInvalid)
		}
		err := r.ends(t, edgeInputs, indices, func(other int) { backward[edge{other, node}] = true })
		if err != nil {
			return err
		}
		return r.ends(t, edgeOutputs, indices, func(other int) { forward[edge{node, other}] = true })
	})
	if err != nil {
		return err
	}
	for e := range names {
		if !forward[e] || !backward[e] {
			return fmt.Errorf("%w: it has no edge from %.100q to %.100q, which takes from it", ErrInvalid, g.Nodes[e.from].Name, g.Nodes[e.to].Name)
		}
	}
	if len(forward) != len(names) || len(backward) != len(names) {
		return fmt.Errorf("%w: it has edges that its names do not have", ErrInvalid)
	}
	return nil
}

// ends calls do with the operator at the other end of each edge of a list.
func (r *ortReader) ends(t table, index int, indices map[int]int, do func(other int)) error {
	at, n := r.vector(t, index, edgeEndSize)
	if err := r.elements(n); err != nil {
		return err
	}
	for i := range n {
		other, ok := indices[int(int32(r.u32(at+i*edgeEndSize)))]
		if !ok {
			return fmt.Errorf("%w: an edge leads to an operator that is not there", ErrInvalid)
		}
		do(other)
	}
	return r.err
}

// edges are those by the values' names. A name that stands for two values is
// refused.
func (g *Graph) edges() (map[edge]bool, error) {
	from := make(map[string]int, 2*len(g.Nodes)) // which operator gives a name
	for i := range g.Nodes {
		for _, out := range g.Nodes[i].Outputs {
			if out == "" {
				continue
			}
			_, twice := from[out]
			_, constant := g.Initializers[out]
			if twice || constant {
				return nil, fmt.Errorf("%w: %.100q stands for two values", ErrInvalid, out)
			}
			from[out] = i
		}
	}
	for _, in := range g.Inputs {
		if _, twice := from[in]; twice {
			return nil, fmt.Errorf("%w: %.100q stands for two values", ErrInvalid, in)
		}
	}
	edges := map[edge]bool{}
	for i := range g.Nodes {
		g.Nodes[i].each(func(name string) {
			if giver, ok := from[name]; ok {
				edges[edge{giver, i}] = true
			}
		})
	}
	return edges, nil
}
