package textdetect

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPlan holds the sizes to those that rapidocr computes, and the bounds to
// what it leaves unbounded.
func TestPlan(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		w, h int
		want plan
	}{
		"a page":                   {1000, 700, plan{imageW: 1000, imageH: 700, pageW: 1000, pageH: 700, netW: 1056, netH: 736, scaleX: 1, scaleY: 1}},
		"ties go to even":          {800, 752, plan{imageW: 800, imageH: 752, pageW: 800, pageH: 752, netW: 800, netH: 768, scaleX: 1, scaleY: 1}},
		"too large":                {2600, 1500, plan{imageW: 1984, imageH: 1152, pageW: 1984, pageH: 1152, netW: 1984, netH: 1152, scaleX: 2600 / 1984.0, scaleY: 1500 / 1152.0}},
		"too small":                {10, 10, plan{imageW: 32, imageH: 32, pageW: 32, pageH: 32, netW: 736, netH: 736, scaleX: 10 / 32.0, scaleY: 10 / 32.0}},
		"wide":                     {900, 60, plan{imageW: 900, imageH: 60, band: 82, pageW: 900, pageH: 224, netW: 2944, netH: 736, scaleX: 1, scaleY: 1}},
		"thirty high":              {100, 30, plan{imageW: 100, imageH: 30, band: 15, pageW: 100, pageH: 60, netW: 1216, netH: 736, scaleX: 1, scaleY: 1}},
		"a column, bounded":        {30, 2000, plan{imageW: 30, imageH: 2000, pageW: 30, pageH: 2000, netW: 288, netH: 18176, scaleX: 1, scaleY: 1}},
		"a thread, bounded":        {1, 2000, plan{imageW: 32, imageH: 6016, pageW: 32, pageH: 6016, netW: 160, netH: 31392, scaleX: 1 / 32.0, scaleY: 2000 / 6016.0}},
		"rounds to nothing, saved": {64_000_000, 1, plan{imageW: 1984, imageH: 32, band: 232, pageW: 1984, pageH: 496, netW: 2944, netH: 736, scaleX: 64_000_000 / 1984.0, scaleY: 1 / 32.0}},
	} {
		got := planFor(tc.w, tc.h)
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(plan{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for w := 1; w < 1<<26; w = w*3/2 + 1 {
		for h := 1; h*w <= 1<<26; h = h*3/2 + 1 {
			if p := planFor(w, h); p.netW*p.netH > maxNet || p.pageW*p.pageH > 16<<20 || p.netW%multiple != 0 || p.netH%multiple != 0 {
				t.Fatalf("%d×%d: %+v", w, h, p)
			}
		}
	}
}
