package pool_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// sized makes a source of models a, b, c and d with the sizes given, and a pool
// of them with so much memory.
func sized(t *testing.T, memory int64, sizes map[string]int64, change func(*pool.Config)) (*source, *pool.Pool) {
	t.Helper()
	src := newSource()
	src.versions = map[string][]int{}
	for name, n := range sizes {
		src.versions[name] = []int{1}
		src.sizes[model.Ref{Name: name, Version: 1}] = n
	}
	return src, newPool(t, src, func(c *pool.Config) {
		c.Memory, c.MaxLoaded, c.Queue = memory, 64, 1000
		if change != nil {
			change(c)
		}
	})
}

func (s *source) closedNames() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, ref := range s.closed {
		names = append(names, ref.Name)
	}
	return strings.Join(names, " ")
}

func TestLeastRecentlyUsedMakesRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src, p := sized(t, 100, map[string]int64{"a": 30, "b": 30, "c": 30, "d": 40}, nil)
		defer p.Close()
		for _, name := range []string{"a", "b", "c", "a"} {
			answered(t, p, name, "")
			time.Sleep(time.Second)
		}
		held, err := p.Acquire(t.Context(), "c", "")
		if err != nil {
			t.Fatal(err)
		}
		answered(t, p, "d", "") // b is the oldest
		answered(t, p, "b", "") // then c, which is in use, and a
		held.Release()
		if got := src.closedNames(); got != "b a" {
			t.Errorf("let go of %q; want b, then a", got)
		}
		if src.peak > 100 {
			t.Errorf("%d bytes taken at once, of 100", src.peak)
		}
	})
}

func TestPinnedStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src, p := sized(t, 100, map[string]int64{"a": 60, "b": 30, "c": 30}, func(c *pool.Config) {
			c.Models = []model.Ref{{Name: "a", Version: 1}, {Name: "b", Version: 1}, {Name: "c", Version: 1}}
		})
		defer p.Close()
		answered(t, p, "a", "")
		answered(t, p, "b", "")
		time.Sleep(time.Hour)
		_, err := call(t.Context(), p, "c", "")
		var known *problem.Error
		if !errors.As(err, &known) || known.Code != problem.ModelUnavailable ||
			!strings.Contains(known.Detail, "it needs 30 bytes of memory by the size of its files, and models may take 100 bytes, of which 90 bytes are taken by models that stay: raise MODELSERVE_MEMORY") {
			t.Errorf("got %v", err)
		}
		if got := src.closedNames(); got != "" {
			t.Errorf("let go of %s", got)
		}
		few := newPool(t, src, func(c *pool.Config) {
			c.MaxLoaded, c.Models = 1, []model.Ref{{Name: "a", Version: 1}, {Name: "b", Version: 1}}
		})
		defer few.Close()
		answered(t, few, "a", "")
		if _, err := call(t.Context(), few, "b", ""); problem.CodeOf(err) != problem.Overloaded {
			t.Errorf("more than there are places: %v", err)
		}
	})
}

func TestModelLargerThanAllMemory(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		estimate, grown int64
		wants           string
		loads           int64 // sessions made
	}{
		"by its files":     {101, 101, "it needs 101 bytes of memory by the size of its files, and models may take 100 bytes: raise MODELSERVE_MEMORY", 0},
		"once it is there": {50, 120, "it needs 120 bytes of memory, and models may take 100 bytes: raise MODELSERVE_MEMORY", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src, p := sized(t, 100, map[string]int64{"a": tc.estimate, "b": 50}, nil)
				defer p.Close()
				src.grown[model.Ref{Name: "a", Version: 1}] = tc.grown
				answered(t, p, "b", "")
				began := time.Now()
				_, err := call(t.Context(), p, "a", "")
				if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), tc.wants) {
					t.Errorf("got %v, want %q", err, tc.wants)
				}
				if time.Since(began) > 2*time.Second {
					t.Error("it waited for what cannot come")
				}
				answered(t, p, "b", "")
				if n := src.loadsOf(model.Ref{Name: "b", Version: 1}); n != 1 {
					t.Errorf("b was let go for nothing")
				}
			})
		})
	}
}

// TestWhatALoadTookIsKnown holds that what a version took here counts from then
// on, in place of the size of its files: nothing is evicted for it again, and
// what cannot fit is not loaded again to see so.
func TestWhatALoadTookIsKnown(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		estimate, took int64
		gone           string // of those closed
		loads          int
	}{
		"less than its manifest has": {90, 10, "b", 2}, // for the first load alone
		"more than there is":         {50, 120, "a", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src, p := sized(t, 100, map[string]int64{"a": tc.estimate, "b": 50}, nil)
				defer p.Close()
				a := model.Ref{Name: "a", Version: 1}
				src.grown[a] = tc.took
				answered(t, p, "b", "")
				_, _ = call(t.Context(), p, "a", "")
				_ = p.Unload(t.Context(), "a")
				time.Sleep(time.Minute)
				answered(t, p, "b", "")
				gone := src.closedNames()
				_, err := call(t.Context(), p, "a", "")
				if (err == nil) != (tc.took < 100) {
					t.Errorf("again: %v", err)
				}
				if err != nil && !strings.Contains(err.Error(), "it needs 120 bytes of memory, and models may take 100 bytes") {
					t.Errorf("again: %v", err)
				}
				synctest.Wait()
				if got := src.closedNames(); got != gone || !strings.HasPrefix(got, tc.gone) {
					t.Errorf("let go of %q, before of %q", got, gone)
				}
			})
		})
	}
}

func TestAllMemoryInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, p := sized(t, 100, map[string]int64{"a": 60, "b": 60}, nil)
		defer p.Close()
		held, err := p.Acquire(t.Context(), "a", "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = call(t.Context(), p, "b", "")
		var known *problem.Error
		if !errors.As(err, &known) || known.Code != problem.Overloaded || known.RetryAfter <= 0 {
			t.Fatalf("got %v, want overloaded with Retry-After", err)
		}
		if infos, err := p.Index(t.Context()); err != nil || infos[1].State != serve.Ready {
			t.Errorf("a version that found no room is not broken: %+v, %v", infos, err)
		}
		go func() {
			time.Sleep(time.Second) // b asks for room in half a second, and waits for one
			held.Release()
		}()
		answered(t, p, "b", "")
	})
}

// TestLoadsReserve begins loads of more than fits all at once.
func TestLoadsReserve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src, p := sized(t, 100, map[string]int64{"a": 40, "b": 40, "c": 40, "d": 40}, nil)
		defer p.Close()
		var wg sync.WaitGroup
		for _, name := range []string{"a", "b", "c", "d"} {
			for range 10 {
				wg.Go(func() {
					for range 20 {
						if _, err := call(t.Context(), p, name, ""); err != nil && problem.CodeOf(err) != problem.Overloaded {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		if src.peak > 100 || src.peak < 80 {
			t.Errorf("%d bytes taken at once; want as much as fits in 100", src.peak)
		}
	})
}

func TestGrowthIsSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src, p := sized(t, 100, map[string]int64{"a": 30, "b": 30, "c": 30}, nil)
		defer p.Close()
		for _, name := range []string{"a", "b", "c"} {
			answered(t, p, name, "")
		}
		time.Sleep(time.Minute)
		src.mu.Lock()
		src.grown[model.Ref{Name: "c", Version: 1}] = 65 // its arenas grew
		src.mu.Unlock()
		answered(t, p, "c", "")
		synctest.Wait()
		if got := src.closedNames(); got != "a" {
			t.Errorf("let go of %q, want a, the oldest", got)
		}
		src.mu.Lock()
		src.grown[model.Ref{Name: "c", Version: 1}] = 200 // alone too large now
		src.mu.Unlock()
		for range 3 { // sooner than it is idle
			time.Sleep(2 * time.Second)
			answered(t, p, "c", "")
		}
		if got := src.closedNames(); got != "a b" {
			t.Errorf("let go of %q, want a and b: c is in use", got)
		}
	})
}

func TestEstimateOfManifests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src, p := sized(t, 1<<30, map[string]int64{"a": 500 << 20, "b": 2 << 30}, nil)
		defer p.Close()
		_, err := call(t.Context(), p, "b", "")
		if err == nil || !strings.Contains(err.Error(), "needs 2048 MiB of memory by the size of its files, and models may take 1024 MiB") {
			t.Errorf("got %v", err)
		}
		answered(t, p, "a", "")
		if diff := cmp.Diff(int64(500<<20), src.peak); diff != "" {
			t.Error(diff)
		}
	})
}
