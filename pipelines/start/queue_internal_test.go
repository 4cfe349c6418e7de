package start

import (
	"context"
	"testing"
	"time"
)

// TestWhatWaitsIsCountedWhereItMatters holds that a count is used for a second while the
// bound is far, and that the bound is never passed by what is accepted here.
func TestWhatWaitsIsCountedWhereItMatters(t *testing.T) {
	t.Parallel()
	stored, counts := 0, 0
	q := &queues{most: 10, tenants: map[string]*queue{}, count: func(_ context.Context, _ string, most int) (int, error) {
		counts++
		return min(stored, most), nil
	}}
	now := time.Now()
	for range 3 {
		if n, err := q.waiting(t.Context(), "acme", now); err != nil || n != stored {
			t.Fatalf("%d, %v, of %d", n, err, stored)
		}
		stored++
		q.accepted("acme")
	}
	if counts != 1 {
		t.Errorf("far from the bound it was counted %d times", counts)
	}
	accepted := 0
	for range 20 {
		n, err := q.waiting(t.Context(), "acme", now)
		if err != nil {
			t.Fatal(err)
		}
		if n < 10 {
			stored++
			accepted++
			q.accepted("acme")
		}
	}
	if accepted != 7 || stored != 10 {
		t.Errorf("%d more were accepted, %d in all; the bound is 10", accepted, stored)
	}
	stored = 0 // all began
	if n, err := q.waiting(t.Context(), "acme", now); err != nil || n != 0 {
		t.Errorf("at the bound it was not counted again: %d, %v", n, err)
	}
	stored = 4 // by another replica
	if n, err := q.waiting(t.Context(), "acme", now.Add(countedFor)); err != nil || n != 4 {
		t.Errorf("after a second it was not counted again: %d, %v", n, err)
	}
}
