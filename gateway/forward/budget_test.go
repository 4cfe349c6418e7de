package forward

import "testing"

// TestATenantLeavesRoomForOthers holds what one tenant may keep, beside what
// others have, and that it comes back.
func TestATenantLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	room := newKeepRoom(1600)
	large, small, third := room.share("large"), room.share("small"), room.share("third")
	for _, step := range []struct {
		what string
		of   *roomShare
		n    int64
		want bool
	}{
		{"three quarters", large, 1200, true},
		{"more than that", large, 1, false},
		{"a sixteenth beside it", small, 100, true},
		{"more than a sixteenth", small, 1, false},
		{"another's sixteenth", third, 100, true},
	} {
		if got := step.of.TryAcquire(step.n); got != step.want {
			t.Errorf("%s: %v", step.what, got)
		}
	}
	large.Release(1200)
	if !small.TryAcquire(800) || small.TryAcquire(300) {
		t.Error("what comes back is not everybody's, up to three quarters")
	}
	small.Release(900)
	third.Release(100)
	if room.used != 0 || len(room.of) != 0 {
		t.Errorf("%d bytes are left of %v", room.used, room.of)
	}
}
