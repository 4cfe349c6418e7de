package lifecycle_test

import (
	"runtime"
	"testing"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// TestThreadsAreLeftBesideProcessors holds that goroutines which take every processor
// leave threads for others, and that whoever asks for the processors is not given these.
func TestThreadsAreLeftBesideProcessors(t *testing.T) { //nolint:paralleltest // it changes what the process has
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	if got := lifecycle.SpareThreads(); got != before {
		t.Errorf("%d processors, want %d", got, before)
	}
	if got := runtime.GOMAXPROCS(0); got <= before {
		t.Errorf("%d goroutines at once on %d processors", got, before)
	}
}
