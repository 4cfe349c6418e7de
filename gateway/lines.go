package gateway

import (
	"log/slog"
	"sync"
	"time"
)

// lines bounds the access log: a flood of requests shall not become one of
// lines. What is refused or failed has a bound of its own, so that it shows
// among the answered.
type lines struct {
	rate int // a second, and at once

	mu     sync.Mutex
	good   bucket
	faulty bucket
}

// bucket is a token bucket that counts what it refused.
type bucket struct {
	tokens  float64
	at      time.Time // when tokens was true; zero before the first
	leftOut int       // since the last line
}

// take reports whether a line may be written now, and how many of its kind were
// left out before it.
func (l *lines) take(level slog.Level, now time.Time) (ok bool, leftOut int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.good
	if level > slog.LevelInfo {
		b = &l.faulty
	}
	most := float64(l.rate)
	if b.at.IsZero() {
		b.tokens = most
	} else {
		b.tokens = min(most, b.tokens+now.Sub(b.at).Seconds()*most)
	}
	b.at = now
	if b.tokens < 1 {
		b.leftOut++
		return false, 0
	}
	b.tokens--
	leftOut, b.leftOut = b.leftOut, 0
	return true, leftOut
}

// tellsNothing reports whether a request that was answered well is a probe's,
// of which there is one after another and nothing to read.
func tellsNothing(route string) bool {
	switch route {
	case "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch":
		return true
	}
	return false
}
