package rows_test

import (
	"os"
	"testing"

	"github.com/modelserveai/modelserve/runtime/graph"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/rows"
)

// FuzzProve walks whatever can be read: it ends, and judges each output once.
func FuzzProve(f *testing.F) {
	h := newHeld(f)
	all := snippets()
	for i, name := range []string{"Reshape by Shape", "Expand by Where", "If", "LSTM", "Conv", "Slice", "Concat of rows", "TreeEnsembleClassifier", "Attention", "Einsum", "Split", "Pad", "Resize"} {
		g := newGen(uint64(i))
		all[name](g)
		g.finish()
		path, _, s, ok := h.optimized(f, g.m.marshal())
		if !ok {
			continue
		}
		if err := s.Close(); err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for kind := range byte(3) {
			f.Add(data, kind)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, kind byte) {
		g, err := graph.Read(data)
		if err != nil {
			return
		}
		sig := &infer.Signature{}
		shape := [][]int64{{-1, -1}, {-1, 3}, {-1, 2, -1, 4}, {-1}}[kind%4]
		for _, name := range g.Inputs {
			sig.Inputs = append(sig.Inputs, infer.TensorSpec{Name: name, DataType: infer.FP32, Shape: shape})
		}
		for _, name := range g.Outputs {
			sig.Outputs = append(sig.Outputs, infer.TensorSpec{Name: name})
		}
		v := rows.Prove(g, sig, nil)
		for _, out := range sig.Outputs {
			if k, ok := v.Outputs[out.Name]; !ok || k == rows.Unknown && v.Why == "" {
				t.Fatalf("output %q is %v, and there is no reason: %q", out.Name, k, v.Why)
			}
		}
	})
}
