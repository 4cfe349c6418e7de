package publish

import (
	"math"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// TestCopiesAreHeldToEachOutput holds that a copy is kept only where its answers
// were seen to be the model's.
func TestCopiesAreHeldToEachOutput(t *testing.T) {
	t.Parallel()
	banned := func(off float64) *pooling {
		return &pooling{func(r *pooledRow) []float64 { return []float64{r.mean() * (1 + off), -1e9} }}
	}
	constant := func(v float64) *pooling { return &pooling{func(*pooledRow) []float64 { return []float64{v, v} }} }
	for name, tc := range map[string]struct {
		model, fast *pooling
		want        string // "" is alike
	}{
		"the same":                       {banned(0), banned(0), ""},
		"rounded otherwise":              {banned(0), banned(1e-6), ""},
		"otherwise beside a large one":   {banned(0), banned(0.1), `answers otherwise in output "y"`},
		"a copy without a finite number": {banned(0), constant(math.NaN()), `answers otherwise in output "y"`},
		"neither with a finite number":   {constant(math.NaN()), constant(math.NaN()), `output "y" is no finite number`},
		"infinities alone":               {constant(math.Inf(1)), constant(math.Inf(1)), `output "y" is no finite number`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sig := poolingSignature(2)
			inputs := []infer.Tensor{infer.NewTensor("x", []int64{1, 4}, []float32{1, 2, 3, 4})}
			err := answersAlike(t.Context(), tc.model, tc.fast, &sig, inputs)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestACopyThatNothingShowsIsNotServed holds that a model without a finite answer
// to what is made up is optimised, and joined, by an example that has one.
func TestACopyThatNothingShowsIsNotServed(t *testing.T) {
	t.Parallel()
	m := onnxtest.Identity(onnxtest.Float, "n", "t")
	m.Graph.Nodes = []onnxtest.Node{
		{Op: "Neg", Inputs: []string{"x"}, Outputs: []string{"below"}},
		{Op: "Log", Inputs: []string{"below"}, Outputs: []string{"y"}},
	}
	p := newPublisher(t)
	req := Request{Name: "logs", File: m.Write(t), Ragged: []Ragged{{Input: "x", Axis: 1, Pad: -1}}}
	_, err := p.Publish(t.Context(), req)
	if problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), `not optimised: output "y" is no finite number`) {
		t.Errorf("without an example: %v", err)
	}
	req.Example = []infer.Tensor{infer.NewTensor("x", []int64{1, 3}, []float32{-1, -2, -3})}
	done, err := p.Publish(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if r := done.Manifest.Inputs[0].Ragged; len(done.Manifest.Files) != 2 || r == nil || r.Max != usualLength {
		t.Errorf("%d files, padded by %+v", len(done.Manifest.Files), r)
	}
}
