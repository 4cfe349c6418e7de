package rows_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/rows"
)

// expectWhy holds a verdict to naming an operator; "" is that it shows all.
func expectWhy(t *testing.T, v rows.Verdict, operator string) {
	t.Helper()
	if operator == "" && v.Why != "" || !strings.Contains(v.Why, operator) || operator != "" && v.Why == "" {
		t.Errorf("the verdict is %v, %q; expected it to name %q", v.Outputs, v.Why, operator)
	}
}

// chain is a graph of operators, each behind the one before it, from x to y.
func chain(x port, nodes ...node) model {
	for i := range nodes {
		in, out := "v"+string(rune('a'+i)), "v"+string(rune('b'+i))
		if i == 0 {
			in = x.name
		}
		if i == len(nodes)-1 {
			out = "out"
		}
		nodes[i].inputs = append([]string{in}, nodes[i].inputs...)
		nodes[i].outputs = []string{out}
	}
	return model{nodes: nodes, inputs: []port{x}, outputs: []string{"out"}}
}

func weights(g *gen) []infer.Tensor { return g.m.weights }

// named gives a weight a name.
func named(t infer.Tensor, name string) infer.Tensor {
	t.Name = name
	return t
}

func ints(name string, list ...int64) infer.Tensor {
	g := newGen(0)
	g.ints(list...)
	return named(weights(g)[0], name)
}

func int32s(name string, n int32) infer.Tensor {
	return infer.Tensor{Name: name, DataType: infer.Int32, Shape: []int64{1}, Data: binary.LittleEndian.AppendUint32(nil, uint32(n))}
}

func floatsOf(name string, f float32, shape ...int64) infer.Tensor {
	g := newGen(0)
	g.float(f, shape...)
	return named(weights(g)[0], name)
}

// TestRefused are graphs whose rows do not stay apart, which trials took for
// such that do, or are made to be.
func TestRefused(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	x := port{"x", f32, []int64{-1, 3}}
	flags := port{"x", infer.Bool, []int64{-1, 1}}
	whole := port{"x", i64, []int64{-1, 1}}
	branch := func(op string) model {
		return model{nodes: []node{{op: op, inputs: []string{"x"}, outputs: []string{"in" + op}}}, outputs: []string{"in" + op}}
	}
	for name, c := range map[string]struct {
		m   model
		why string
	}{
		"less the mean of all rows": {
			model{
				nodes: []node{
					{op: "ReduceMean", inputs: []string{"x", "axes"}, outputs: []string{"mean"}, attributes: []attribute{{"keepdims", 1}}},
					{op: "Sub", inputs: []string{"x", "mean"}, outputs: []string{"y"}},
				},
				inputs: []port{x}, outputs: []string{"y"}, weights: []infer.Tensor{ints("axes", 0)},
			}, "ReduceMean",
		},
		"true where any is": {
			model{
				nodes: []node{
					{op: "Cast", inputs: []string{"x"}, outputs: []string{"n"}, attributes: []attribute{{"to", 1}}},
					{op: "ReduceMax", inputs: []string{"n"}, outputs: []string{"any"}, attributes: []attribute{{"keepdims", 0}}},
					{op: "Cast", inputs: []string{"any"}, outputs: []string{"is"}, attributes: []attribute{{"to", 9}}},
					{op: "Or", inputs: []string{"x", "is"}, outputs: []string{"y"}},
				},
				inputs: []port{flags}, outputs: []string{"y"},
			}, "ReduceMax",
		},
		"a branch by whether any is urgent": {
			model{
				nodes: []node{
					{op: "Cast", inputs: []string{"urgent"}, outputs: []string{"n"}, attributes: []attribute{{"to", 1}}},
					{op: "ReduceMax", inputs: []string{"n"}, outputs: []string{"any"}, attributes: []attribute{{"keepdims", 0}}},
					{op: "Cast", inputs: []string{"any"}, outputs: []string{"is"}, attributes: []attribute{{"to", 9}}},
					{op: "If", inputs: []string{"is"}, outputs: []string{"y"}, attributes: []attribute{{"then_branch", branch("Relu")}, {"else_branch", branch("Neg")}}},
				},
				inputs: []port{x, {"urgent", infer.Bool, []int64{-1}}}, outputs: []string{"y"},
			}, "ReduceMax",
		},
		"a branch by how many rows there are": {
			model{
				nodes: []node{
					{op: "Shape", inputs: []string{"x"}, outputs: []string{"shape"}},
					{op: "ReduceProd", inputs: []string{"shape"}, outputs: []string{"n"}, attributes: []attribute{{"keepdims", 0}}},
					{op: "Greater", inputs: []string{"n", "limit"}, outputs: []string{"is"}},
					{op: "If", inputs: []string{"is"}, outputs: []string{"y"}, attributes: []attribute{{"then_branch", branch("Relu")}, {"else_branch", branch("Neg")}}},
				},
				inputs: []port{x}, outputs: []string{"y"}, weights: []infer.Tensor{named(ints("", 5), "limit")},
			}, "Greater",
		},
		"less the least of all rows": {
			model{
				nodes: []node{
					{op: "ReduceMin", inputs: []string{"x"}, outputs: []string{"least"}},
					{op: "Sub", inputs: []string{"x", "least"}, outputs: []string{"y"}},
				},
				inputs: []port{whole}, outputs: []string{"y"},
			}, "ReduceMin",
		},
		"more where any element lies in a range": {
			model{
				nodes: []node{
					{op: "Greater", inputs: []string{"x", "low"}, outputs: []string{"a"}},
					{op: "Less", inputs: []string{"x", "high"}, outputs: []string{"b"}},
					{op: "And", inputs: []string{"a", "b"}, outputs: []string{"c"}},
					{op: "Cast", inputs: []string{"c"}, outputs: []string{"n"}, attributes: []attribute{{"to", 1}}},
					{op: "ReduceMax", inputs: []string{"n"}, outputs: []string{"any"}},
					{op: "Add", inputs: []string{"x", "any"}, outputs: []string{"y"}},
				},
				inputs: []port{x}, outputs: []string{"y"}, weights: []infer.Tensor{floatsOf("low", 0.25), floatsOf("high", 0.3)},
			}, "ReduceMax",
		},
		"a scale over all rows": {
			model{
				nodes: []node{
					{op: "DynamicQuantizeLinear", inputs: []string{"x"}, outputs: []string{"q", "scale", "zero"}},
					{op: "DequantizeLinear", inputs: []string{"q", "scale", "zero"}, outputs: []string{"y"}},
				},
				inputs: []port{x}, outputs: []string{"y"},
			}, "DynamicQuantizeLinear",
		},
		"places of what is not zero":    {chain(x, node{op: "NonZero"}), "NonZero"},
		"the most frequent of all rows": {chain(port{"x", f32, []int64{-1}}, node{op: "Unique"}), "Unique"},
		"the row count as a value": {
			model{
				nodes: []node{
					{op: "Shape", inputs: []string{"x"}, outputs: []string{"shape"}, attributes: []attribute{{"end", 1}}},
					{op: "Cast", inputs: []string{"shape"}, outputs: []string{"n"}, attributes: []attribute{{"to", 1}}},
					{op: "Div", inputs: []string{"x", "n"}, outputs: []string{"y"}},
				},
				inputs: []port{x}, outputs: []string{"y"},
			}, "Cast",
		},
		"two of three rows in each line": {
			model{
				nodes:  []node{{op: "Reshape", inputs: []string{"x", "shape"}, outputs: []string{"y"}}},
				inputs: []port{x}, outputs: []string{"y"}, weights: []infer.Tensor{ints("shape", -1, 2)},
			}, "Reshape",
		},
		"a table with a line for each of two rows": {
			model{
				nodes:  []node{{op: "Add", inputs: []string{"x", "table"}, outputs: []string{"y"}}},
				inputs: []port{x}, outputs: []string{"y"}, weights: []infer.Tensor{floatsOf("table", 1, 2, 3)},
			}, "Add",
		},
		"rows added to columns": {
			model{
				nodes: []node{
					{op: "Transpose", inputs: []string{"x"}, outputs: []string{"t"}},
					{op: "Add", inputs: []string{"x", "t"}, outputs: []string{"y"}},
				},
				inputs: []port{{"x", f32, []int64{-1, 1}}}, outputs: []string{"y"},
			}, "Add",
		},
		"a matrix that may be one of one row": {chain(x, node{op: "Squeeze"}), "Squeeze"},
		"places in the images of all rows": {
			model{
				nodes:  []node{{op: "MaxPool", inputs: []string{"x"}, outputs: []string{"largest", "y"}, attributes: []attribute{{"kernel_shape", []int64{2, 2}}}}},
				inputs: []port{{"x", f32, []int64{-1, 1, 4, 4}}}, outputs: []string{"y"},
			}, "MaxPool",
		},
		"softmax over all that follows, as it was": {
			func() model {
				m := chain(port{"x", f32, []int64{2, -1, 3}}, node{op: "Softmax"})
				m.opset = 11
				m.nodes = append([]node{{op: "Transpose", inputs: []string{"in"}, outputs: []string{"x"}, attributes: []attribute{{"perm", []int64{1, 0, 2}}}}}, m.nodes...)
				m.inputs = []port{{"in", f32, []int64{-1, 2, 3}}}
				return m
			}(), "Softmax",
		},
		"features of one sample for rows": {
			chain(port{"x", f32, []int64{-1}}, node{domain: "ai.onnx.ml", op: "Normalizer"}), "Normalizer",
		},
		"the end of a slice wraps around": {
			model{
				nodes: []node{
					// Not constant, so that the optimiser leaves it to be computed.
					{op: "Shape", inputs: []string{"x"}, outputs: []string{"two"}, attributes: []attribute{{"start", 1}}},
					{op: "Cast", inputs: []string{"two"}, outputs: []string{"small"}, attributes: []attribute{{"to", 6}}},
					{op: "Mul", inputs: []string{"small", "large"}, outputs: []string{"wrapped"}},
					{op: "Add", inputs: []string{"wrapped", "one"}, outputs: []string{"end"}},
					{op: "Slice", inputs: []string{"x", "zero", "end"}, outputs: []string{"first"}},
					{op: "Add", inputs: []string{"x", "first"}, outputs: []string{"y"}},
				},
				inputs: []port{{"x", f32, []int64{-1, 4}}}, outputs: []string{"y"},
				weights: []infer.Tensor{int32s("large", 1<<30), int32s("one", 1), int32s("zero", 0)},
			}, "Slice",
		},
		"a loop": {
			model{
				nodes: []node{{op: "Loop", inputs: []string{"trips", "", "x"}, outputs: []string{"y"}, attributes: []attribute{{"body", model{
					nodes: []node{
						{op: "Identity", inputs: []string{"c"}, outputs: []string{"c2"}},
						{op: "Relu", inputs: []string{"s"}, outputs: []string{"s2"}},
					},
					inputs: []port{{"i", i64, []int64{}}, {"c", infer.Bool, []int64{}}, {"s", f32, []int64{-1, 3}}}, outputs: []string{"c2", "s2"},
				}}}}},
				inputs: []port{x}, outputs: []string{"y"}, weights: []infer.Tensor{named(ints("", 3), "trips")},
			}, "Loop",
		},
		"chance": {chain(x, node{op: "RandomNormalLike"}), "RandomNormalLike"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, sig, s, ok := h.optimized(t, c.m.marshal())
			if !ok {
				t.Fatal("ONNX Runtime does not have it")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			verdict, err := rows.ProveFile(path, &sig, nil)
			if err != nil {
				t.Fatal(err)
			}
			expectWhy(t, verdict, c.why)
		})
	}
}

// TestSignature holds what decides beside the graph.
func TestSignature(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	m := model{
		nodes: []node{
			{op: "Add", inputs: []string{"x", "offset"}, outputs: []string{"y"}},
			{op: "Relu", inputs: []string{"offset"}, outputs: []string{"z"}},
		},
		inputs: []port{{"x", f32, []int64{-1, 3}}, {"offset", f32, []int64{-2, 3}}}, outputs: []string{"y", "z"},
	}
	path, sig, s, ok := h.optimized(t, m.marshal())
	if !ok {
		t.Fatal("ONNX Runtime does not have it")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	axis := 0
	for name, c := range map[string]struct {
		change func(sig *infer.Signature)
		rows   []string
		why    string
	}{
		"both with rows":                 {func(*infer.Signature) {}, nil, ""},
		"one of any size without rows":   {func(*infer.Signature) {}, []string{"x"}, "Add"},
		"one of one line without rows":   {func(sig *infer.Signature) { sig.Inputs[1].Shape = []int64{1, 3} }, []string{"x"}, ""},
		"no input with rows":             {func(*infer.Signature) {}, []string{}, "no input"},
		"an input that is not there":     {func(*infer.Signature) {}, []string{"x", "w"}, `"w"`},
		"a batch axis, and both joined":  {func(sig *infer.Signature) { sig.BatchAxis = &axis }, nil, ""},
		"an output that is not separate": {func(sig *infer.Signature) { sig.BatchAxis = &axis; sig.Outputs[1].Unbatched = true }, nil, `"z"`},
		"an output that is not there":    {func(sig *infer.Signature) { sig.Outputs[1].Name = "w" }, nil, `"w"`},
		"an input left out of it":        {func(sig *infer.Signature) { sig.Inputs = sig.Inputs[:1] }, nil, "not in the signature"},
		"one without rows, undeclared":   {func(sig *infer.Signature) { sig.BatchAxis = &axis; sig.Inputs[1].Shape = []int64{1, 3} }, []string{"x"}, "does not declare it unbatched"},
		"one that is equal, and its like": {func(sig *infer.Signature) {
			sig.BatchAxis = &axis
			sig.Inputs[1].Unbatched = true
			sig.Inputs[1].Shape = []int64{1, 3}
			sig.Outputs[1].Unbatched = true
		}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := infer.Signature{Inputs: append([]infer.TensorSpec{}, sig.Inputs...), Outputs: append([]infer.TensorSpec{}, sig.Outputs...)}
			c.change(&own)
			verdict, err := rows.ProveFile(path, &own, c.rows)
			if err != nil {
				t.Fatal(err)
			}
			expectWhy(t, verdict, c.why)
		})
	}
}

func TestOtherFilesShowNothing(t *testing.T) {
	t.Parallel()
	sig := infer.Signature{Inputs: []infer.TensorSpec{{Name: "x", DataType: f32, Shape: []int64{-1, 3}}}, Outputs: []infer.TensorSpec{{Name: "out"}}}
	for name, data := range map[string][]byte{
		"an ONNX file": chain(port{"x", f32, []int64{-1, 3}}, node{op: "Relu"}).marshal(),
		"nothing":      {},
		"text":         []byte("not a model at all"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "model.ort")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			verdict, err := rows.ProveFile(path, &sig, nil)
			if err != nil {
				t.Fatal(err)
			}
			expectWhy(t, verdict, "ORT file")
		})
	}
	if _, err := rows.ProveFile(filepath.Join(t.TempDir(), "none"), &sig, nil); err == nil {
		t.Error("a file that is not there was judged")
	}
}
