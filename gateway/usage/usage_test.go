package usage_test

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/modelserveai/modelserve/gateway/usage"
)

func TestDays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-11-30T00:00:00Z":           "2026-11-30",
		"2026-11-30T23:59:59.999999999Z": "2026-11-30",
		"2026-12-01T00:59:00+01:00":      "2026-11-30",
		"2024-02-29T12:00:00Z":           "2024-02-29",
		"1970-01-01T00:00:00Z":           "1970-01-01",
		"1969-12-31T23:59:59.5Z":         "1969-12-31",
		"1969-12-31T00:00:00Z":           "1969-12-31",
		"0001-01-01T00:00:00Z":           "0001-01-01",
		"9999-12-31T23:59:59Z":           "9999-12-31",
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		day := usage.DayOf(at)
		if day.String() != want || usage.DayOf(day.Start()) != day || usage.DayOf(day.Start().Add(-1)) != day-1 {
			t.Errorf("%s is %v, which begins at %v", text, day, day.Start())
		}
	}
}

func TestACountNeverBecomesACredit(t *testing.T) {
	t.Parallel()
	const most = math.MaxInt64
	for name, tc := range map[string]struct{ a, b, want int64 }{
		"small":              {1, 2, 3},
		"to the most":        {most - 1, 1, most},
		"beyond":             {most - 1, 2, most},
		"twice the most":     {most, most, most},
		"what is negative":   {5, -3, 5},
		"to what is":         {-5, 3, 3},
		"the least of it":    {0, math.MinInt64, 0},
		"the least, to that": {math.MinInt64, math.MinInt64, 0},
	} {
		c := usage.Counts{tc.a, tc.a, tc.a, tc.a, tc.a, tc.a}
		if c.Add(usage.Counts{tc.b, tc.b, tc.b, tc.b, tc.b, tc.b}); c != (usage.Counts{tc.want, tc.want, tc.want, tc.want, tc.want, tc.want}) {
			t.Errorf("%s: %v, want %d", name, c, tc.want)
		}
	}
}

// FuzzPlain holds that a text is itself, or a short one that stands for it.
func FuzzPlain(f *testing.F) {
	for _, text := range []string{"", "text-detect", "192.0.2.1", "a\x00", "\xff", strings.Repeat("a", 256), strings.Repeat("a", 257), "\u202e", "sha256:"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		plain := usage.Plain(text)
		if !utf8.ValidString(plain) || strings.ContainsRune(plain, 0) || len(plain) > 256 || usage.Plain(plain) != plain {
			t.Errorf("%q becomes %q", text, plain)
		}
		if plain != text && utf8.ValidString(text) && !strings.ContainsRune(text, 0) && len(text) <= 256 {
			t.Errorf("%q is plain, and becomes %q", text, plain)
		}
		if other := text + "\xff"; usage.Plain(other) == plain {
			t.Errorf("%q and %q are the same", text, other)
		}
	})
}
