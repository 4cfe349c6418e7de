package rows_test

import (
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestRowsOfTreesAndTexts are operators of ai.onnx.ml's fifth version and of
// texts, and the cases of them whose rows do not stay apart.
func TestRowsOfTreesAndTexts(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	tree := func(shape ...int64) model {
		g := newGen(1)
		g.values = []val{{"x", f32, shape}}
		learnedSnippets()["TreeEnsemble"](g)
		n := g.m.nodes[len(g.m.nodes)-1]
		n.inputs, n.outputs = []string{"x"}, []string{"y"}
		return model{nodes: []node{n}, inputs: []port{{"x", f32, shape}}, outputs: []string{"y"}}
	}
	columns := func(m model) model {
		m.nodes = []node{{op: "Transpose", inputs: []string{"x"}, outputs: []string{"t"}}, m.nodes[0]}
		m.nodes[1].inputs = []string{"t"}
		return m
	}
	words := func(list ...string) infer.Tensor {
		w := infer.Tensor{Name: "words", DataType: infer.Bytes, Shape: []int64{int64(len(list)), 1}}
		for _, text := range list {
			w.Data = append(append(w.Data, byte(len(text)), 0, 0, 0), text...)
		}
		return w
	}
	texts := func(op string, inputs []string, attributes []attribute, own ...infer.Tensor) model {
		return model{
			nodes:  []node{{op: op, inputs: inputs, outputs: []string{"y"}, attributes: attributes}},
			inputs: []port{{"x", infer.Bytes, []int64{-1, 2}}}, outputs: []string{"y"}, weights: own,
		}
	}
	for name, c := range map[string]struct {
		m   model
		why string
	}{
		"trees":                            {tree(-1, 3), ""},
		"trees of rows for features":       {columns(tree(-1, 3)), "TreeEnsemble"},
		"each text with itself":            {texts("StringConcat", []string{"x", "x"}, nil), ""},
		"each text with one word":          {texts("StringConcat", []string{"x", "words"}, nil, words("a")), ""},
		"one word for each of two rows":    {texts("StringConcat", []string{"x", "words"}, nil, words("a", "b")), "StringConcat"},
		"whether each text is as expected": {texts("RegexFullMatch", []string{"x"}, []attribute{{"pattern", "a.*"}}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectWhy(t, h.verdict(t, c.m), c.why)
		})
	}
}
