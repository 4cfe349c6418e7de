package infer

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestUsageOf holds a request's part of a run with others.
func TestUsageOf(t *testing.T) {
	t.Parallel()
	inputs := []Tensor{{Shape: []int64{2, 3}}, {Shape: []int64{2}}}
	for name, tc := range map[string]struct {
		timing Timing
		want   Usage
	}{
		"alone":            {Timing{Infer: time.Second, BatchSize: 2, Rows: 2}, Usage{2, 8, time.Second}},
		"with three times": {Timing{Infer: time.Second, BatchSize: 8, Rows: 2}, Usage{2, 8, 250 * time.Millisecond}},
		"nobody counted":   {Timing{Infer: time.Second}, Usage{1, 8, time.Second}},
	} {
		if diff := cmp.Diff(tc.want, UsageOf(inputs, tc.timing)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestParseUsage(t *testing.T) {
	t.Parallel()
	whole := Usage{Rows: 8, Elements: 6272, Compute: 12345 * time.Microsecond}
	for text, want := range map[string]Usage{
		whole.String():                           whole,
		"rows=8,elements=6272,compute_ms=12.345": whole,
		"compute_ms=1, tokens=7":                 {Compute: time.Millisecond}, // a member of later
		"":                                       {},
		"tokens=7":                               {},
		"compute_ms=1.5":                         {Compute: 1500 * time.Microsecond},
		"compute_ms=999999999999":                {Compute: 999999999999 * time.Millisecond},
		"rows=999999999999999":                   {Rows: 999999999999999},
		"rows=1000000000000000":                  {},
		"rows=9223372036854775807":               {},
		"rows=+5":                                {},
		"rows=":                                  {},
		"rows=1_000":                             {},
		"rows=٣":                                 {},
		"compute_ms=0x1p3":                       {},
		"compute_ms=1.":                          {},
		"compute_ms=.5":                          {},
		"compute_ms=1.2345":                      {},
		"compute_ms=1e3":                         {},
		"compute_ms=+1":                          {},
		"compute_ms=1000000000000":               {},
		"rows=-1":                                {},
		"rows=1, rows=x":                         {},
		"rows=9223372036854775808":               {},
		"compute_ms=-1":                          {},
		"compute_ms=NaN":                         {},
		"compute_ms=1e300":                       {},
	} {
		got, ok := ParseUsage(text)
		if ok != (want != Usage{}) || ok && got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, ok, want)
		}
	}
}

// TestAChargeNeverBecomesACredit holds that sums end at what can be counted.
func TestAChargeNeverBecomesACredit(t *testing.T) {
	t.Parallel()
	most := Usage{Rows: math.MaxInt64, Elements: math.MaxInt64, Compute: math.MaxInt64}
	for name, tc := range map[string]struct{ a, b, want Usage }{
		"small":       {Usage{1, 2, 3}, Usage{4, 5, 6}, Usage{5, 7, 9}},
		"the most":    {most, most, most},
		"to the most": {Usage{math.MaxInt64 - 1, 0, 0}, Usage{1, 0, 0}, Usage{math.MaxInt64, 0, 0}},
		"one behind":  {Usage{math.MaxInt64 - 1, 0, 0}, Usage{2, 0, 0}, Usage{math.MaxInt64, 0, 0}},
	} {
		got := tc.a
		if got.Add(tc.b); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
