package ort_test

import (
	"context"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// purse is a holder of so many bytes.
type purse struct{ left int64 }

func (p *purse) Take(_ context.Context, n int64) error {
	if n > p.left {
		return problem.New(problem.Overloaded, "%d bytes of %d", n, p.left)
	}
	p.left -= n
	return nil
}

func (p *purse) Give(n int64) { p.left += n }

// TestOutputsAreChargedBeforeTheyAreTaken holds that a run takes what its outputs' buffers
// do, whether their shapes were known before it or not, and nothing where it fails.
func TestOutputsAreChargedBeforeTheyAreTaken(t *testing.T) {
	t.Parallel()
	l := open(t)
	texts := infer.NewBytes("x", []int64{3}, "a", "bb", "")
	for name, tc := range map[string]struct {
		model onnxtest.Model
		input infer.Tensor
		bytes int64 // of the output's buffer
	}{
		"numbers":       {onnxtest.Wide(), infer.NewTensor("shape", []int64{1}, []int64{1 << 20}), 4 << 20},
		"more of them":  {onnxtest.Wide(), infer.NewTensor("shape", []int64{1}, []int64{1<<20 + 1}), 5 << 20},
		"texts":         {onnxtest.Identity(onnxtest.String, "n"), texts, 64},
		"a known shape": {onnxtest.Identity(onnxtest.Float, "n"), infer.NewTensor("x", []int64{1000}, make([]float32, 1000)), 4096},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := l.Open(tc.model.Write(t), ort.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for range 3 {
				poor := &purse{left: tc.bytes - 1}
				if _, _, err := s.Run(t.Context(), poor, []infer.Tensor{tc.input}, nil); problem.CodeOf(err) != problem.Overloaded || poor.left != tc.bytes-1 {
					t.Fatalf("with too little: %v, %d bytes are left of %d", err, poor.left, tc.bytes-1)
				}
				rich := &purse{left: 100 << 20}
				_, release, err := s.Run(t.Context(), rich, []infer.Tensor{tc.input}, nil)
				if err != nil || 100<<20-rich.left != tc.bytes {
					t.Fatalf("%d bytes were charged, expected %d: %v", 100<<20-rich.left, tc.bytes, err)
				}
				release()
			}
		})
	}
}
