package pool_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
)

// TestAFailedRunIsOneRequests holds that a model which fails to run a request
// stays, and answers the next.
func TestAFailedRunIsOneRequests(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{
		"its input's fault": problem.Invalid("inputs", "the model cannot multiply these shapes"),
		"an internal error": errors.New("onnxruntime: out of memory"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				ref := model.Ref{Name: "a", Version: 2}
				src.breaks[ref] = failure
				p := newPool(t, src, nil)
				for range 20 { // more than there are slots
					if _, err := call(t.Context(), p, "a", ""); !errors.Is(err, failure) {
						t.Fatalf("got %v, want %v", err, failure)
					}
				}
				src.mu.Lock()
				delete(src.breaks, ref)
				src.mu.Unlock()
				answered(t, p, "a", "")
				answered(t, p, "b", "")
				if n := src.loadsOf(ref); n != 1 {
					t.Errorf("loaded %d times", n)
				}
				p.Close()
				if src.open.Load() != 0 {
					t.Errorf("%d sessions left open", src.open.Load())
				}
			})
		})
	}
}

// TestCloseEndsWaits closes a pool while loads wait for memory and for storage.
func TestCloseEndsWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src, p := sized(t, 100, map[string]int64{"a": 60, "b": 60, "c": 10}, nil)
		held, err := p.Acquire(t.Context(), "a", "")
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 2)
		for _, name := range []string{"b", "c"} {
			go func() {
				_, err := call(t.Context(), p, name, "")
				failed <- err
			}()
			time.Sleep(src.delay * 2 / 3)
		}
		go held.Release()
		p.Close()
		p.Close()
		for range 2 {
			if err := <-failed; err == nil {
				t.Error("a load that Close cut off succeeded")
			}
		}
		if _, err := p.Acquire(t.Context(), "a", ""); problem.CodeOf(err) != problem.Unavailable {
			t.Errorf("after Close: %v", err)
		}
		if src.open.Load() != 0 {
			t.Errorf("%d sessions left open", src.open.Load())
		}
	})
}

// counted reads metrics by their name and the values of their labels; of a
// histogram the number of samples.
func counted(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			counts[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return counts
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		src, p := sized(t, 100, map[string]int64{"a": 60, "b": 60, "c": 200}, func(c *pool.Config) { c.Registerer = registry })
		defer p.Close()
		answered(t, p, "a", "")
		answered(t, p, "b", "")
		_, _ = call(t.Context(), p, "c", "")
		src.publish("b", 2, 1)
		time.Sleep(5 * time.Second)
		answered(t, p, "b", "")
		got := counted(t, registry)
		for key, want := range map[string]float64{
			"modelserve_models_loaded":                    1,
			"modelserve_models_memory_bytes budget":       100,
			"modelserve_models_memory_bytes used":         1,
			"modelserve_model_loads_total ok":             3,
			"modelserve_model_loads_total failed":         1,
			"modelserve_model_load_part_seconds fetch":    3,
			"modelserve_model_load_part_seconds warm":     3,
			"modelserve_model_evictions_total memory":     1,
			"modelserve_model_evictions_total superseded": 1,
			"modelserve_model_swaps_total ok":             1,
		} {
			if got[key] != want {
				t.Errorf("%s is %v, want %v", key, got[key], want)
			}
		}
		if _, err := pool.New(pool.Config{MaxLoaded: 1, Slots: 1, Registerer: registry}, src, src, nil); err == nil {
			t.Error("metrics registered twice")
		}
	})
}

// TestWarmUpChecksOutputs is a first version that breaks its signature: there
// is no older one to answer.
func TestWarmUpChecksOutputs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.breaks[model.Ref{Name: "b", Version: 1}] = errShape
		p := newPool(t, src, nil)
		defer p.Close()
		_, err := call(t.Context(), p, "b", "")
		if problem.CodeOf(err) != problem.ModelUnavailable {
			t.Errorf("got %v", err)
		}
		if src.open.Load() != 0 {
			t.Error("its session is open")
		}
		var res *infer.Response
		if res, err = call(t.Context(), p, "a", ""); err != nil || res.Version != "2" {
			t.Errorf("another model: %v, %v", res, err)
		}
	})
}
