package room

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestATenantLeavesRoomForOthers holds what one tenant may have, beside what others
// have, and that it comes back.
func TestATenantLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	all := New(1600)
	large, small, third := all.Of("large"), all.Of("small"), all.Of("third")
	if large.Largest() != 800 {
		t.Errorf("the largest is %d", large.Largest())
	}
	for _, step := range []struct {
		what string
		of   Tenant
		n    int64
		want bool
	}{
		{"half", large, 800, true},
		{"more than that", large, 1, false},
		{"half of the rest", small, 400, true},
		{"more than that", small, 1, false},
		{"half of what is left", third, 200, true},
		{"more than that", third, 1, false},
	} {
		if got := step.of.TryAcquire(step.n); got != step.want {
			t.Errorf("%s: %v", step.what, got)
		}
	}
	waits := small.For(Early).Ask(150, 0)
	large.Release(800)
	if waits.Leave() || small.TryAcquire(151) || !small.TryAcquire(150) {
		t.Error("what comes back is not everybody's, up to half")
	}
	small.For(Early).Release(150)
	small.Release(550)
	third.Release(200)
	if all.used != 0 || len(all.by) != 0 {
		t.Errorf("%d bytes are left of %v", all.used, all.by)
	}
}

// TestWhatArrivesHasAQuarter holds that what arrives ahead of its readers leaves room for
// messages, and waits a while for some.
func TestWhatArrivesHasAQuarter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := New(1600)
		message, arriving := all.Of("a tenant"), all.Of("a tenant").For(Arriving)
		if !arriving.Ask(200, 0).Wait(t.Context(), time.Second) || !message.TryAcquire(600) {
			t.Error("it has less than a quarter, or more than that is taken")
		}
		if arriving.Ask(1, 0).Wait(t.Context(), time.Second) {
			t.Error("it has more than a quarter")
		}
		message.Release(600)
		arriving.Release(200)
		if !message.TryAcquire(800) {
			t.Fatal("not all came back")
		}
		time.AfterFunc(500*time.Millisecond, func() { message.Release(800) })
		if !arriving.Ask(200, 0).Wait(t.Context(), time.Second) {
			t.Error("it does not wait")
		}
		arriving.Release(200)
		if all.used != 0 || len(all.by) != 0 {
			t.Errorf("%d bytes are left", all.used)
		}
	})
}
