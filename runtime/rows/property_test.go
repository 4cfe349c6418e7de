package rows_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/rows"
)

// unheld are the operators of the allow-list that no property reaches, and why.
func unheld() map[[2]string]string {
	return map[[2]string]string{
		{"", "QLinearConv"}: "the optimiser puts com.microsoft.QLinearConv, of the same rule, in its place on the CPUs that tests run on",
	}
}

// TestRulesHold holds what is accepted to what ONNX Runtime answers to rows alone
// and together, and every operator of the allow-list to being among it.
func TestRulesHold(t *testing.T) { //nolint:tparallel // it waits for those in it
	t.Parallel()
	var mu sync.Mutex
	done := 0
	seen := map[[2]string]int{}
	t.Run("all", func(t *testing.T) {
		for name, property := range map[string]struct {
			run   func(h *held, t *testing.T)
			floor int // of what is accepted and run: a proof that cannot run proves nothing
		}{
			"node suite":        {func(h *held, t *testing.T) { h.suite(t) }, 600},
			"one operator":      {func(h *held, t *testing.T) { h.each(t, 24) }, 2500},
			"several operators": {func(h *held, t *testing.T) { h.several(t, 1500) }, 700},
			"shipped models":    {func(h *held, t *testing.T) { h.shipped(t) }, 4},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				h := newHeld(t)
				property.run(h, t)
				t.Logf("%d accepted and run, %d with extreme values too (and %d never together), of %d accepted; %d refused, %d could not run", h.ran, h.extreme, h.stop, h.accepted, h.refused, h.cannot)
				if h.ran < property.floor {
					t.Errorf("only %d were accepted and run; expected %d", h.ran, property.floor)
				}
				if least := property.floor - property.floor/10; h.extreme < least {
					t.Errorf("only %d ran with extreme values; expected %d", h.extreme, least)
				}
				mu.Lock()
				defer mu.Unlock()
				done++
				for id, n := range h.operators {
					seen[id] += n
				}
			})
		}
	})
	if done < 4 {
		return // some of them were asked for
	}
	for _, id := range rows.Operators() {
		if reason := unheld()[id]; seen[id] == 0 && reason == "" {
			t.Errorf("%s.%s was in no graph that was accepted and ran", id[0], id[1])
		} else if seen[id] > 0 && reason != "" {
			t.Errorf("%s.%s was held, and is listed as %s", id[0], id[1], reason)
		}
	}
}

// each makes so many graphs of each operator, with attributes that are drawn.
func (h *held) each(t *testing.T, each int) {
	t.Helper()
	all := snippets()
	for i, name := range slices.Sorted(maps.Keys(all)) {
		for n := range each {
			g := newGen(uint64(1000*i + n))
			all[name](g)
			h.generatedGraph(t, fmt.Sprintf("%s, graph %d", name, n), g)
		}
	}
}

// several makes so many graphs of several operators, behind each other.
func (h *held) several(t *testing.T, several int) {
	t.Helper()
	all := snippets()
	names := slices.Sorted(maps.Keys(all))
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
