package local_test

import (
	"errors"
	"flag"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// How often TestCallersOfAKilledFunctionAreAnswered kills it, and after how long.
// For two minutes of it: -kills 20 -kill-every 6s.
var (
	kills     = flag.Int("kills", 5, "how often a function is killed under its callers")
	killEvery = flag.Duration("kill-every", 0, "from one kill to the next; 0 is as soon as the next instance answers")
)

// TestCallersOfAKilledFunctionAreAnswered holds that no call fails however often
// the process of a function with models is killed: those in flight are run again,
// and all others wait for the next instance.
func TestCallersOfAKilledFunctionAreAnswered(t *testing.T) {
	t.Parallel()
	p := begin(t)
	p.edit("env:\n", "env:\n            - {name: MODELSERVE_MODELS, value: echo@1}\n")
	p.log.wait(t, "revision echo-00002", 1)
	callers := make([]atomic.Int64, 4) // answers of each
	var pid, failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	ended := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer ended()
	for n := range callers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, _, err := p.call("echo", "/?pause=20ms")
				if err != nil {
					failed.Add(1)
					t.Errorf("after %d answers: %v", callers[n].Load(), err)
					continue
				}
				pid.Store(int64(a.PID))
				callers[n].Add(1)
			}
		})
	}
	// A call that is killed a second time fails, so each caller is past the ones
	// that the last kill met.
	all := func() {
		t.Helper()
		for n := range callers {
			for want := callers[n].Load() + 2; callers[n].Load() < want; pause(t) {
				if failed.Load() > 100 {
					t.Fatal("nearly all calls fail")
				}
			}
		}
	}
	for range *kills {
		last := time.Now()
		for all(); time.Since(last) < *killEvery; {
			pause(t)
		}
		if err := syscall.Kill(int(pid.Load()), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("kill: %v", err)
		}
	}
	all()
	ended()
	answered := int64(0)
	for n := range callers {
		answered += callers[n].Load()
	}
	t.Logf("%d kills, %d calls answered, %d failed", *kills, answered, failed.Load())
}
