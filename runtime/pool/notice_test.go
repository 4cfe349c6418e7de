package pool_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
)

// counts are how often the catalog was listed and asked for news.
func (s *source) counts() (listed, asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed, s.asked
}

func TestWatchingIsCheapAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		for range 300 { // 33 s
			answered(t, p, "a", "")
			time.Sleep(100 * time.Millisecond)
		}
		listed, asked := src.counts()
		if listed > 3 || asked < 25 || asked > 70 {
			t.Errorf("in half a minute without news: listed %d times, asked %d times", listed, asked)
		}
		time.Sleep(15 * time.Second)
		_, before := src.counts()
		time.Sleep(time.Hour)
		if _, after := src.counts(); after != before {
			t.Errorf("asked %d times while nobody calls", after-before)
		}
	})
}

func TestPushIsSeenWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	for name, generation := range map[string]int{"a catalog that reports changes": 1, "one that cannot": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				src.delay = 100 * time.Millisecond
				src.generation = generation
				p := newPool(t, src, nil)
				defer p.Close()
				answered(t, p, "a", "")
				for _, pause := range []time.Duration{0, 3 * time.Second, time.Hour} {
					time.Sleep(pause)
					newest := src.versions["a"][0] + 1
					src.publish("a", newest, newest-1)
					began := time.Now()
					for {
						if res, err := call(t.Context(), p, "a", ""); err != nil {
							t.Fatal(err)
						} else if res.Version == src.newest("a") {
							break
						}
						time.Sleep(10 * time.Millisecond)
						if time.Since(began) > 2*time.Second {
							t.Fatalf("after a pause of %s: not seen within 2 s", pause)
						}
					}
				}
			})
		})
	}
}

// TestWhatIsNotInMemoryIsSeenToo publishes a version of a model that was only
// asked about.
func TestWhatIsNotInMemoryIsSeenToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		answered(t, p, "a", "")
		for _, pause := range []time.Duration{2 * time.Second, time.Hour} {
			if _, err := p.Model(t.Context(), "b", ""); err != nil {
				t.Fatal(err)
			}
			src.publish("b", src.versions["b"][0]+1)
			time.Sleep(pause)
			if info, err := p.Model(t.Context(), "b", ""); err != nil || info.Version != src.newest("b") {
				t.Errorf("after %s: %+v, %v", pause, info, err)
			}
		}
		if n := src.loadsOf(model.Ref{Name: "b", Version: 2}); n != 0 {
			t.Error("describing a model loaded it")
		}
	})
}

// TestALoadIsOfWhatIsPublishedNow holds that after a load, which a push ends
// with, the version that was just published answers calls without one.
func TestALoadIsOfWhatIsPublishedNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		answered(t, p, "a", "")
		src.publish("a", 3, 2, 1)
		if err := p.Load(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got := answered(t, p, "a", ""); got != "3" {
			t.Errorf("version %v answers", got)
		}
	})
}

func TestNewVersionIsCallableByNumberAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		answered(t, p, "a", "")
		src.publish("a", 3, 2)
		if got := answered(t, p, "a", "3"); got != "3" {
			t.Errorf("version %s", got)
		}
	})
}

func TestDeletedModelsAreNotFound(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]time.Duration{"under load": 0, "after a pause": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				p := newPool(t, src, nil)
				defer p.Close()
				answered(t, p, "a", "")
				answered(t, p, "b", "")
				src.publish("a")
				time.Sleep(pause)
				began := time.Now()
				for {
					_, err := call(t.Context(), p, "a", "")
					if problem.CodeOf(err) == problem.ModelNotFound {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					if pause > 0 || time.Since(began) > 2*time.Second {
						t.Fatalf("answered %s after it was deleted", pause+time.Since(began))
					}
				}
				synctest.Wait()
				if src.closedNames() != "a" {
					t.Errorf("let go of %q, want a", src.closedNames())
				}
				src.publish("a", 5)
				if got := answered(t, p, "a", ""); got != "5" {
					t.Errorf("version %s", got)
				}
			})
		})
	}
}

// TestNewestIsDeleted falls back to the version before it, loaded or not.
func TestNewestIsDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		p := newPool(t, src, nil)
		defer p.Close()
		answered(t, p, "a", "")
		src.publish("a", 1)
		time.Sleep(2 * time.Second)
		if got := answered(t, p, "a", ""); got != "1" {
			t.Errorf("version %s", got)
		}
		if _, err := call(t.Context(), p, "a", "2"); problem.CodeOf(err) != problem.ModelNotFound {
			t.Errorf("the deleted one: %v", err)
		}
		// One deleted between the listing and the load.
		src.publish("b", 2, 1)
		if err := p.Unload(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		ref := model.Ref{Name: "b", Version: 2}
		src.mu.Lock()
		src.fail[ref] = problem.New(problem.ModelNotFound, "model b has no published version 2")
		src.mu.Unlock()
		go func() {
			time.Sleep(src.delay / 4)
			src.publish("b", 1)
		}()
		if got := answered(t, p, "b", ""); got != "1" {
			t.Errorf("version %s", got)
		}
	})
}

func TestStorageGone(t *testing.T) {
	t.Parallel()
	for name, models := range map[string][]model.Ref{"published": nil, "static": {{Name: "a", Version: 2}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				p := newPool(t, src, func(c *pool.Config) { c.Models = models })
				defer p.Close()
				answered(t, p, "a", "")
				src.change(func() { src.gone = true })
				for range 400 { // for longer than a listing is used otherwise
					began := time.Now()
					answered(t, p, "a", "")
					if took := time.Since(began); took > src.runTime {
						t.Fatalf("a loaded model waited %s", took)
					}
					time.Sleep(500 * time.Millisecond)
				}
				time.Sleep(time.Hour)
				answered(t, p, "a", "")
				if models == nil {
					if _, err := call(t.Context(), p, "b", ""); problem.CodeOf(err) != problem.Unavailable {
						t.Errorf("a model never listed: %v, want unavailable", err)
					}
				}
				src.change(func() { src.gone, src.versions["a"] = false, []int{3, 2} })
				want := "3"
				if models != nil {
					want = "2"
				}
				for range 40 {
					answered(t, p, "a", "")
					time.Sleep(100 * time.Millisecond)
				}
				if got := answered(t, p, "a", ""); got != want {
					t.Errorf("version %s once the storage is back, want %s", got, want)
				}
			})
		})
	}
}
