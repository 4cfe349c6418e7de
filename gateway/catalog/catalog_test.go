package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/catalog"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
)

// store is slow, and counts. Every model but "nope" is published.
type store struct {
	mu         sync.Mutex
	calls      map[string]int // by method
	versions   []int
	stable     int
	generation int
	err        error
	mute       bool // changes are not announced
	hangs      bool // Generation does not answer
}

func newStore(versions ...int) *store { return &store{calls: map[string]int{}, versions: versions} }

func (s *store) count(method string) (*store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[method]++
	return &store{versions: s.versions, stable: s.stable, generation: s.generation, hangs: s.hangs}, s.err
}

func (s *store) counted(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// change publishes what do does.
func (s *store) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	if !s.mute {
		s.generation++
	}
}

func (s *store) Names(context.Context) ([]string, error) {
	_, err := s.count("names")
	return []string{"iris"}, err
}

func (s *store) Versions(_ context.Context, name string) ([]int, error) {
	now, err := s.count("versions")
	time.Sleep(100 * time.Millisecond)
	if name == "nope" && err == nil {
		return nil, problem.New(problem.ModelNotFound, "model %q is not published", name)
	}
	return now.versions, err
}

func (s *store) Policy(context.Context, string) (*model.Policy, error) {
	now, err := s.count("policy")
	return &model.Policy{Aliases: map[string]int{"stable": now.stable}}, err
}

func (s *store) Manifest(_ context.Context, ref model.Ref) (*model.Manifest, string, error) {
	_, err := s.count("manifest")
	return &model.Manifest{Name: ref.Name, Version: ref.Version, Platform: "onnxruntime_onnx"}, "sha256:00", err
}

func (s *store) Generation(ctx context.Context, _ string) (string, error) {
	now, err := s.count("generation")
	if now.hangs {
		<-ctx.Done()
		return "", ctx.Err()
	}
	time.Sleep(20 * time.Millisecond)
	return fmt.Sprint(now.generation), err
}

// bubble runs do in time of its own, and what is under way when it ends to its
// end.
func bubble(t *testing.T, do func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Minute)
		do(t)
	})
}

// asker asks a catalog for versions and holds them to what they must be.
func asker(t *testing.T, c *catalog.Catalog) func(want ...int) {
	t.Helper()
	return func(want ...int) {
		t.Helper()
		got, err := c.Versions(t.Context(), "iris")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestAThousandAtOnceAreOneLoad(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore(1)
		ask := asker(t, catalog.New(s))
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() { ask(1) })
		}
		group.Wait()
		if g, v := s.counted("generation"), s.counted("versions"); g != 1 || v != 1 {
			t.Errorf("%d questions and %d listings for a thousand at once", g, v)
		}
	})
}

// TestAMinuteOfTraffic holds what the store has to answer for: a question a
// second, and one listing of each model as long as nothing changes.
func TestAMinuteOfTraffic(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore(1)
		c := catalog.New(s)
		for i := range 1000 {
			name := fmt.Sprintf("m%d", i%50)
			if _, err := c.Versions(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Policy(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			if i >= 50 { // the first of each take a listing's time
				time.Sleep(57 * time.Millisecond)
			}
		}
		if n := s.counted("generation"); n < 50 || n > 75 {
			t.Errorf("%d questions in a minute", n)
		}
		if v, p := s.counted("versions"), s.counted("policy"); v != 50 || p != 50 {
			t.Errorf("%d listings and %d policies read of 50 models", v, p)
		}
	})
}

func TestNothingIsAskedWithoutTraffic(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore(1)
		ask := asker(t, catalog.New(s))
		ask(1)
		time.Sleep(time.Hour)
		if n := s.counted("generation"); n != 1 {
			t.Errorf("%d questions", n)
		}
	})
}

// TestAChangeIsSeenWithinTwoSeconds whatever the traffic is, one that comes
// after a pause at once.
func TestAChangeIsSeenWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{time.Millisecond, 100 * time.Millisecond, 1400 * time.Millisecond, 5 * time.Second} {
		t.Run(every.String(), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				s := newStore(1)
				c := catalog.New(s)
				for round := range 20 {
					want := round + 1
					s.change(func() { s.versions, s.stable = []int{want}, want })
					for pushed := time.Now(); ; time.Sleep(every) {
						began := time.Now()
						versions, err := c.Versions(t.Context(), "iris")
						if err != nil {
							t.Fatal(err)
						}
						policy, err := c.Policy(t.Context(), "iris")
						if err != nil {
							t.Fatal(err)
						}
						if versions[0] == want && policy.Aliases["stable"] == want {
							break
						}
						if late := began.Sub(pushed); late > 2*time.Second {
							t.Fatalf("version %d is not seen after %v", want, late)
						}
					}
					time.Sleep(every)
				}
			})
		})
	}
}

// TestALostNoticeCostsAMinute: a publisher may die between a change and its
// notice.
func TestALostNoticeCostsAMinute(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore(1)
		s.mute = true
		ask := asker(t, catalog.New(s))
		ask(1)
		s.change(func() { s.versions = []int{2, 1} })
		time.Sleep(30 * time.Second)
		ask(1)
		time.Sleep(30 * time.Second)
		ask(2, 1)
	})
}

// TestRenewSeesWhatIsPublishedNow holds that it does whatever was asked a moment ago, or is being asked, with one
// question however many want it; a store that just failed is not asked.
func TestRenewSeesWhatIsPublishedNow(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore(1)
		c := catalog.New(s)
		ask := asker(t, c)
		ask(1)
		s.change(func() { s.versions = []int{2, 1} })
		ask(1)
		c.Renew(t.Context())
		ask(2, 1)
		before := s.counted("generation")
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() { c.Renew(t.Context()) })
		}
		group.Wait()
		if n := s.counted("generation") - before; n > 2 {
			t.Errorf("%d questions for a thousand at once", n)
		}
		s.change(func() { s.err = errors.New("S3 is away") })
		c.Renew(t.Context())
		before = s.counted("generation")
		for range 10 {
			c.Renew(t.Context())
		}
		if n := s.counted("generation") - before; n > 0 {
			t.Errorf("a store that fails is asked %d times more", n)
		}
		ask(2, 1)
	})
}

func TestWhileTheStoreFailsListsAreUsed(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore(1)
		c := catalog.New(s)
		ask := asker(t, c)
		ask(1)
		s.change(func() { s.err, s.hangs = errors.New("S3 is away"), true })
		time.Sleep(30 * time.Second)
		ask(1) // waits for an answer that does not come
		began := time.Now()
		for range 100 { // and these know better
			time.Sleep(100 * time.Millisecond)
			ask(1)
		}
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("a hundred took %v", took)
		}
		if n := s.counted("generation"); n > 10 {
			t.Errorf("a store that fails is asked %d times in 40 s", n)
		}
		time.Sleep(30 * time.Second)
		ask(1)
		time.Sleep(time.Minute)
		if _, err := c.Versions(t.Context(), "iris"); err == nil {
			t.Error("a list of two minutes ago is still used")
		}
		s.change(func() { s.versions, s.err, s.hangs = []int{2, 1}, nil, false })
		time.Sleep(time.Second)
		ask(2, 1)
	})
}

func TestACallerWhoLeavesIsNotKeptWaiting(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore(1)
		s.hangs = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := catalog.New(s).Versions(ctx, "iris"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestWhatIsNotPublishedIsRememberedToo(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore()
		c := catalog.New(s)
		for range 10 {
			if got, err := c.Versions(t.Context(), "nope"); err != nil || len(got) != 0 {
				t.Fatalf("%v, %v", got, err)
			}
		}
		if n := s.counted("versions"); n != 1 {
			t.Errorf("%d loads", n)
		}
	})
}

func TestNamesAndManifests(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore()
		c := catalog.New(s)
		for range 3 {
			m, err := c.Model(t.Context(), "iris", 2)
			if err != nil {
				t.Fatal(err)
			}
			if m.Name != "iris" || m.Version != 2 || m.Digest != "sha256:00" {
				t.Errorf("%+v", m)
			}
			if names, err := c.Names(t.Context()); err != nil || !cmp.Equal(names, []string{"iris"}) {
				t.Errorf("%v, %v", names, err)
			}
		}
		if n, m := s.counted("names"), s.counted("manifest"); n != 1 || m != 1 {
			t.Errorf("%d and %d loads", n, m)
		}
		// A version's number may be used again: a change is a reason to look.
		s.change(func() {})
		time.Sleep(2 * time.Second)
		if _, err := c.Model(t.Context(), "iris", 2); err != nil || s.counted("manifest") != 2 {
			t.Errorf("%v, %d loads", err, s.counted("manifest"))
		}
		s.change(func() { s.err = problem.New(problem.ModelNotFound, "gone") })
		if _, err := c.Model(t.Context(), "iris", 3); problem.CodeOf(err) != problem.ModelNotFound {
			t.Errorf("error %v", err)
		}
	})
}

// TestFaultIsReportedWhileTheStoreFails holds that a store which does not answer is
// reported as long as it does not, also while what is remembered is used.
func TestFaultIsReportedWhileTheStoreFails(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore(1)
		c := catalog.New(s)
		ask := asker(t, c)
		expect := func(away bool) {
			t.Helper()
			_ = c.Fault(t.Context()) // has the store asked, and may answer as before
			time.Sleep(2 * time.Second)
			if err := c.Fault(t.Context()); (err != nil) != away {
				t.Errorf("fault %v, want one: %v", err, away)
			}
		}
		ask(1)
		expect(false)
		s.change(func() { s.err = errors.New("S3 is away") })
		expect(true)
		ask(1)
		s.change(func() { s.err = nil })
		expect(false)
	})
}

// TestCloseEndsWhatIsAsked holds that nothing is left of a question that has no
// answer, and that there are no others.
func TestCloseEndsWhatIsAsked(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		s := newStore(1)
		s.hangs = true
		c := catalog.New(s)
		answered := make(chan error, 1)
		go func() {
			_, err := c.Versions(t.Context(), "iris")
			answered <- err
		}()
		synctest.Wait()
		began := time.Now()
		if err := errors.Join(c.Close(), c.Close()); err != nil || time.Since(began) > 200*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		<-answered
		if _, err := c.Versions(t.Context(), "other"); err == nil {
			t.Error("asked after Close")
		}
	})
}
