package publish

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// repeated gives "x" as often as "times" says: nothing for zero times.
func repeated() onnxtest.Model {
	m := onnxtest.Identity(onnxtest.Float, 2)
	m.Graph.Nodes[0] = onnxtest.Node{Op: "Tile", Inputs: []string{"x", "times"}, Outputs: []string{"y"}}
	m.Graph.Inputs = append(m.Graph.Inputs, onnxtest.Value{Name: "times", Element: onnxtest.Int64, Shape: []any{1}})
	m.Graph.Outputs[0].Shape = []any{"n"}
	return m
}

// number parses strings, of which empty ones are none.
func number() onnxtest.Model {
	m := onnxtest.Identity(onnxtest.String, "n")
	m.Graph.Nodes[0].Op = "Cast"
	m.Graph.Nodes[0].Attributes = []onnxtest.Attribute{{Name: "to", Int: new(int64(onnxtest.Float))}}
	m.Graph.Outputs[0].Element = onnxtest.Float
	return m
}

// undeclared is an identity of any shape.
func undeclared() onnxtest.Model {
	m := onnxtest.Identity(onnxtest.Float)
	m.Graph.Inputs[0].Shape, m.Graph.Outputs[0].Shape = nil, nil
	return m
}

func TestExample(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		model    onnxtest.Model
		example  []infer.Tensor // nil is none
		examples map[string][]int64
		kept     map[string]string
		why      string // it is refused
	}{
		"zeros will do": {
			model: onnxtest.Scale(3, 2), example: []infer.Tensor{infer.NewTensor("x", []int64{2, 3}, make([]float32, 6))},
			examples: map[string][]int64{"x": {2, 3}},
		},
		"no input": {model: onnxtest.Constant(3), example: []infer.Tensor{}},
		"a shape to reshape to": {
			model: onnxtest.Reshape(3),
			example: []infer.Tensor{
				infer.NewTensor("x", []int64{1, 2, 3}, []float32{1, 2, 3, 4, 5, 6}), infer.NewTensor("shape", []int64{2}, []int64{3, 2}),
			},
			examples: map[string][]int64{"x": {1, 2, 3}},
			kept:     map[string]string{"shape": "\x03\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"},
		},
		"none that it answers": {model: number(), why: "--example request.json"},
		"strings":              {model: number(), example: []infer.Tensor{infer.NewBytes("x", []int64{1}, "1.5")}, examples: map[string][]int64{"x": {1}}, kept: map[string]string{"x": "\x03\x00\x00\x001.5"}},
		"a count found by itself": {
			model: repeated(), kept: map[string]string{"times": "\x01\x00\x00\x00\x00\x00\x00\x00"},
		},
		"an undeclared shape": {
			model: undeclared(), example: []infer.Tensor{infer.NewTensor("x", []int64{1, 2}, []float32{1, 2})},
			examples: map[string][]int64{"x": {1, 2}},
		},
		"another input":    {model: onnxtest.Scale(3, 2), example: []infer.Tensor{infer.NewTensor("z", []int64{2, 3}, make([]float32, 6))}, why: `--example: inputs[0].name: expected one of "x"`},
		"an input too few": {model: onnxtest.Reshape(3), example: []infer.Tensor{infer.NewTensor("x", []int64{1, 2, 3}, make([]float32, 6))}, why: `expected an input "shape"`},
		"does not run": {
			model: onnxtest.Reshape(3),
			example: []infer.Tensor{
				infer.NewTensor("x", []int64{1, 2, 3}, make([]float32, 6)), infer.NewTensor("shape", []int64{2}, []int64{4, 4}),
			},
			why: "--example: the model does not run on these inputs",
		},
		"too large to keep": {
			model: number(), example: []infer.Tensor{infer.NewBytes("x", []int64{1}, "1."+strings.Repeat("0", maxExampleData))}, why: "give a smaller request",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := load(t, tc.model.Write(t))
			sig, _, err := demonstrate(t.Context(), s, *s.Signature(), &Request{Example: tc.example})
			if tc.why != "" {
				if err == nil || !strings.Contains(err.Error(), tc.why) {
					t.Errorf("got %v, want %q", err, tc.why)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var examples map[string][]int64
			var kept map[string]string
			for _, spec := range sig.Inputs {
				if spec.Example != nil {
					examples = map[string][]int64{spec.Name: spec.Example}
				}
				if spec.ExampleData != nil {
					kept = map[string]string{spec.Name: string(spec.ExampleData)}
				}
			}
			if diff := cmp.Diff(tc.examples, examples); diff != "" {
				t.Errorf("shapes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.kept, kept); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPublishWithAnExample(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	request := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(request, []byte(`{"inputs":[
		{"name":"x","datatype":"FP32","shape":[1,2,3],"data":[1,2,3,4,5,6]},
		{"name":"shape","datatype":"INT64","shape":[2],"data":[3,2]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	req := Request{Name: "reshape", File: onnxtest.Reshape(3).Write(t)}
	if _, err := p.Publish(t.Context(), req); problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), "--example") {
		t.Errorf("without an example: %v", err)
	}
	var err error
	if req.Example, err = ReadExample(request); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	m, _, err := p.Store.Manifest(t.Context(), model.Ref{Name: "reshape", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := load(t, req.File)
	if n, err := answer(t.Context(), s, m.ExampleInputs()); err != nil || n != 6 {
		t.Errorf("its warm-up gives %d elements: %v", n, err)
	}
	optimized := false
	for _, f := range m.Files {
		optimized = optimized || f.Optimized != nil
	}
	if !optimized {
		t.Error("it has no optimised copy")
	}
}

func TestReadExampleRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "request.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct{ file, want string }{
		"no file":       {filepath.Join(dir, "none"), "no such file"},
		"a folder":      {dir, "expected a file"},
		"no JSON":       {write("x"), "is no inference request"},
		"no data type":  {write(`{"inputs":[{"name":"x","shape":[1],"data":[1]}]}`), "inputs[0]"},
		"binary inputs": {write(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}`), "is no inference request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := ReadExample(tc.file); problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestWhatIsAnsweredWithNothing holds that a model whose made-up inputs make no
// element of its outputs is published, and the publisher notified of what that shows.
func TestWhatIsAnsweredWithNothing(t *testing.T) {
	t.Parallel()
	scalar := func(name string) onnxtest.Value {
		return onnxtest.Value{Name: name, Element: onnxtest.Float, Shape: []any{}}
	}
	numbers := onnxtest.Model{Graph: onnxtest.Graph{
		Nodes:   []onnxtest.Node{{Op: "Range", Inputs: []string{"start", "limit", "delta"}, Outputs: []string{"y"}}},
		Inputs:  []onnxtest.Value{scalar("start"), scalar("limit")},
		Outputs: []onnxtest.Value{{Name: "y", Element: onnxtest.Float, Shape: []any{"n"}}},

		Initializers: []onnxtest.Tensor{onnxtest.Floats("delta", []int64{}, 1)},
	}}
	below := onnxtest.Keep(4, 2, "n") // which no usual row reaches
	for name, m := range map[string]onnxtest.Model{"a range": numbers, "rows that are left out": below} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done, err := newPublisher(t).Publish(t.Context(), Request{Name: "nothing", File: m.Write(t), Measure: 1})
			if err != nil {
				t.Fatal(err)
			}
			if notes := strings.Join(done.Notes, "\n"); !strings.Contains(notes, "every output is empty for the inputs that were made up") {
				t.Errorf("notes: %s", notes)
			}
		})
	}
}
