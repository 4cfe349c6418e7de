package rows

import (
	"github.com/modelserveai/modelserve/runtime/graph"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Sizes are the sizes that a walk infers of the outputs of a graph, where there
// are so many rows; -1 is one that is not known. Outputs of unknown rank have
// none.
func Sizes(g *graph.Graph, sig *infer.Signature, rowInputs []string, rows int64) map[string][]int64 {
	w := newWalk()
	top, err := w.inputs(g, sig, rowInputs)
	if err != nil || w.graph(g, top) != nil {
		return nil
	}
	out := map[string][]int64{}
	for i := range sig.Outputs {
		v := top.find(sig.Outputs[i].Name)
		if !v.ranked {
			continue
		}
		sizes := []int64{}
		for _, d := range v.dims {
			if d.hasRows() {
				d.coef *= rows
				d.syms = d.syms[symbolSize:]
			}
			n, ok := d.constant()
			if !ok {
				n = -1
			}
			sizes = append(sizes, n)
		}
		out[sig.Outputs[i].Name] = sizes
	}
	return out
}

// Operators are those of the allow-list: domain and name.
func Operators() [][2]string {
	var out [][2]string
	for id := range rules() {
		out = append(out, [2]string{id.domain, id.name})
	}
	return out
}
