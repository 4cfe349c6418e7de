package revision_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	autoscaler "knative.dev/serving/pkg/autoscaler/config"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/local/revision"
	"github.com/modelserveai/modelserve/problem"
)

// fakes start instances that do what the test sets.
type fakes struct {
	mu      sync.Mutex
	started []*fake
	delay   time.Duration     // until ready
	fail    func(n int) error // of start n, from 0; nil is none
	build   func(ctx context.Context, wanted func() bool) error
	stopFor time.Duration // how long a stop takes
}

type fake struct {
	of      *fakes
	number  int
	ready   time.Time
	done    chan struct{}
	err     error
	once    sync.Once
	stopped chan time.Duration
}

func (f *fakes) start(context.Context) (revision.Instance, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.started)
	i := &fake{of: f, number: n, ready: time.Now().Add(f.delay), done: make(chan struct{}), stopped: make(chan time.Duration, 1)}
	f.started = append(f.started, i)
	if f.fail != nil {
		if err := f.fail(n); err != nil {
			i.end(err)
		}
	}
	return i, nil
}

func (f *fakes) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.started)
}

func (f *fakes) get(n int) *fake {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started[n]
}

func (i *fake) end(err error) { i.once.Do(func() { i.err = err; close(i.done) }) }

func (i *fake) Ready(ctx context.Context) error {
	select {
	case <-time.After(time.Until(i.ready)):
		select { // both may have come to pass
		case <-i.done:
			return errors.New("ended")
		default:
			return nil
		}
	case <-i.done:
		return errors.New("ended")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (i *fake) Done() <-chan struct{} { return i.done }

func (i *fake) Err() error { return i.err }

func (i *fake) Stop(grace time.Duration) {
	select {
	case i.stopped <- grace:
	default:
	}
	time.Sleep(i.of.stopFor)
	i.end(nil)
}

// begin makes a revision with a window of 20 s and 10 s of grace.
func begin(t *testing.T, f *fakes, change func(*revision.Config)) *revision.Revision {
	t.Helper()
	scaling, err := autoscaler.NewConfigFromMap(map[string]string{
		"allow-zero-initial-scale": "true", "initial-scale": "0", "max-scale": "4",
		"stable-window": "20s", "scale-to-zero-grace-period": "10s",
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := revision.Config{
		Name: "echo-00001", Autoscaler: scaling, ContainerConcurrency: 10,
		Timeout: time.Minute, StartTimeout: time.Minute, MaxWaiting: 20, MaxWait: 30 * time.Second,
		Build:   func(context.Context, func() bool) error { return nil },
		Start:   f.start,
		Changed: func() {},
		Logger:  slog.New(slog.DiscardHandler),
	}
	if f.build != nil {
		cfg.Build = f.build
	}
	if change != nil {
		change(&cfg)
	}
	r := revision.New(t.Context(), cfg)
	t.Cleanup(func() { r.Close(time.Second) })
	return r
}

func acquire(t *testing.T, r *revision.Revision) *revision.Lease {
	t.Helper()
	l, err := r.Acquire(t.Context(), "", true)
	if err != nil {
		t.Fatalf("acquire: %v", err)
	}
	return l
}

func expectStatus(t *testing.T, r *revision.Revision, state route.State, ready int) {
	t.Helper()
	if s := r.Status(); s.State != state || s.Ready != ready {
		t.Fatalf("status %+v, want %s with %d ready", s, state, ready)
	}
}

func TestFromZeroToOneToZero(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{delay: 300 * time.Millisecond}
		r := begin(t, f, nil)
		time.Sleep(time.Minute)
		expectStatus(t, r, "idle", 0)
		if _, err := r.Acquire(t.Context(), "", false); !errors.Is(err, revision.ErrAtZero) {
			t.Fatalf("acquire without waking: %v", err)
		}

		l := acquire(t, r)
		if l.Waited != 300*time.Millisecond || l.Cold == nil || l.Cold.Start != 300*time.Millisecond || !l.Cold.FromZero {
			t.Fatalf("waited %v, cold %+v", l.Waited, l.Cold)
		}
		l.Release()
		l.Release()
		if l := acquire(t, r); l.Cold != nil || l.Waited != 0 {
			t.Fatalf("second request: waited %v, cold %+v", l.Waited, l.Cold)
		} else {
			l.Release()
		}
		last := time.Now()
		<-f.get(0).done
		if idle := time.Since(last); idle < 29*time.Second || idle > 34*time.Second {
			t.Errorf("went to zero %v after the last request, want about 30 s", idle)
		}
		synctest.Wait()
		expectStatus(t, r, "idle", 0)

		again := acquire(t, r)
		again.Release()
		if f.count() != 2 || again.Cold == nil || !again.Cold.FromZero {
			t.Errorf("%d starts, want 2; cold %+v", f.count(), again.Cold)
		}
	})
}

// Of the instances that a burst wakes only one answers from zero.
func TestOneFirstAnswerIsFromZero(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{delay: 100 * time.Millisecond}
		r := begin(t, f, func(c *revision.Config) { c.ContainerConcurrency = 1 })
		var mu sync.Mutex
		fromZero, others := 0, 0
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				l, err := r.Acquire(t.Context(), "", true)
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				defer l.Release()
				mu.Lock()
				switch {
				case l.Cold == nil:
				case l.Cold.FromZero:
					fromZero++
				default:
					others++
				}
				mu.Unlock()
				time.Sleep(10 * time.Second)
			})
		}
		wg.Wait()
		if fromZero != 1 || others == 0 {
			t.Errorf("%d first answers from zero, %d of other instances", fromZero, others)
		}
	})
}

func TestScalesWithConcurrencyUpToItsBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{delay: 100 * time.Millisecond}
		r := begin(t, f, func(c *revision.Config) { c.ContainerConcurrency = 1 })
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 20 {
					l, err := r.Acquire(t.Context(), "", true)
					if err != nil {
						t.Errorf("acquire: %v", err)
						return
					}
					time.Sleep(time.Second)
					l.Release()
				}
			})
		}
		time.Sleep(10 * time.Second)
		expectStatus(t, r, "ready", 4)
		wg.Wait()
		time.Sleep(2 * time.Minute)
		expectStatus(t, r, "idle", 0)
	})
}

func TestNoInstanceHasMoreThanItsConcurrency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{}
		r := begin(t, f, func(c *revision.Config) { c.ContainerConcurrency = 2; c.MaxWaiting = 100 })
		var mu sync.Mutex
		inFlight := map[revision.Instance]int{}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				l, err := r.Acquire(t.Context(), "", true)
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				mu.Lock()
				if inFlight[l.Instance]++; inFlight[l.Instance] > 2 {
					t.Errorf("%d requests at once", inFlight[l.Instance])
				}
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
				mu.Lock()
				inFlight[l.Instance]--
				mu.Unlock()
				l.Release()
			})
		}
		wg.Wait()
	})
}

func TestScaleBoundsOfTheManifest(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		annotations map[string]string
		starts      int // at once
		later       int // instances, without a request
	}{
		{"min-scale", map[string]string{"autoscaling.knative.dev/min-scale": "2"}, 2, 2},
		{"initial-scale goes down again", map[string]string{"autoscaling.knative.dev/initial-scale": "3"}, 3, 0},
		{"none", nil, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fakes{}
				r := begin(t, f, func(c *revision.Config) { c.Annotations = tc.annotations })
				time.Sleep(3 * time.Second)
				if n := f.count(); n != tc.starts {
					t.Errorf("at first %d starts, want %d", n, tc.starts)
				}
				time.Sleep(5 * time.Minute)
				if s := r.Status(); s.Ready != tc.later {
					t.Errorf("later %d ready, want %d", s.Ready, tc.later)
				}
			})
		})
	}
}

func TestRetentionHoldsTheLastInstance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{}
		r := begin(t, f, func(c *revision.Config) {
			c.Annotations = map[string]string{"autoscaling.knative.dev/scale-to-zero-pod-retention-period": "5m"}
		})
		acquire(t, r).Release()
		last := time.Now()
		<-f.get(0).done
		if idle := time.Since(last); idle < 5*time.Minute || idle > 6*time.Minute {
			t.Errorf("went to zero after %v, want a little over 5 m", idle)
		}
	})
}

// TestWaitingIsBounded holds that a tenant waits with half of what others leave, that
// another still finds a place, and that none waits for ever.
func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{delay: time.Hour}
		r := begin(t, f, func(c *revision.Config) { c.MaxWaiting = 5; c.StartTimeout = 2 * time.Hour })
		results := make(chan error, 4)
		wait := func(tenant string) {
			go func() {
				_, err := r.Acquire(t.Context(), tenant, true)
				results <- err
			}()
			synctest.Wait()
		}
		refused := func(tenant string) {
			t.Helper()
			if _, err := r.Acquire(t.Context(), tenant, true); problem.CodeOf(err) != problem.Overloaded || problem.From(err).RetryAfter == 0 {
				t.Errorf("one more of %s: %v", tenant, err)
			}
		}
		for range 3 {
			wait("many")
		}
		refused("many")
		wait("few")
		refused("few")
		begun := time.Now()
		for range 4 {
			if err := <-results; problem.CodeOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "starting") {
				t.Errorf("too long: %v", err)
			}
		}
		if waited := time.Since(begun); waited != 30*time.Second {
			t.Errorf("waited %v, want 30 s", waited)
		}
		if s := r.Status(); s.Waiting != 0 {
			t.Errorf("%d still wait", s.Waiting)
		}
	})
}

func TestCallerThatLeavesIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{delay: time.Second}
		r := begin(t, f, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := r.Acquire(ctx, "", true); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("acquire: %v", err)
		}
		time.Sleep(2 * time.Second)
		acquire(t, r).Release() // the slot was not given to the one that left
	})
}

func TestUnreachableDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{}
		r := begin(t, f, func(c *revision.Config) { c.ContainerConcurrency = 0 })
		one := acquire(t, r)
		r.SetReachable(false)
		synctest.Wait()
		if s := r.Status(); s.Draining != 1 {
			t.Fatalf("status %+v, want one draining", s)
		}
		if _, err := r.Acquire(t.Context(), "", true); !errors.Is(err, revision.ErrRetired) {
			t.Fatalf("acquire: %v", err)
		}
		time.Sleep(10 * time.Second)
		if isDone(f.get(0)) {
			t.Fatal("ended under its request")
		}
		one.Release()
		<-f.get(0).done
		synctest.Wait()
		if n := f.count(); n != 1 {
			t.Errorf("%d starts of a revision without traffic", n)
		}
	})
}

func TestDrainIsBoundedByTheTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{}
		r := begin(t, f, nil)
		acquire(t, r) // and never released
		begun := time.Now()
		r.SetReachable(false)
		<-f.get(0).done
		if took := time.Since(begun); took != time.Minute {
			t.Errorf("drained for %v, want the timeout of a minute", took)
		}
	})
}

// A request that comes while the last instance stops gets one that lives.
func TestArrivalWhileStopping(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{stopFor: 5 * time.Second}
		r := begin(t, f, nil)
		acquire(t, r).Release()
		<-f.get(0).stopped
		l := acquire(t, r)
		if l.Instance == revision.Instance(f.get(0)) {
			t.Error("was given the instance that stops")
		}
		l.Release()
	})
}

// Requests that come at every moment around the stop are all answered by an
// instance that had not been asked to stop.
func TestStopAndArriveRace(t *testing.T) {
	t.Parallel()
	for offset := range 40 {
		synctest.Test(t, func(t *testing.T) {
			f := &fakes{delay: 50 * time.Millisecond, stopFor: 20 * time.Millisecond}
			r := begin(t, f, nil)
			acquire(t, r).Release()
			time.Sleep(29*time.Second + time.Duration(offset)*100*time.Millisecond)
			l := acquire(t, r)
			i, ok := l.Instance.(*fake)
			if !ok || len(i.stopped) != 0 || isDone(i) {
				t.Errorf("offset %d: was given a stopping instance", offset)
			}
			time.Sleep(time.Minute)
			if isDone(i) {
				t.Errorf("offset %d: stopped under a request", offset)
			}
			l.Release()
		})
	}
}

func TestCloseRefusesWhoWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, &fakes{delay: time.Hour}, nil)
		result := make(chan error, 1)
		go func() {
			_, err := r.Acquire(t.Context(), "", true)
			result <- err
		}()
		time.Sleep(time.Second)
		r.Close(time.Second)
		if err := <-result; !errors.Is(err, revision.ErrRetired) {
			t.Errorf("waiting request: %v", err)
		}
		r.Close(time.Second)
	})
}

func isDone(f *fake) bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}
