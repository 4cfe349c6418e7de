package room

import "testing"

// TestATenantLeavesRoomForOthers holds what one tenant may have, beside what others
// have, and that it comes back.
func TestATenantLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	all := New(1600)
	large, small, third := all.Of("large"), all.Of("small"), all.Of("third")
	if large.Largest() != 1200 {
		t.Errorf("the largest is %d", large.Largest())
	}
	for _, step := range []struct {
		what string
		of   Tenant
		n    int64
		want bool
	}{
		{"three quarters", large, 1200, true},
		{"more than that", large, 1, false},
		{"three quarters of the rest", small, 300, true},
		{"more than that", small, 1, false},
		{"three quarters of what is left", third, 75, true},
		{"more than that", third, 1, false},
	} {
		if got := step.of.TryAcquire(step.n); got != step.want {
			t.Errorf("%s: %v", step.what, got)
		}
	}
	waits := small.Ask(800, 0)
	large.Release(1200)
	if waits.Leave() || small.TryAcquire(300) {
		t.Error("what comes back is not everybody's, up to three quarters")
	}
	small.Release(1100)
	third.Release(75)
	if all.used != 0 || len(all.by) != 0 {
		t.Errorf("%d bytes are left of %v", all.used, all.by)
	}
}
