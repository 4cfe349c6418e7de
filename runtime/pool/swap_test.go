package pool_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// aliasOf is the alias that chose a lease's version, as the lease has it.
func aliasOf(t *testing.T, p *pool.Pool, name, version string) (answered, alias string) {
	t.Helper()
	l, err := p.Acquire(t.Context(), name, version)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	return l.Info().Version, l.(interface{ Alias() string }).Alias()
}

func TestPolicyChoosesTheVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.versions["a"] = []int{4, 3, 2, 1}
		src.policies["a"] = &model.Policy{Aliases: map[string]int{"stable": 3, "canary": 4, "gone": 7}}
		p := newPool(t, src, func(c *pool.Config) { c.MaxLoaded = 8 })
		defer p.Close()
		for _, tc := range []struct{ want, version, alias string }{
			{"", "3", "stable"}, {"stable", "3", "stable"}, {"canary", "4", "canary"}, {"latest", "4", "latest"}, {"2", "2", ""},
		} {
			if version, alias := aliasOf(t, p, "a", tc.want); version != tc.version || alias != tc.alias {
				t.Errorf("%q: version %s by %q, want %s by %q", tc.want, version, alias, tc.version, tc.alias)
			}
		}
		if _, err := p.Acquire(t.Context(), "a", "gone"); problem.CodeOf(err) != problem.ModelNotFound {
			t.Errorf("an alias of a deleted version: %v", err)
		}
	})
}

func TestSplitSharesCalls(t *testing.T) {
	t.Parallel()
	for name, models := range map[string][]model.Ref{
		"published": nil,
		"static":    {{Name: "a", Version: 1}, {Name: "a", Version: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				src.policies["a"] = &model.Policy{Split: []model.Share{{Version: 1, Weight: 3}, {Version: 2, Weight: 1}}}
				p := newPool(t, src, func(c *pool.Config) { c.Models, c.Queue = models, 100 })
				defer p.Close()
				if err := p.Load(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
				counts := map[string]int{}
				for range 2000 {
					counts[answered(t, p, "a", "")]++
				}
				if n := counts["2"]; n < 400 || n > 600 || n+counts["1"] != 2000 {
					t.Errorf("shared %v by weights of 3 and 1", counts)
				}
				if src.open.Load() != 2 {
					t.Errorf("%d versions in memory, want both", src.open.Load())
				}
			})
		})
	}
}

// TestSwap publishes a version while another answers, and wants every call
// answered at once, by the new one as soon as it is warm.
func TestSwap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		if got := answered(t, p, "a", ""); got != "2" {
			t.Fatalf("version %s", got)
		}
		held, err := p.Acquire(t.Context(), "a", "")
		if err != nil {
			t.Fatal(err)
		}
		src.publish("a", 3, 2, 1)
		began := time.Now()
		for last := "2"; last != "3"; {
			asked := time.Now()
			res, err := call(t.Context(), p, "a", "")
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(asked); took > src.runTime {
				t.Errorf("a call waited %s", took)
			}
			if res.Timing.Load != 0 {
				t.Error("an answer reports a load that it did not wait for")
			}
			last = res.Version
			if time.Since(began) > 3*time.Second {
				t.Fatal("no swap within 2 s and the time of a load")
			}
		}
		if n := src.open.Load(); n != 2 {
			t.Errorf("%d versions in memory while a request is inside the old one, want 2", n)
		}
		held.Release()
		synctest.Wait()
		if n := src.open.Load(); n != 1 {
			t.Errorf("%d versions in memory after the old one has drained, want 1", n)
		}
		if n := src.loadsOf(model.Ref{Name: "a", Version: 3}); n != 1 {
			t.Errorf("loaded %d times", n)
		}
	})
}

// TestSwapAfterAPause holds that the old version answers the first call after a
// pause, and that a call that names the new one waits for it.
func TestSwapAfterAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		answered(t, p, "a", "")
		time.Sleep(time.Hour)
		src.publish("a", 3, 2, 1)
		if got := answered(t, p, "a", ""); got != "2" {
			t.Errorf("version %s; want 2, which is loaded", got)
		}
		if got := answered(t, p, "a", "3"); got != "3" {
			t.Errorf("version %s", got)
		}
		if got := answered(t, p, "a", "latest"); got != "3" {
			t.Errorf("version %s", got)
		}
	})
}

func TestAFailedSwapNeverTakesOver(t *testing.T) {
	t.Parallel()
	ref := model.Ref{Name: "a", Version: 3}
	for name, tc := range map[string]struct {
		breaks func(*source)
		mends  func(*source)
		reason string
	}{
		"the load fails": {
			func(s *source) { s.fail[ref] = errors.New("model.onnx: byte 17 altered") },
			func(s *source) { delete(s.fail, ref) },
			"byte 17 altered",
		},
		"S3 goes in the middle": {
			func(s *source) { s.fail[ref] = errGone },
			func(s *source) { delete(s.fail, ref) },
			errGone.Error(),
		},
		"the warm-up breaks its signature": {
			func(s *source) { s.breaks[ref] = errShape },
			func(s *source) { delete(s.breaks, ref) },
			`warm up: the model broke its signature: output "y" is FP32 [1 1 1]; expected FP32 [-1 1]`,
		},
		"it is too large": {
			func(s *source) { s.sizes[ref] = 200 },
			func(s *source) { s.sizes[ref] = 10 },
			"it needs 200 bytes of memory by the size of its files, and models may take 100 bytes",
		},
		"it does not fit beside the old one": {
			func(s *source) { s.sizes[ref] = 60 },
			func(s *source) { s.sizes[ref] = 10 },
			"it needs 60 bytes of memory by the size of its files beside the version that it replaces, and 1 of 2 models with 50 bytes of 100 bytes are in use",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				src.sizes[model.Ref{Name: "a", Version: 2}] = 50
				p := newPool(t, src, func(c *pool.Config) { c.Memory = 100 })
				defer p.Close()
				answered(t, p, "a", "")
				src.change(func() {
					src.versions["a"] = []int{3, 2, 1}
					tc.breaks(src)
				})
				for range 600 { // a minute
					if got := answered(t, p, "a", ""); got != "2" {
						t.Fatalf("version %s took over", got)
					}
					time.Sleep(90 * time.Millisecond)
				}
				if n := src.loadsOf(ref); n < 3 || n > 7 {
					t.Errorf("tried %d times in a minute of backoff", n)
				}
				index, err := p.Index(t.Context())
				if err != nil || index[0].State != serve.Unavailable || !strings.Contains(index[0].Reason, tc.reason) {
					t.Errorf("index %+v, %v; want the reason %q", index, err, tc.reason)
				}
				if info, err := p.Model(t.Context(), "a", ""); err != nil || info.Version != "2" || info.State != serve.Ready {
					t.Errorf("the model is not ready by its old version: %+v, %v", info, err)
				}
				_, err = call(t.Context(), p, "a", "3")
				if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), tc.reason) {
					t.Errorf("by its number: %v", err)
				}
				src.mu.Lock()
				tc.mends(src)
				src.mu.Unlock()
				deadline := time.Now().Add(time.Minute)
				for answered(t, p, "a", "") != "3" {
					if time.Now().After(deadline) {
						t.Fatal("it did not take over once it could")
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		})
	}
}

// TestTheOldVersionComesBackWhileTheNewOneFails lets the old one go meanwhile.
func TestTheOldVersionComesBackWhileTheNewOneFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		answered(t, p, "a", "")
		src.change(func() {
			src.versions["a"] = []int{3, 2, 1}
			src.fail[model.Ref{Name: "a", Version: 3}] = errGone
		})
		for range 5 { // in backoff, and after it
			if err := p.Unload(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if got := answered(t, p, "a", ""); got != "2" {
				t.Errorf("version %s", got)
			}
			time.Sleep(20 * time.Second)
		}
	})
}

// TestSplitsChosenBeforeAreFollowed holds that versions of a split are warm
// before the first call that names one by its number, as the gateway does.
func TestSplitsChosenBeforeAreFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.versions["a"] = []int{3, 2, 1}
		split := func(a, b int) *model.Policy {
			return &model.Policy{Split: []model.Share{{Version: a, Weight: 1}, {Version: b, Weight: 1}}}
		}
		src.policies["a"] = split(1, 2)
		p := newPool(t, src, func(c *pool.Config) { c.MaxLoaded = 8 })
		defer p.Close()
		answered(t, p, "a", "1")
		src.change(func() { src.policies["a"] = split(2, 3) })
		for range 40 {
			answered(t, p, "a", "1")
			time.Sleep(100 * time.Millisecond)
		}
		for _, v := range []string{"2", "3"} {
			began := time.Now()
			if answered(t, p, "a", v); time.Since(began) > src.runTime {
				t.Errorf("version %s of the split was not loaded", v)
			}
		}
		time.Sleep(time.Hour) // then nothing needs version 1 any more
		for range 400 {
			answered(t, p, "a", "2")
			time.Sleep(100 * time.Millisecond)
		}
		if got := src.open.Load(); got != 2 {
			t.Errorf("%d versions in memory, want those of the split", got)
		}
	})
}

func TestRollbackIsASwapToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		answered(t, p, "a", "")
		src.change(func() { src.policies["a"] = &model.Policy{Aliases: map[string]int{"stable": 1}} })
		began := time.Now()
		for {
			asked := time.Now()
			got := answered(t, p, "a", "")
			if time.Since(asked) > src.runTime {
				t.Errorf("a call waited %s", time.Since(asked))
			}
			if got == "1" {
				break
			}
			if time.Since(began) > 3*time.Second {
				t.Fatal("no swap")
			}
		}
		if info, err := p.Model(t.Context(), "a", ""); err != nil || info.Version != "1" {
			t.Errorf("%+v, %v", info, err)
		}
	})
}

// TestVersionsCalledByNumberStay holds that a takeover is nothing to calls that
// name the old version.
func TestVersionsCalledByNumberStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, func(c *pool.Config) { c.MaxLoaded = 8 })
		defer p.Close()
		answered(t, p, "a", "")
		answered(t, p, "a", "1")
		answered(t, p, "a", "2")
		src.publish("a", 3, 2, 1)
		for range 50 {
			answered(t, p, "a", "")
			time.Sleep(100 * time.Millisecond)
		}
		if got := answered(t, p, "a", ""); got != "3" {
			t.Errorf("version %s", got)
		}
		for _, v := range []string{"1", "2"} {
			answered(t, p, "a", v)
		}
		// Nor is it when a request is inside: 3 is let go, but for one by number.
		held, err := p.Acquire(t.Context(), "a", "")
		if err != nil {
			t.Fatal(err)
		}
		src.publish("a", 4, 3, 2, 1)
		time.Sleep(5 * time.Second)
		answered(t, p, "a", "3")
		held.Release()
		answered(t, p, "a", "3")
		for version, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 1} {
			if n := src.loadsOf(model.Ref{Name: "a", Version: version}); n != want {
				t.Errorf("version %d loaded %d times", version, n)
			}
		}
	})
}

// TestColdCallsLoadOnceUnderASwap asks for everything at once.
func TestColdCallsLoadOnceUnderASwap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, func(c *pool.Config) { c.MaxLoaded, c.Queue = 8, 1000 })
		defer p.Close()
		answered(t, p, "a", "")
		src.publish("a", 3, 2, 1)
		var wg sync.WaitGroup
		var byNumber, old atomic.Int64
		for i := range 100 {
			wg.Go(func() {
				want := []string{"", "latest", "3"}[i%3]
				switch res, err := call(t.Context(), p, "a", want); {
				case err != nil:
					t.Error(err)
				case want == "3":
					byNumber.Add(1)
				case res.Version == "2":
					old.Add(1)
				}
			})
		}
		wg.Wait()
		if n := src.loadsOf(model.Ref{Name: "a", Version: 3}); n != 1 {
			t.Errorf("loaded %d times", n)
		}
		if byNumber.Load() != 33 || old.Load() == 0 {
			t.Errorf("%d by number, %d by the old version", byNumber.Load(), old.Load())
		}
	})
}
