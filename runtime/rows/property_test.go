package rows_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestGeneratedGraphs makes graphs of each operator with attributes that are
// drawn, and of several operators behind each other.
func TestGeneratedGraphs(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	h.generated(t, 24, 1500)
	t.Logf("accepted and run %d of %d accepted (%d never together), %d refused, %d could not run", h.ran, h.accepted, h.stop, h.refused, h.cannot)
	if h.ran < 500 {
		t.Errorf("only %d graphs were accepted and run: the rules were held to nothing", h.ran)
	}
}

// generated makes so many graphs of each operator, and so many of several.
func (h *held) generated(t *testing.T, each, several int) {
	t.Helper()
	all := snippets()
	names := slices.Sorted(maps.Keys(all))
	for i, name := range names {
		for n := range each {
			g := newGen(uint64(1000*i + n))
			all[name](g)
			h.generatedGraph(t, fmt.Sprintf("%s, graph %d", name, n), g)
		}
	}
	for n := range several {
		g := newGen(uint64(1_000_000 + n))
		label := ""
		for range 2 + g.IntN(5) {
			name := names[g.IntN(len(names))]
			label += name + " "
			all[name](g)
		}
		h.generatedGraph(t, fmt.Sprintf("%sgraph %d", label, n), g)
	}
}

func (h *held) generatedGraph(t *testing.T, name string, g *gen) {
	t.Helper()
	if len(g.m.nodes) == 0 {
		return
	}
	g.finish()
	var inputs []string
	for _, p := range g.m.inputs {
		if len(p.shape) > 0 && p.shape[0] == rowsDim {
			inputs = append(inputs, p.name)
		}
	}
	h.hold(t, name, g.m.marshal(), inputs, func(sig *infer.Signature) (rowsOf, []infer.Tensor) {
		return g.data(sig, inputs, 4)
	})
}
