package rows_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/modelserveai/modelserve/runtime/graph"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/rows"
)

// BenchmarkProveFile compares a walk with what a load of the same file takes.
func BenchmarkProveFile(b *testing.B) {
	h := newHeld(b)
	for _, name := range []string{"text-recognize/PP-OCRv6_rec_small.onnx", "content-detect/model.onnx"} {
		model, err := os.ReadFile(shippedModel(b, name))
		if err != nil {
			b.Fatal(err)
		}
		path, sig, s, ok := h.optimized(b, model)
		if !ok {
			b.Fatal("ONNX Runtime does not have it")
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.Run("walk/"+name, func(b *testing.B) {
			for b.Loop() {
				if v, err := rows.ProveFile(path, &sig, nil); err != nil || v.Why != "" {
					b.Fatal(v.Why, err)
				}
			}
		})
		b.Run("load/"+name, func(b *testing.B) {
			for b.Loop() {
				s, err := h.lib.Open(path, ort.Options{})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkProve walks a graph of 3,000 operators, of shape arithmetic a third.
func BenchmarkProve(b *testing.B) {
	g := &graph.Graph{Inputs: []string{"v0"}, Initializers: map[string]graph.Tensor{
		"last": {DataType: graph.TypeInt64, Dims: []int64{1}, Ints: []int64{12}},
		"at":   {DataType: graph.TypeInt64, Dims: []int64{1}, Ints: []int64{0}},
	}}
	for i := range 500 {
		in := func(n string) string { return fmt.Sprintf("%s%d", n, i) }
		last := fmt.Sprintf("v%d", i+1)
		g.Nodes = append(g.Nodes,
			graph.Node{Op: "Shape", Since: 21, Inputs: []string{in("v")}, Outputs: []string{in("s")}},
			graph.Node{Op: "Gather", Since: 13, Inputs: []string{in("s"), "at"}, Outputs: []string{in("n")}},
			graph.Node{Op: "Concat", Since: 13, Inputs: []string{in("n"), "last"}, Outputs: []string{in("t")}, Attributes: []graph.Attribute{{Name: "axis", Type: graph.Int}}},
			graph.Node{Op: "Reshape", Since: 21, Inputs: []string{in("v"), in("t")}, Outputs: []string{in("r")}},
			graph.Node{Op: "Exp", Since: 13, Inputs: []string{in("r")}, Outputs: []string{in("e")}},
			graph.Node{Op: "Add", Since: 14, Inputs: []string{in("e"), in("v")}, Outputs: []string{last}},
		)
	}
	g.Outputs = []string{"v500"}
	sig := &infer.Signature{
		Inputs:  []infer.TensorSpec{{Name: "v0", DataType: infer.FP32, Shape: []int64{-1, 12}}},
		Outputs: []infer.TensorSpec{{Name: "v500"}},
	}
	for b.Loop() {
		if v := rows.Prove(g, sig, nil); v.Why != "" {
			b.Fatal(v.Why)
		}
	}
}
