package publish

import (
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// rarely adds one to all rows when any element of "x" of [n, width] lies in a
// range that no trial has: trials do not show that its rows depend on each other.
func rarely(width int) onnxtest.Model {
	m := onnxtest.Identity(onnxtest.Float, "n", width)
	float, keep := int64(onnxtest.Float), int64(0)
	m.Graph.Nodes = []onnxtest.Node{
		{Op: "Greater", Inputs: []string{"x", "low"}, Outputs: []string{"above"}},
		{Op: "Less", Inputs: []string{"x", "high"}, Outputs: []string{"below"}},
		{Op: "And", Inputs: []string{"above", "below"}, Outputs: []string{"within"}},
		{Op: "Cast", Inputs: []string{"within"}, Outputs: []string{"one"}, Attributes: []onnxtest.Attribute{{Name: "to", Int: &float}}},
		{Op: "ReduceMax", Inputs: []string{"one"}, Outputs: []string{"any"}, Attributes: []onnxtest.Attribute{{Name: "keepdims", Int: &keep}}},
		{Op: "Add", Inputs: []string{"x", "any"}, Outputs: []string{"y"}},
	}
	m.Graph.Initializers = []onnxtest.Tensor{onnxtest.Floats("low", []int64{}, 123456), onnxtest.Floats("high", []int64{}, 123457)}
	return m
}

// TestJoining holds what it takes to have a batch axis: the graph or the
// publisher's assertion, and trials that show nothing against it.
func TestJoining(t *testing.T) {
	t.Parallel()
	const note = "rows are joined because of --batch-axis 0: "
	for name, tc := range map[string]struct {
		model    onnxtest.Model
		asserted bool
		joined   bool
		refused  string // by an error
		note     string
	}{
		"the graph shows it":                     {model: onnxtest.Scale(3, 2), joined: true},
		"the graph shows it, and it is asserted": {model: onnxtest.Scale(3, 2), asserted: true, joined: true},
		"only trials show it":                    {model: rarely(3), note: "ReduceMax"},
		"asserted":                               {model: rarely(3), asserted: true, joined: true, note: note},
		"asserted against trials":                {model: onnxtest.Mean(3), asserted: true, refused: "--batch-axis 0: rows are not independent: a row of"},
		"asserted against a vocabulary":          {model: lessMean(10, 4), asserted: true, refused: "--batch-axis 0: rows are not independent: a row of"},
		"asserted where no input has rows":       {model: onnxtest.Identity(onnxtest.Float, 2, 3), asserted: true, refused: "no input has a dynamic first axis"},
		"rows that values leave out":             {model: onnxtest.Keep(4, -1e30, "n"), note: "Compress"},
		"a vocabulary":                           {model: onnxtest.Lookup(10, 4), joined: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPublisher(t)
			done, err := p.Publish(t.Context(), Request{Name: "rows", File: tc.model.Write(t), IndependentRows: tc.asserted, Measure: 1})
			if tc.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refused) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			notes := strings.Join(done.Notes, "\n")
			if joined := done.Manifest.BatchAxis != nil; joined != tc.joined || !strings.Contains(notes, tc.note) || tc.note == "" && notes != "" {
				t.Errorf("joined %v; %s", joined, notes)
			}
			asserted := done.Manifest.Batching != nil && done.Manifest.Batching.IndependentRows
			if want := strings.HasPrefix(tc.note, note); asserted != want {
				t.Errorf("published as asserted %v", asserted)
			}
		})
	}
}
