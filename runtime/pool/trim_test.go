package pool_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/runtime/model"
)

func TestIdleModelsGiveMemoryBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src, p := sized(t, 100, map[string]int64{"a": 30, "b": 30, "c": 30}, nil)
		defer p.Close()
		trimmed := func(want ...string) {
			t.Helper()
			synctest.Wait()
			src.mu.Lock()
			defer src.mu.Unlock()
			if !slices.Equal(src.trimmed, want) {
				t.Errorf("trimmed %v, want %v", src.trimmed, want)
			}
		}
		answered(t, p, "a", "")
		time.Sleep(2 * time.Second)
		answered(t, p, "b", "")
		held, err := p.Acquire(t.Context(), "b", "")
		if err != nil {
			t.Fatal(err)
		}
		trimmed()
		time.Sleep(10 * time.Second)
		trimmed("a") // b is in use, whatever the time
		answered(t, p, "a", "")
		held.Release()
		time.Sleep(9 * time.Second)
		trimmed("a", "b")
		time.Sleep(time.Second)
		trimmed("a", "b", "a")
		time.Sleep(time.Hour)
		trimmed("a", "b", "a") // once for each time
	})
}

// TestTrimmedMemoryIsForOthers holds that a version's memory counts as it is
// after it was trimmed, not as its last call left it.
func TestTrimmedMemoryIsForOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src, p := sized(t, 100, map[string]int64{"a": 30, "b": 60}, nil)
		defer p.Close()
		answered(t, p, "a", "")
		time.Sleep(2 * time.Second)
		src.change(func() { src.grown[model.Ref{Name: "a", Version: 1}] = 90 })
		answered(t, p, "a", "") // counts 90 from now on
		time.Sleep(11 * time.Second)
		answered(t, p, "b", "")
		if got := src.closedNames(); got != "" {
			t.Errorf("let go of %q, though 70 bytes are free", got)
		}
	})
}
