package gateway

import (
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/modelserveai/modelserve/problem"
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

// isProbe reports whether a request is a probe's. Those that are answered well are
// not logged: there is one after another and nothing to read.
func isProbe(route string) bool {
	switch route {
	case "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch":
		return true
	}
	return false
}

// levelOfStatus is the level of a line of what a function answered with, where
// that carries no code of ours.
func levelOfStatus(status int) slog.Level {
	switch {
	case status >= http.StatusInternalServerError:
		return slog.LevelError
	case status >= http.StatusBadRequest:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// longestText bounds the text of an error in a line, in bytes: it may repeat what
// the caller sent.
const longestText = 1 << 10

// withoutCredentials is text for a line: keys (ms_…) and tokens (eyJ…) that
// somebody has put where a name belongs are cut to their first letters.
func withoutCredentials(text string) string {
	if len(text) > longestText {
		text = strings.ToValidUTF8(text[:longestText], "") + "…"
	}
	var out strings.Builder
	for word := range eachWord(text) {
		for _, begin := range []string{"ms_", "eyJ"} {
			if strings.HasPrefix(word, begin) && len(word) > len(begin) {
				word = begin + "…"
			}
		}
		out.WriteString(word)
	}
	return out.String()
}

// eachWord cuts text into the words that keys and tokens can be, and what is
// between.
func eachWord(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for begin := 0; begin < len(text); {
			first, size := utf8.DecodeRuneInString(text[begin:])
			end := begin + size
			for isOfWord(first) && end < len(text) && isOfWord(rune(text[end])) {
				end++
			}
			if !yield(text[begin:end]) {
				return
			}
			begin = end
		}
	}
}

func isOfWord(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
}

// pathError is a caller's error whose text has their path in it: the caller gets
// it, the log does not.
type pathError struct{ problem *problem.Error }

// Error is what the log has.
func (pathError) Error() string { return "the path matches no endpoint" }

// As makes it the problem that the caller gets.
func (e pathError) As(target any) bool {
	p, ok := target.(**problem.Error)
	if ok {
		*p = e.problem
	}
	return ok
}
