package revision_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/local/revision"
	"github.com/modelserveai/modelserve/problem"
)

// TestEndsOfReadyInstancesAreNoSeries holds that whoever calls while an instance
// that had been ready is gone waits for the next, however often that happens, and
// that the starts are paced.
func TestEndsOfReadyInstancesAreNoSeries(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		life    time.Duration // of each instance, once it is ready
		between time.Duration // from one start to the next
	}{
		{"ends at once", 0, 500 * time.Millisecond},
		{"ends soon", 300 * time.Millisecond, 500 * time.Millisecond},
		{"ends later", 6 * time.Second, 6*time.Second + 100*time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fakes{delay: 100 * time.Millisecond}
				r := begin(t, f, nil)
				acquire(t, r).Release()
				begun := time.Now()
				const ends = 10
				for n := range ends {
					time.Sleep(tc.life)
					f.get(n).end(errors.New("it was killed (SIGKILL)"))
					synctest.Wait()
					l := acquire(t, r)
					if l.Instance == revision.Instance(f.get(n)) {
						t.Fatal("was given the instance that had ended")
					}
					l.Release()
				}
				if took := time.Since(begun); f.count() != ends+1 || took < ends*tc.between || took > ends*(tc.between+200*time.Millisecond) {
					t.Errorf("%d starts for %d ends in %v, want one each %v", f.count(), ends, took, tc.between)
				}
			})
		})
	}
}

// TestStartsThatFailAreASeries holds the backoff of those that never were ready.
func TestStartsThatFailAreASeries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{fail: func(int) error { return errors.New("it exited with status 3") }}
		r := begin(t, f, func(c *revision.Config) { c.Annotations = map[string]string{"autoscaling.knative.dev/min-scale": "1"} })
		time.Sleep(time.Minute)
		if n := f.count(); n < 4 || n > 9 { // 0 + 0.5 + 1 + 2 + 4 + 8 + 16 + 30, seen every two seconds
			t.Errorf("%d starts in a minute", n)
		}
		if _, err := r.Acquire(t.Context(), "", true); problem.CodeOf(err) != problem.Unavailable {
			t.Errorf("during the backoff: %v", err)
		}
		f.mu.Lock()
		f.fail = nil
		f.mu.Unlock()
		time.Sleep(time.Minute)
		l := acquire(t, r)
		l.Release()
		f.get(f.count() - 1).end(errors.New("it was killed (SIGKILL)"))
		synctest.Wait()
		acquire(t, r).Release() // the series had ended
	})
}

// TestASuspectInstanceGetsNothing holds that no request goes to an instance
// whose connection broke until it has shown that it is ready still.
func TestASuspectInstanceGetsNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		ends bool
	}{{"it is gone", true}, {"it goes on", false}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fakes{}
				r := begin(t, f, nil)
				l := acquire(t, r)
				first := f.get(0)
				first.ready = time.Now().Add(time.Second) // its end, or its readiness, is seen then
				l.ReportBroken()
				l.ReportBroken()
				l.Release()
				next := make(chan *revision.Lease, 1)
				go func() { next <- acquire(t, r) }()
				synctest.Wait()
				if s := r.Status(); s.Waiting != 1 {
					t.Fatalf("status %+v, want one that waits", s)
				}
				if tc.ends {
					first.end(errors.New("it was killed (SIGKILL)"))
				}
				again := <-next
				if same := again.Instance == revision.Instance(first); same == tc.ends {
					t.Errorf("was given the same instance: %v", same)
				}
				again.Release()
			})
		})
	}
}

// TestTheBuildIsWaitedFor holds that a request waits for the build as long as its
// caller does, and that the build's time is reported on its own.
func TestTheBuildIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		patience time.Duration // of the caller
		arrives  time.Duration // after the build has begun
		build    time.Duration // that it waited for; 0: it gave up
		building func() string
		want     string // of the error
	}{
		{"from its beginning", 5 * time.Minute, 0, 3 * time.Minute, nil, ""},
		{"from its middle", 5 * time.Minute, time.Minute, 2 * time.Minute, nil, ""},
		{"and given up", time.Minute, 0, 0, nil, "echo-00001: the function is being built; call again"},
		{"and given up, for another reason", time.Minute, 0, 0, func() string { return "the models are being published" }, "the models are being published"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fakes{delay: 300 * time.Millisecond, build: func(context.Context, func() bool) error { time.Sleep(3 * time.Minute); return nil }}
				r := begin(t, f, func(c *revision.Config) { c.Building = tc.building }) // MaxWait is 30 s
				time.Sleep(tc.arrives)
				ctx, cancel := context.WithTimeout(t.Context(), tc.patience)
				defer cancel()
				l, err := r.Acquire(ctx, "", true)
				if tc.want != "" {
					if problem.CodeOf(err) != problem.Unavailable || !strings.Contains(err.Error(), tc.want) {
						t.Errorf("acquire: %v, want %s", err, tc.want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer l.Release()
				if l.Build != tc.build || l.Waited != 300*time.Millisecond || l.Cold.Schedule != 0 || l.Cold.Start != 300*time.Millisecond {
					t.Errorf("waited %v for the build and %v for the slot, %+v", l.Build, l.Waited, l.Cold)
				}
			})
		})
	}
}
