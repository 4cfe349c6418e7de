package serve

import (
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestRunnerRelease gives one of three runs' outputs back early, twice, and
// something that came from none.
func TestRunnerRelease(t *testing.T) {
	t.Parallel()
	var r runner
	released := make([]int, 3)
	for i := range released {
		r.responses = append(r.responses, &infer.Response{
			Outputs:   []infer.Tensor{{Name: "y"}},
			OnRelease: func() { released[i]++ },
		})
	}
	early := r.responses[1].Outputs
	r.Release(early)
	r.Release(early)
	r.Release(nil)
	r.Release([]infer.Tensor{{Name: "y"}})
	if released[0] != 0 || released[1] != 1 || released[2] != 0 {
		t.Errorf("released %v, want only the second", released)
	}
	r.release()
	for i, n := range released {
		if n != 1 {
			t.Errorf("outputs of run %d released %d times", i, n)
		}
	}
}
