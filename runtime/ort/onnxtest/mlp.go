package onnxtest

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
)

// MLP is a chain of dense layers from "x" of [n, widths[0]] to "y" of
// [n, widths[last]]: MatMul, Add, and Relu between two layers. The weights are
// float32, drawn from the seed, and scaled so that values neither grow nor
// vanish on the way: eight layers of 2048 by 2048 are 134 MB.
func MLP(seed uint64, widths ...int) Model {
	last := len(widths) - 1
	m := unary("", Float, Float, []any{"n", widths[0]}, []any{"n", widths[last]})
	m.Graph.Nodes = nil
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // the same weights from the same seed are wanted
	at := "x"
	for i := range last {
		in, out := widths[i], widths[i+1]
		weights, bias := fmt.Sprintf("w%d", i), fmt.Sprintf("b%d", i)
		m.Graph.Initializers = append(m.Graph.Initializers,
			uniform(random, weights, math.Sqrt(6/float64(in)), int64(in), int64(out)),
			uniform(random, bias, 0.1, int64(out)))
		product, sum := fmt.Sprintf("p%d", i), fmt.Sprintf("s%d", i)
		if i == last-1 {
			sum = "y"
		}
		m.Graph.Nodes = append(m.Graph.Nodes,
			Node{Op: "MatMul", Inputs: []string{at, weights}, Outputs: []string{product}},
			Node{Op: "Add", Inputs: []string{product, bias}, Outputs: []string{sum}})
		if at = sum; i < last-1 {
			at = fmt.Sprintf("r%d", i)
			m.Graph.Nodes = append(m.Graph.Nodes, Node{Op: "Relu", Inputs: []string{sum}, Outputs: []string{at}})
		}
	}
	return m
}

// uniform draws a float32 tensor from [-bound, bound).
func uniform(random *rand.Rand, name string, bound float64, shape ...int64) Tensor {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	raw := make([]byte, 0, 4*n)
	for range n {
		v := float32((2*random.Float64() - 1) * bound)
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return Tensor{Name: name, Element: Float, Shape: shape, Raw: raw}
}
