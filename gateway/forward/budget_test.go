package forward

import "testing"

// TestATenantLeavesBudgetForOthers holds what one tenant may keep, beside what
// others have, and that it comes back.
func TestATenantLeavesBudgetForOthers(t *testing.T) {
	t.Parallel()
	all := newBudget(1600)
	large, small, third := all.share("large"), all.share("small"), all.share("third")
	for _, step := range []struct {
		what string
		of   *share
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
	if all.used != 0 || len(all.by) != 0 {
		t.Errorf("%d bytes are left of %v", all.used, all.by)
	}
}
