package ort_test

import (
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// TestMessagesHoldNothingOfTheBuild holds that the error that callers get for a run
// that fails has the reason, and no path of the machine that ONNX Runtime was
// built on; nodes' names, which look like paths, stay.
func TestMessagesHoldNothingOfTheBuild(t *testing.T) {
	t.Parallel()
	l := open(t)
	for name, tc := range map[string]struct {
		model onnxtest.Model
		in    infer.Tensor
		want  string
	}{
		"an index out of bounds": {onnxtest.Lookup(3, 1), infer.NewTensor("x", []int64{1, 1}, []int64{7}), "out of data bounds"},
		"a reshape":              {onnxtest.Reshape(3), infer.NewTensor("x", []int64{1, 2}, []float32{1, 2}), ""},
	} {
		s := load(t, l, tc.model.Write(t))
		_, _, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{tc.in}, nil)
		if problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "onnxruntime_src") {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := onnxtest.Model{Opset: 21, Graph: onnxtest.Graph{
		Nodes: []onnxtest.Node{{Op: "GRU", Inputs: []string{"x", "w", "r"}, Outputs: []string{"", "y"}, Attributes: []onnxtest.Attribute{
			{Name: "hidden_size", Int: ptr(1)}, {Name: "layout", Int: ptr(1)},
		}}},
		Inputs: []onnxtest.Value{
			{Name: "x", Element: onnxtest.Float, Shape: []any{1, 1, 1}},
			{Name: "w", Element: onnxtest.Float, Shape: []any{1, 3, 1}},
			{Name: "r", Element: onnxtest.Float, Shape: []any{1, 3, 1}},
		},
		Outputs: []onnxtest.Value{{Name: "y", Element: onnxtest.Float, Shape: []any{1, 1, 1}}},
	}}
	if _, err := l.Open(bad.Write(t), ort.Options{}); err == nil || strings.Contains(err.Error(), "onnxruntime_src") || !strings.Contains(err.Error(), "deep_cpu_gru.h:") {
		t.Errorf("a load that fails: %v", err)
	}
}

func ptr(i int64) *int64 { return &i }
