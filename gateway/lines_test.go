package gateway

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestLinesAreBounded holds the access log to its rate, with a bound of its own
// for what failed, and that what is left out is counted in a later line.
func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	l := lines{rate: 10}
	now := time.Unix(1000, 0)
	count := func(level slog.Level, n int) (written int) {
		for range n {
			if ok, _ := l.take(level, now); ok {
				written++
			}
		}
		return written
	}
	if n := count(slog.LevelInfo, 100); n != 10 {
		t.Errorf("%d of 100 lines at once", n)
	}
	if n := count(slog.LevelWarn, 5) + count(slog.LevelError, 5); n != 10 {
		t.Errorf("%d of 10 lines of faults beside them", n)
	}
	now = now.Add(500 * time.Millisecond)
	ok, leftOut := l.take(slog.LevelInfo, now)
	if !ok || leftOut != 90 {
		t.Errorf("after a pause: %v, %d left out", ok, leftOut)
	}
	if n := count(slog.LevelInfo, 100); n != 4 {
		t.Errorf("%d lines of half a second", n+1)
	}
	now = now.Add(time.Hour)
	if n := count(slog.LevelInfo, 100); n != 10 {
		t.Errorf("%d lines after an hour", n)
	}
}

// TestALineHasNoCredential holds that what somebody has put in a wrong place is
// cut, and all else is as it was.
func TestALineHasNoCredential(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`model: expected a name, got "ms_secretsecretkey"`:        `model: expected a name, got "ms_…"`,
		`got "Bearer ms_0123_ABCdef-x" for ms_9_z.`:               `got "Bearer ms_…" for ms_….`,
		`got eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln`:            `got eyJ….eyJ….c2ln`,
		`inputs[0].params_in: expected a key ms_<id>_<secret>, é`: `inputs[0].params_in: expected a key ms_<id>_<secret>, é`,
		`took 30 ms, items-ms_x`:                                  `took 30 ms, items-ms_x`,
		"":                                                        "",
		strings.Repeat("é", longestText):                          strings.Repeat("é", longestText/2) + "…",
		"x" + strings.Repeat("é", 2<<10):                          "x" + strings.Repeat("é", longestText/2-1) + "…",
		"\xff\x00ms_x":                                            "\xff\x00ms_…",
	} {
		if got := withoutCredentials(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
