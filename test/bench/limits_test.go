package main

import (
	"testing"
	"time"
)

// TestWhatIsBeyondALimit holds the sums by which the benchmark judges limits.
func TestWhatIsBeyondALimit(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	b := bucket{rate: 10, burst: 2}
	for name, tc := range map[string]struct {
		answered []time.Duration
		beyond   float64
		span     time.Duration
		gap      time.Duration
	}{
		"one call":                        {[]time.Duration{0}, -1, ms, 0},
		"the burst":                       {[]time.Duration{0, 0}, 0, ms, 0},
		"one more":                        {[]time.Duration{0, 0, 0}, 1, ms, 0},
		"the burst, and its rate":         {[]time.Duration{0, 0, 100 * ms, 200 * ms}, 0, 201 * ms, 100 * ms},
		"a burst behind a pause":          {[]time.Duration{0, 0, 1000 * ms, 1000 * ms}, 0, 1001 * ms, time.Second},
		"too many behind a pause":         {[]time.Duration{0, 0, 1000 * ms, 1000 * ms, 1000 * ms, 1000 * ms}, 2, 1001 * ms, time.Second},
		"too many, and then a long pause": {[]time.Duration{0, 0, 0, 0, 9000 * ms}, 2, 9001 * ms, 9 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var o offered
			for _, at := range tc.answered {
				o.admitted = append(o.admitted, admission{at - ms, at})
			}
			if got := o.beyond(b); got != tc.beyond {
				t.Errorf("%v beyond the limit, want %v", got, tc.beyond)
			}
			if o.span() != tc.span || o.gap() != tc.gap {
				t.Errorf("span %v and gap %v, want %v and %v", o.span(), o.gap(), tc.span, tc.gap)
			}
		})
	}
}
