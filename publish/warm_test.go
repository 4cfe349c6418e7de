package publish

import (
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// TestTheExampleWarmsUpWhatDoesNotRunWithLess holds that publishing keeps the
// example for a model's warm-up where the smallest inputs do not run, and says
// nothing where there is no choice.
func TestTheExampleWarmsUpWhatDoesNotRunWithLess(t *testing.T) {
	t.Parallel()
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lib.Close(); err != nil {
			t.Error(err)
		}
	})
	path := onnxtest.Scale(4, 2).Write(t) // takes rows of four
	open := func() (*ort.Session, error) { return lib.Open(path, ort.Options{}) }
	for _, tc := range []struct {
		name  string
		least []int64
		want  bool
	}{
		{"they do not run", []int64{1, 1}, true},
		{"no bound defines what is small", nil, false},
		{"the bound is the example", []int64{1000, 4}, false},
	} {
		sig := &infer.Signature{Inputs: []infer.TensorSpec{
			{Name: "x", DataType: infer.FP32, Shape: []int64{-1, -1}, Example: []int64{1000, 4}, MinShape: tc.least},
		}}
		if got, err := warmExamplePays(t.Context(), open, sig); err != nil || got != tc.want {
			t.Errorf("%s: %v, %v", tc.name, got, err)
		}
	}
}
