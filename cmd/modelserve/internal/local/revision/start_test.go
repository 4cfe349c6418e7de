package revision_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/internal/problem"
)

func TestStartThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{fail: func(n int) error { return errors.New("exited with status 3: no model " + strconv.Itoa(n)) }}
		r := begin(t, f, nil)
		_, err := r.Acquire(t.Context(), true)
		if problem.CodeOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "no model 1") {
			t.Fatalf("acquire: %v", err)
		}
		expectStatus(t, r, "failed", 0)
		if _, err := r.Acquire(t.Context(), true); problem.From(err).RetryAfter == 0 {
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

func TestOneBadStartIsMendedUnseen(t *testing.T) {
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

func TestBuildThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		builds := 0
		f := &fakes{build: func(context.Context) error {
			time.Sleep(time.Second)
			if builds++; builds == 1 {
				return errors.New("build x: main.go:3: syntax error")
			}
			return nil
		}}
		r := begin(t, f, nil)
		expectStatus(t, r, "building", 0)
		if _, err := r.Acquire(t.Context(), true); err == nil || !strings.Contains(err.Error(), "syntax error") {
			t.Fatalf("acquire while building: %v", err)
		}
		expectStatus(t, r, "failed", 0)
		time.Sleep(5 * time.Second)
		acquire(t, r).Release() // the source was mended
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
