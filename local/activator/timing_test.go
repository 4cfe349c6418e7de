package activator

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseTiming(t *testing.T) {
	t.Parallel()
	got := parseTiming(http.Header{"Server-Timing": {
		`queue;dur=0.5, infer;desc="x";dur=12`, "load; dur=3", "bad;dur=abc, negative;dur=-1, huge;dur=1e300, none",
	}})
	want := map[string]time.Duration{"queue": 500 * time.Microsecond, "infer": 12 * time.Millisecond, "load": 3 * time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

func FuzzParseTiming(f *testing.F) {
	f.Add("queue;dur=0.5, infer;dur=12")
	f.Add(";;,=dur")
	f.Fuzz(func(t *testing.T, text string) {
		for name, d := range parseTiming(http.Header{"Server-Timing": {text}}) {
			if d < 0 {
				t.Errorf("%q: %v", name, d)
			}
		}
	})
}
