package ort_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

func TestRowsByValue(t *testing.T) {
	t.Parallel()
	node := func(op, out string, in ...string) onnxtest.Node {
		return onnxtest.Node{Op: op, Inputs: in, Outputs: []string{out}}
	}
	of := func(nodes ...onnxtest.Node) onnxtest.Model {
		m := onnxtest.Identity(onnxtest.Float, "n")
		m.Graph.Nodes = nodes
		return m
	}
	inside := func(op string) onnxtest.Node {
		n := node("If", "y", "yes")
		n.Attributes = []onnxtest.Attribute{{Name: "then_branch", Graph: &onnxtest.Graph{
			Nodes: []onnxtest.Node{node(op, "inner", "x")},
		}}}
		return n
	}
	for name, tc := range map[string]struct {
		model onnxtest.Model
		want  map[string]string
	}{
		"none":                      {onnxtest.Scale(2, 1), map[string]string{}},
		"itself":                    {onnxtest.NonZero(), map[string]string{"y": "NonZero"}},
		"further on":                {of(node("Unique", "a", "x"), node("Neg", "y", "a")), map[string]string{"y": "Unique"}},
		"nodes in no order":         {of(node("Neg", "y", "a"), node("Unique", "a", "x")), map[string]string{"y": "Unique"}},
		"to no output":              {of(node("NonZero", "a", "x"), node("Neg", "y", "x")), map[string]string{}},
		"of a constant":             {of(node("Constant", "c"), node("NonZero", "a", "c"), node("Gather", "y", "x", "a")), map[string]string{}},
		"of the shape":              {onnxtest.AllIndices(2, "m"), map[string]string{}},
		"in a shape":                {of(node("NonZero", "a", "x"), node("Shape", "s", "a"), node("ConstantOfShape", "y", "s")), map[string]string{"y": "NonZero"}},
		"where it is scattered":     {of(node("NonZero", "a", "x"), node("ScatterND", "y", "x", "a", "x")), map[string]string{}},
		"scattered into":            {of(node("Compress", "a", "x", "x"), node("ScatterND", "y", "a", "x", "x")), map[string]string{"y": "Compress"}},
		"in a graph in a node":      {of(inside("NonZero")), map[string]string{"y": "NonZero"}},
		"nothing in a graph within": {of(inside("Neg")), map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ort.RowsByValue(tc.model.Write(t))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("in a function", func(t *testing.T) {
		t.Parallel()
		field := func(b []byte, n protowire.Number, v []byte) []byte {
			return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
		}
		function := func(name, op string) []byte { // of one node
			return field(field(nil, 1, []byte(name)), 7, field(nil, 4, []byte(op)))
		}
		model := of(node("Outer", "y", "x")).Marshal()
		model = field(model, 25, function("Outer", "Inner"))
		model = field(model, 25, function("Inner", "NonZero"))
		got, err := ort.ScanRowsByValue(model)
		if diff := cmp.Diff(map[string]string{"y": "NonZero"}, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
	})
	if _, err := ort.ScanRowsByValue([]byte("\x3a\x7f")); !errors.Is(err, ort.ErrNotONNX) {
		t.Errorf("no model: %v", err)
	}
}

func TestSymbols(t *testing.T) {
	t.Parallel()
	s := load(t, open(t), onnxtest.Keep(4, 0, "kept").Write(t))
	if diff := cmp.Diff([][]string{{"n", ""}, {"kept", ""}, nil}, [][]string{s.InputSymbols("x"), s.OutputSymbols("y"), s.OutputSymbols("z")}); diff != "" {
		t.Error(diff)
	}
}
