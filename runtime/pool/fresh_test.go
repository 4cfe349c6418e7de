package pool_test

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
)

// TestAFreshPoolFallsBack holds that a process that never had another version
// answers by an older one when the newest does not load, without a wait for the
// newest's next tries, and by the newest as soon as that is mended.
func TestAFreshPoolFallsBack(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(*source, model.Ref){
		"load":    func(s *source, ref model.Ref) { s.fail[ref] = errors.New("byte 17 altered") },
		"warm-up": func(s *source, ref model.Ref) { s.breaks[ref] = errShape },
	} {
		for broken, want := range map[int]string{1: "3", 2: "2"} {
			t.Run(name+" of "+strconv.Itoa(broken), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					src := newSource()
					src.versions["a"] = []int{4, 3, 2, 1}
					for i := range broken {
						breaks(src, model.Ref{Name: "a", Version: 4 - i})
					}
					p := newPool(t, src, nil)
					defer p.Close()
					if got := answered(t, p, "a", ""); got != want {
						t.Fatalf("version %s, want %s", got, want)
					}
					for range 600 { // a minute
						asked := time.Now()
						if got := answered(t, p, "a", ""); got != want {
							t.Fatalf("version %s, want %s", got, want)
						}
						if took := time.Since(asked); took > src.runTime {
							t.Fatalf("a call waited %s", took)
						}
						time.Sleep(100*time.Millisecond - src.runTime)
					}
					if n := src.loadsOf(model.Ref{Name: "a", Version: 4}); n < 3 || n > 10 {
						t.Errorf("the newest was tried %d times in a minute", n)
					}
					if info, err := p.Model(t.Context(), "a", ""); err != nil || info.Version != want || info.State != "READY" {
						t.Errorf("described as %+v, %v", info, err)
					}
					src.mu.Lock()
					clear(src.fail)
					clear(src.breaks)
					src.mu.Unlock()
					for began := time.Now(); answered(t, p, "a", "") != "4"; time.Sleep(100 * time.Millisecond) {
						if time.Since(began) > 35*time.Second {
							t.Fatal("the newest never took over")
						}
					}
					synctest.Wait()
					if n := src.open.Load(); n != 1 {
						t.Errorf("%d versions in memory", n)
					}
				})
			})
		}
	}
}

// TestWhenAFreshPoolDoesNotFallBack holds what calls no older version answers.
func TestWhenAFreshPoolDoesNotFallBack(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail   []int
		policy model.Policy
		want   string
	}{
		"three broken":      {fail: []int{4, 3, 2}},
		"an alias decided":  {fail: []int{4}, policy: model.Policy{Aliases: map[string]int{"stable": 4}}},
		"a split decided":   {fail: []int{4}, policy: model.Policy{Split: []model.Share{{Version: 4, Weight: 1}}}},
		"a number is named": {fail: []int{4}, want: "4"},
		"latest is named":   {fail: []int{4}, want: "latest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				src.versions["a"] = []int{4, 3, 2, 1}
				src.policies["a"] = &tc.policy
				for _, v := range tc.fail {
					src.fail[model.Ref{Name: "a", Version: v}] = errors.New("byte 17 altered")
				}
				p := newPool(t, src, func(c *pool.Config) { c.MaxLoaded = 4 })
				defer p.Close()
				for range 3 {
					if res, err := call(t.Context(), p, "a", tc.want); problem.CodeOf(err) != problem.ModelUnavailable {
						t.Errorf("%+v, %v", res, err)
					}
				}
				if n := src.loadsOf(model.Ref{Name: "a", Version: 1}); n != 0 {
					t.Error("the oldest was loaded")
				}
			})
		})
	}
}
