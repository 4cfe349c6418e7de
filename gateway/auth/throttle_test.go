package auth_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
)

func TestFailuresAreSlowedBySource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := auth.NewThrottle()
		took := func(from string) time.Duration {
			began := time.Now()
			throttle.Failed(t.Context(), netip.MustParseAddr(from))
			return time.Since(began)
		}
		if d := took("192.0.2.1"); d != 10*time.Millisecond {
			t.Errorf("the first failure took %v", d)
		}
		var group sync.WaitGroup
		for range 200 { // at once
			group.Go(func() { took("192.0.2.1") })
		}
		group.Wait()
		if d := took("192.0.2.1"); d != 250*time.Millisecond {
			t.Errorf("after two hundred one took %v", d)
		}
		if d := took("192.0.2.2"); d != 10*time.Millisecond {
			t.Errorf("another source's took %v", d)
		}
		if d := took("::ffff:192.0.2.1"); d != 250*time.Millisecond {
			t.Errorf("the same address as IPv6 took %v", d)
		}
		took("2001:db8::1")
		if d := took("2001:db8::ffff:2"); d != 20*time.Millisecond {
			t.Errorf("a neighbour in one /64 took %v", d)
		}
		time.Sleep(2 * time.Minute)
		if d := took("192.0.2.1"); d != 10*time.Millisecond {
			t.Errorf("after two quiet minutes one took %v", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		throttle.Failed(ctx, netip.MustParseAddr("192.0.2.3"))
		if d := time.Since(began); d != 0 {
			t.Errorf("a caller who left was held for %v", d)
		}
	})
}

func TestAFloodOfFailuresHoldsABoundedNumber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := auth.NewThrottle()
		var group sync.WaitGroup
		for i := range 5000 {
			group.Go(func() {
				throttle.Failed(t.Context(), netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
			})
		}
		began := time.Now()
		group.Wait()
		if d := time.Since(began); d > 250*time.Millisecond {
			t.Errorf("the flood was held for %v", d)
		}
	})
}
