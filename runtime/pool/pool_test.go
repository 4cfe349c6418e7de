package pool_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
	"github.com/modelserveai/modelserve/runtime/serve"
)

func TestManyCallersLoadOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, func(c *pool.Config) { c.Slots, c.Queue = 1, 100 })
		var cold atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				res, err := call(t.Context(), p, "a", "")
				if err != nil {
					t.Error(err)
					return
				}
				if res.Version != "2" {
					t.Errorf("version %q, want the newest, 2", res.Version)
				}
				if res.Timing.Load > 0 {
					cold.Add(1)
				}
			})
		}
		wg.Wait()
		if n := src.loadsOf(model.Ref{Name: "a", Version: 2}); n != 1 {
			t.Errorf("loaded %d times", n)
		}
		if cold.Load() != 1 {
			t.Errorf("%d answers report the load, want the first alone", cold.Load())
		}
		p.Close()
		if src.open.Load() != 0 {
			t.Errorf("%d sessions left open", src.open.Load())
		}
	})
}

func TestFailedLoadIsRememberedThenTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		ref := model.Ref{Name: "b", Version: 1}
		src.fail[ref] = errors.New("model.onnx: byte 17 altered")
		for range 3 {
			_, err := call(t.Context(), p, "b", "")
			var known *problem.Error
			if !errors.As(err, &known) || known.Code != problem.ModelUnavailable || known.RetryAfter <= 0 {
				t.Fatalf("got %v, want model_unavailable with Retry-After", err)
			}
		}
		if n := src.loadsOf(ref); n != 1 {
			t.Errorf("loaded %d times within the backoff", n)
		}
		info, err := p.Model(t.Context(), "b", "1")
		if err != nil || info.State != serve.Unavailable || info.Reason != "model.onnx: byte 17 altered" {
			t.Errorf("state %+v, %v", info, err)
		}
		src.mu.Lock()
		delete(src.fail, ref)
		src.mu.Unlock()
		time.Sleep(time.Minute)
		if _, err := call(t.Context(), p, "b", ""); err != nil {
			t.Errorf("after the cause is gone: %v", err)
		}
	})
}

func TestLeastRecentlyUsedGoesAndNoneInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		held, err := p.Acquire(t.Context(), "a", "1")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"b", "c", "b"} { // b and c take turns in the one place left
			if _, err := call(t.Context(), p, name, ""); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if src.open.Load() != 2 {
			t.Errorf("%d models in memory, want 2", src.open.Load())
		}
		other, err := p.Acquire(t.Context(), "b", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := call(t.Context(), p, "c", ""); problem.CodeOf(err) != problem.Overloaded {
			t.Errorf("with every model in use: %v, want overloaded", err)
		}
		if err := p.Unload(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		req := &infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1, 1}, []float32{1})}}
		if _, err := held.Run(t.Context(), req); err != nil {
			t.Errorf("a run in a lease held across unload: %v", err)
		}
		held.Release()
		held.Release()
		other.Release()
		p.Close()
		if src.open.Load() != 0 {
			t.Errorf("%d sessions left open", src.open.Load())
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		if err := p.Load(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		var answered, refused atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := call(t.Context(), p, "a", "")
				switch problem.CodeOf(err) {
				case "":
					answered.Add(1)
				case problem.Overloaded:
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if diff := cmp.Diff([]int64{6, 14}, []int64{answered.Load(), refused.Load()}); diff != "" {
			t.Errorf("2 slots and a queue of 4: -want +got answered, refused\n%s", diff)
		}
	})
}

// TestLargeAnswersAreNotQueued holds that what is sure to be answered with too
// much is refused though every slot is taken, and never runs.
func TestLargeAnswersAreNotQueued(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, func(c *pool.Config) { c.MaxOutput = 40 })
		defer p.Close()
		lease, err := p.Acquire(t.Context(), "a", "")
		if err != nil {
			t.Fatal(err)
		}
		defer lease.Release()
		for rows, code := range map[int64]problem.Code{10: "", 11: problem.PayloadTooLarge} {
			began := time.Now()
			_, err := lease.Run(t.Context(), &infer.Request{
				Inputs: []infer.Tensor{infer.NewTensor("x", []int64{rows, 1}, make([]float32, rows))},
			})
			if problem.CodeOf(err) != code || (time.Since(began) == 0) != (code != "") {
				t.Errorf("%d rows of 4 bytes: %v after %s, want %q", rows, err, time.Since(began), code)
			}
		}
	})
}

func TestCallerGoesAwayLoadGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := call(ctx, p, "a", ""); problem.CodeOf(err) != problem.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		if _, err := call(t.Context(), p, "a", ""); err != nil {
			t.Error(err)
		}
		if n := src.loadsOf(model.Ref{Name: "a", Version: 2}); n != 1 {
			t.Errorf("loaded %d times: the first caller's going away ended the load", n)
		}
	})
}

func TestResolve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		fixed := newPool(t, src, func(c *pool.Config) { c.Models = []model.Ref{{Name: "a", Version: 1}} })
		open := newPool(t, src, nil)
		defer fixed.Close()
		defer open.Close()
		for _, tc := range []struct {
			pool          *pool.Pool
			name, version string
			want          string
			code          problem.Code
		}{
			{open, "a", "", "2", ""},
			{open, "a", "1", "1", ""},
			{open, "a", "3", "", problem.ModelNotFound},
			{open, "a", "01", "", problem.InvalidArgument},
			{open, "../a", "", "", problem.InvalidArgument},
			{open, "never", "", "", problem.ModelNotFound},
			{fixed, "a", "", "1", ""},
			{fixed, "a", "2", "", problem.ModelNotFound},
			{fixed, "b", "", "", problem.ModelNotFound},
		} {
			info, err := tc.pool.Model(t.Context(), tc.name, tc.version)
			if problem.CodeOf(err) != tc.code {
				t.Errorf("%s@%s: error %v, want code %q", tc.name, tc.version, err, tc.code)
			} else if err == nil && info.Version != tc.want {
				t.Errorf("%s@%s: version %q, want %q", tc.name, tc.version, info.Version, tc.want)
			}
		}
		if _, err := call(t.Context(), open, "a", "2"); err != nil {
			t.Error(err)
		}
		if info, err := open.Model(t.Context(), "a", ""); err != nil || !slices.Equal(info.Versions, []string{"2", "1"}) {
			t.Errorf("versions of a loaded model: %+v, %v", info, err)
		}
		src.publish("a", 3, 2, 1)
		time.Sleep(2 * time.Second)
		if info, err := open.Model(t.Context(), "a", ""); err != nil || info.Version != "3" {
			t.Errorf("2 s after a push: %+v, %v", info, err)
		}
	})
}

// TestChurn loads, runs, unloads and evicts at random and wants that no request
// fails for any reason but a full pool, and that nothing is left open.
func TestChurn(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				p := newPool(t, src, func(c *pool.Config) { c.Queue = 100 })
				var wg sync.WaitGroup
				for worker := range uint64(8) {
					rng := rand.New(rand.NewPCG(seed, worker))
					wg.Go(func() {
						for range 50 {
							name := string("abc"[rng.IntN(3)])
							var err error
							if rng.IntN(10) == 0 {
								err = p.Unload(t.Context(), name)
							} else {
								_, err = call(t.Context(), p, name, "")
							}
							if err != nil && problem.CodeOf(err) != problem.Overloaded {
								t.Errorf("%s: %v", name, err)
							}
							time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
						}
					})
				}
				wg.Wait()
				p.Close()
				if src.open.Load() != 0 {
					t.Errorf("%d sessions left open", src.open.Load())
				}
			})
		})
	}
}
