package revision_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

func TestStartThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{fail: func(n int) error { return errors.New("exited with status 3: no model " + strconv.Itoa(n)) }}
		r := begin(t, f, nil)
		_, err := r.Acquire(t.Context(), "", true)
		if problem.CodeOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "no model 1") {
			t.Fatalf("acquire: %v", err)
		}
		expectStatus(t, r, "failed", 0)
		if _, err := r.Acquire(t.Context(), "", true); problem.From(err).RetryAfter == 0 {
			t.Errorf("at once again: %v, retry after %v", err, problem.From(err).RetryAfter)
		}
		starts := f.count()
		time.Sleep(10 * time.Minute)
		if n := f.count(); n-starts > 20 {
			t.Errorf("%d starts in ten minutes that nobody asked for", n-starts)
		}
		f.mu.Lock()
		f.fail = nil
		f.mu.Unlock()
		time.Sleep(time.Minute)
		acquire(t, r).Release()
		expectStatus(t, r, "ready", 1)
	})
}

func TestOneFailedStartIsRetriedUnseen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{fail: func(n int) error {
			if n == 0 {
				return errors.New("it was killed (SIGKILL)")
			}
			return nil
		}}
		acquire(t, begin(t, f, nil)).Release()
	})
}

// killed is the end of an instance that somebody has killed.
type killed struct{}

func (killed) Error() string { return "it was killed (SIGKILL)" }
func (killed) Killed() bool  { return true }

// TestStartsThatAreKilled holds that requests wait while somebody kills what
// starts, for a while, and that starts which end by themselves are reported at once.
func TestStartsThatAreKilled(t *testing.T) {
	t.Parallel()
	broken := errors.New("it exited with status 3")
	for _, tc := range []struct {
		name   string
		ends   []error // of the first starts
		refuse string  // with what; "" is not
		starts int
	}{
		{"once", []error{killed{}}, "", 2},
		{"four times", []error{killed{}, killed{}, killed{}, killed{}}, "", 5},
		{"always", []error{killed{}, killed{}, killed{}, killed{}, killed{}, killed{}}, "it was killed (SIGKILL)", 5},
		{"and once by itself", []error{killed{}, broken, killed{}, killed{}}, "", 5},
		{"and twice by itself", []error{killed{}, broken, killed{}, broken, killed{}}, "it exited with status 3", 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fakes{fail: func(n int) error {
					if n < len(tc.ends) {
						return tc.ends[n]
					}
					return nil
				}}
				r := begin(t, f, nil)
				lease, err := r.Acquire(t.Context(), "", true)
				switch {
				case err == nil:
					lease.Release()
					if tc.refuse != "" {
						t.Errorf("granted after %d starts", f.count())
					}
				case tc.refuse == "" || problem.CodeOf(err) != problem.Unavailable || !strings.Contains(err.Error(), tc.refuse):
					t.Errorf("refused: %v, want %q", err, tc.refuse)
				}
				if f.count() != tc.starts {
					t.Errorf("%d starts, want %d", f.count(), tc.starts)
				}
			})
		})
	}
}

// TestAReadyInstanceEndsASeriesOfKills holds that kills are counted anew from the
// next instance that has become ready.
func TestAReadyInstanceEndsASeriesOfKills(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{fail: func(n int) error {
			if n%4 < 3 {
				return killed{}
			}
			return nil
		}}
		r := begin(t, f, nil)
		for n := range 5 {
			acquire(t, r).Release()
			f.get(4*n + 3).end(killed{})
			synctest.Wait()
		}
	})
}

func TestBuildThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		builds := 0
		f := &fakes{build: func(_ context.Context, wanted func() bool) error {
			if builds == 0 && wanted() {
				t.Error("wanted before a request came")
			}
			time.Sleep(time.Second)
			if !wanted() {
				t.Error("not wanted while a request waits")
			}
			if builds++; builds == 1 {
				return errors.New("build x: main.go:3: syntax error")
			}
			return nil
		}}
		r := begin(t, f, nil)
		synctest.Wait() // it builds
		expectStatus(t, r, "building", 0)
		if _, err := r.Acquire(t.Context(), "", true); err == nil || !strings.Contains(err.Error(), "syntax error") {
			t.Fatalf("acquire while building: %v", err)
		}
		expectStatus(t, r, "failed", 0)
		time.Sleep(5 * time.Second)
		acquire(t, r).Release() // the source was corrected
	})
}

func TestProve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{delay: time.Second}
		r := begin(t, f, nil)
		r.Prove()
		begun := time.Now()
		<-r.Ready()
		if took := time.Since(begun); took != time.Second {
			t.Errorf("ready after %v", took)
		}
		bad := &fakes{fail: func(int) error { return errors.New("no") }}
		r2 := begin(t, bad, nil)
		r2.Prove()
		time.Sleep(10 * time.Minute)
		if n := bad.count(); n < 2 || n > 5 {
			t.Errorf("%d starts to prove what cannot be proved", n)
		}
		expectStatus(t, r2, "failed", 0)
	})
}
