package gateway

import (
	"log/slog"
	"testing"
	"time"
)

// TestLinesAreBounded holds the access log to its rate, with a bound of its own
// for what failed, and that what is left out is told.
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
