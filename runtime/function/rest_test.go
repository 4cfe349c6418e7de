package function

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRestBeginsOnceAfterWork(t *testing.T) {
	var r rest
	for i, c := range []struct {
		allocated uint64
		begins    bool
	}{
		{20 << 20, false}, // works
		{40 << 20, false},
		{40<<20 + restNoise/2, true}, // rests
		{40<<20 + restNoise, false},  // rests on
		{45 << 20, false},            // works again, a little
		{45 << 20, true},
	} {
		begins := r.begins(c.allocated)
		if begins != c.begins {
			t.Errorf("look %d, at %d bytes: begins %v, expected %v", i, c.allocated, begins, c.begins)
		}
		if begins {
			r.given = c.allocated
		}
	}
}

func TestGivesBackAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var given atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			giveBackAtRest(ctx, func() { given.Add(1) })
		}()
		for range 2 * restWorth >> 20 {
			runtime.KeepAlive(make([]byte, 1<<20))
		}
		time.Sleep(10 * restAfter)
		if n := given.Load(); n != 1 {
			t.Errorf("gave memory back %d times in one rest, expected once", n)
		}
		cancel()
		<-done
	})
}
