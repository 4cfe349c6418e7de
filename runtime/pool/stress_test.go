package pool_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
)

// TestStress acquires, runs, releases, evicts, swaps, splits, deletes and
// unloads at once. No request may fail, no session may run when closed or be
// closed when it runs (the fake reports it), and what is in memory never exceeds the
// budget. The clock is synthetic in one and real in the other, for the race
// detector's sake.
func TestStress(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				stress(t, seed, 200, 20, 20*time.Millisecond, time.Second)
			})
		})
	}
	t.Run("real time", func(t *testing.T) {
		t.Parallel()
		stress(t, 99, 200, 15, 200*time.Microsecond, 300*time.Millisecond)
	})
}

func stress(t *testing.T, seed uint64, workers, calls int, step, pause time.Duration) {
	t.Helper()
	// At any time requests go to four of the models, of which there is memory for
	// three versions each and as much for the last four; the others have to go.
	const models, hot, memory = 40, 4, 2000
	src := newSource()
	src.delay, src.runTime = step, step/20
	src.versions = map[string][]int{}
	name := func(i int) string { return fmt.Sprintf("m%d", i) }
	for i := range models {
		src.versions[name(i)] = []int{1}
		for v := range 200 {
			src.sizes[model.Ref{Name: name(i), Version: v + 1}] = int64(40 + (i+v)%5*10)
		}
	}
	registry := prometheus.NewRegistry()
	p := newPool(t, src, func(c *pool.Config) {
		c.Registerer = registry
		c.Memory, c.MaxLoaded, c.Slots, c.Queue = memory, 100, 64, 10_000
	})
	stop := make(chan struct{})
	var publishers, callers sync.WaitGroup
	publishers.Go(func() { churn(t, src, p, seed, name, models, pause/5, stop) })
	var made, failures atomic.Int64
	for worker := range workers {
		rng := rand.New(rand.NewPCG(seed, uint64(worker)))
		callers.Go(func() {
			for range calls {
				model := int(made.Add(1))*40/(workers*calls)*hot/2 + rng.IntN(hot)
				want := []string{"", "", "latest"}[rng.IntN(3)]
				if err := several(t, p, name(model%models), want, rng.IntN(3)+1); err != nil && failures.Add(1) < 10 {
					t.Errorf("a request failed: %v", err)
				}
				time.Sleep(time.Duration(rng.Int64N(int64(pause))))
			}
		})
	}
	callers.Wait()
	close(stop)
	publishers.Wait()
	p.Close()
	if src.open.Load() != 0 || src.resident != 0 {
		t.Errorf("%d sessions left open, %d bytes", src.open.Load(), src.resident)
	}
	if src.peak > memory {
		t.Errorf("%d bytes taken at once, of %d", src.peak, memory)
	}
	counts := counted(t, registry)
	for _, event := range []string{"evictions_total memory", "evictions_total superseded", "evictions_total unload", "swaps_total ok"} {
		if counts["modelserve_model_"+event] == 0 {
			t.Errorf("nothing counted as %s: the test does not cover it", event)
		}
	}
}

// several runs a model some times in one lease, as codecs do.
func several(t *testing.T, p *pool.Pool, name, version string, times int) error {
	l, err := p.Acquire(t.Context(), name, version)
	if err != nil {
		return err
	}
	defer l.Release()
	for range times {
		res, err := l.Run(t.Context(), &infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1, 1}, []float32{1})}})
		if err != nil {
			return err
		}
		if res.Version != l.Info().Version {
			return fmt.Errorf("version %s in a lease on %s", res.Version, l.Info().Version)
		}
	}
	return nil
}

// churn publishes, deletes, moves policies and unloads until stop is closed.
func churn(t *testing.T, src *source, p *pool.Pool, seed uint64, name func(int) string, models int, pause time.Duration, stop chan struct{}) {
	rng := rand.New(rand.NewPCG(seed, 1<<40))
	for {
		select {
		case <-time.After(time.Duration(rng.Int64N(int64(pause)))):
		case <-stop:
			return
		}
		called := name(rng.IntN(models))
		if rng.IntN(5) == 0 {
			if err := p.Unload(t.Context(), called); err != nil && problem.CodeOf(err) != problem.Overloaded {
				t.Error(err)
			}
			continue
		}
		src.change(func() {
			versions := src.versions[called]
			switch rng.IntN(4) {
			case 0: // a split between the newest two
				if len(versions) > 1 {
					src.policies[called] = &model.Policy{Split: []model.Share{{Version: versions[0], Weight: 1}, {Version: versions[1], Weight: 2}}}
				}
			case 1: // all to the oldest
				src.policies[called] = &model.Policy{Aliases: map[string]int{"stable": versions[len(versions)-1]}}
			case 2: // the oldest of three is deleted
				if len(versions) > 2 {
					src.versions[called] = versions[:len(versions)-1]
				}
			default:
				src.versions[called] = append([]int{versions[0] + 1}, versions...)
			}
		})
	}
}
