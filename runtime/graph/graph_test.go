package graph

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// ortFile is a model as ONNX Runtime writes it.
func ortFile(t testing.TB, m onnxtest.Model) string {
	t.Helper()
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	lib, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lib.Close()
	out := filepath.Join(t.TempDir(), "model.ort")
	if err := lib.Optimize(m.Write(t), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func ortBytes(t testing.TB, m onnxtest.Model) []byte {
	t.Helper()
	data, err := os.ReadFile(ortFile(t, m))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestReadsWhatONNXRuntimeWrites(t *testing.T) {
	t.Parallel()
	g, err := Open(ortFile(t, onnxtest.Embed(5, 3)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ids", "mask"}, g.Inputs); diff != "" {
		t.Error("inputs:", diff)
	}
	if diff := cmp.Diff([]string{"tokens", "whole"}, g.Outputs); diff != "" {
		t.Error("outputs:", diff)
	}
	if diff := cmp.Diff(Tensor{DataType: TypeInt64, Dims: []int64{1}, Ints: []int64{2}}, g.Initializers["last"]); diff != "" {
		t.Error("a constant:", diff)
	}
	order, err := g.Order()
	if err != nil {
		t.Fatal(err)
	}
	var ops []string
	for _, i := range order {
		ops = append(ops, g.Nodes[i].Op)
	}
	slices.Sort(ops)
	if diff := cmp.Diff([]string{"Cast", "Gather", "Mul", "ReduceSum", "Unsqueeze"}, ops); diff != "" {
		t.Error("operators:", diff)
	}
	for _, n := range g.Nodes {
		if a := n.Attribute("to"); n.Op == "Cast" && (a == nil || a.Type != Int || a.Int != int64(TypeFloat) || n.Since < 13) {
			t.Errorf("Cast is of version %d and to %+v", n.Since, a)
		}
	}
}

func TestWeightsAreNotRead(t *testing.T) {
	t.Parallel()
	g, err := Open(ortFile(t, onnxtest.Embed(1000, 3)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Tensor{DataType: TypeFloat, Dims: []int64{1000, 3}}, g.Initializers["table"]); diff != "" {
		t.Error(diff)
	}
}

// TestDamagedFiles cuts a file at every length and changes each of its bytes:
// none is read beyond its end, and what is read is a graph or an error.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	whole := ortBytes(t, onnxtest.Embed(2, 2))
	for n := range whole {
		if g, err := Read(whole[:n]); err == nil && g == nil || err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	for n := range whole {
		for _, bits := range []byte{1, 0x80, 0xff} {
			own := slices.Clone(whole)
			own[n] ^= bits
			if g, err := Read(own); err == nil && g == nil || err != nil && !errors.Is(err, ErrInvalid) {
				t.Fatalf("byte %d: %v", n, err)
			}
		}
	}
}

// TestEdgesAreHeldToTheNames changes who an edge is from: ONNX Runtime runs
// operators in the order that edges give.
func TestEdgesAreHeldToTheNames(t *testing.T) {
	t.Parallel()
	whole := ortBytes(t, onnxtest.Embed(2, 2))
	if _, err := Read(whole); err != nil {
		t.Fatal(err)
	}
	for _, list := range []int{edgeInputs, edgeOutputs} {
		changed := 0
		for _, at := range edgeEnds(t, whole, list) {
			own := slices.Clone(whole)
			binary.LittleEndian.PutUint32(own[at:], binary.LittleEndian.Uint32(own[at:])^1)
			if _, err := Read(own); err == nil || !strings.Contains(err.Error(), "edge") {
				t.Errorf("an edge of list %d that its names do not have: %v", list, err)
			}
			changed++
		}
		if changed == 0 {
			t.Fatal("the file has no edges: this test looks for the wrong thing")
		}
	}
}

// edgeEnds are where the other ends of a graph's edges are in a file.
func edgeEnds(t *testing.T, data []byte, list int) (ends []int) {
	t.Helper()
	r := ortReader{budget: newBudget(len(data)), flat: flat{data: data}}
	body := r.table(r.table(table(r.follow(0)), sessionModel), modelGraph)
	err := r.tables(body, graphEdges, func(e table) error {
		at, n := r.vector(e, list, edgeEndSize)
		for i := range n {
			ends = append(ends, at+i*edgeEndSize)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

func TestNamesStandForOneValue(t *testing.T) {
	t.Parallel()
	relu := func(in, out string) Node { return Node{Op: "Relu", Inputs: []string{in}, Outputs: []string{out}} }
	for name, g := range map[string]*Graph{
		"two operators give it":             {Inputs: []string{"x"}, Nodes: []Node{relu("x", "y"), relu("x", "y")}},
		"an operator gives an input":        {Inputs: []string{"x"}, Nodes: []Node{relu("x", "x")}},
		"an operator gives an initializer":  {Inputs: []string{"x"}, Initializers: map[string]Tensor{"y": {}}, Nodes: []Node{relu("x", "y")}},
		"two operators wait for each other": {Inputs: []string{"x"}, Nodes: []Node{relu("z", "y"), relu("y", "z")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := g.Order(); !errors.Is(err, ErrInvalid) {
				t.Errorf("it has an order: %v", err)
			}
		})
	}
}

func TestOperatorsComeAfterWhatTheyTake(t *testing.T) {
	t.Parallel()
	inner := &Graph{Outputs: []string{"late"}}
	g := &Graph{Inputs: []string{"x"}, Nodes: []Node{
		{Op: "If", Inputs: []string{"c"}, Outputs: []string{"y"}, Attributes: []Attribute{{Name: "then_branch", Type: GraphType, Graph: inner}}},
		{Op: "Neg", Inputs: []string{"early"}, Outputs: []string{"late"}},
		{Op: "Relu", Inputs: []string{"x"}, Outputs: []string{"early"}},
		{Op: "Cast", Inputs: []string{"x"}, Outputs: []string{"c"}},
	}}
	order, err := g.Order()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{2, 3, 1, 0}, order); diff != "" {
		t.Error(diff)
	}
}

func TestOtherFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"an ONNX file": onnxtest.Scale(3, 2).Write(t), "an empty file": empty, "a folder": dir} {
		if _, err := Open(path); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, m := range []onnxtest.Model{onnxtest.Embed(2, 2), onnxtest.Scale(3, 2), onnxtest.Two(onnxtest.Mean(2), onnxtest.NonZero())} {
		f.Add(ortBytes(f, m))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := Read(data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if order, err := g.Order(); err == nil && len(order) != len(g.Nodes) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("an order of %d of %d operators: %v", len(order), len(g.Nodes), err)
		}
	})
}
