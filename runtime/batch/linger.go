package batch

import "time"

// linger decides whether to wait for callers who were just answered. A client
// that calls again as soon as it has its answer misses the run that starts when
// its own ends, if that starts at once; waiting the moment that it takes makes
// batches of all of them. What is waited is never more than what one request
// more would save, and only as long as it works.
//
// A lone client is never waited for: its request is the one that was expected.
type linger struct {
	expected   int // answered, and not back
	answered   time.Time
	since      time.Time // waiting began; zero when it is not waited
	bound      time.Time
	came       int           // while it was waited
	worth      float64       // part of the waits that brought somebody, averaged
	tried      int           // waits, and chances to
	returnTime time.Duration // for how long after answered they are expected
}

const (
	// Timers are not exact below this: a shorter wait is none.
	leastLinger = 200 * time.Microsecond
	// Callers are expected back for so long at least.
	leastReturnTime = 2 * time.Millisecond
	// Where waits mostly bring nobody, one chance in so many is taken all the same.
	retryLinger = 64
)

// ended counts the answers of a run that took so long.
func (l *linger) ended(now time.Time, answers int, took time.Duration) {
	l.expected += answers
	l.answered = now
	l.returnTime = max(took/2, leastReturnTime)
}

// arrived counts a request.
func (l *linger) arrived() {
	if l.expected > 0 {
		l.expected--
	}
	if !l.since.IsZero() {
		l.came++
	}
}

// away is how many requests are expected back.
func (l *linger) away(now time.Time) int {
	if l.expected > 0 && now.Sub(l.answered) > l.returnTime {
		l.expected = 0
	}
	return l.expected
}

// until is how long to wait for those away, when each would save so much; a
// moment that has passed means not to.
func (l *linger) until(now time.Time, saved time.Duration, away int) time.Time {
	if saved < leastLinger || away == 0 {
		return time.Time{}
	}
	if l.since.IsZero() {
		l.tried++
		if l.tried > 4 && l.worth < 0.5 && l.tried%retryLinger != 0 {
			return time.Time{}
		}
		l.since, l.bound, l.came = now, now.Add(2*saved), 0
	}
	at := l.since.Add(saved)
	if l.came > 0 { // each caller who came is a reason to wait for the next
		at = now.Add(saved)
	}
	if at.After(l.bound) {
		at = l.bound
	}
	if at.After(l.answered.Add(l.returnTime)) {
		at = l.answered.Add(l.returnTime)
	}
	return at
}

// began ends the wait with a run, and learns from it.
func (l *linger) began() {
	if l.since.IsZero() {
		return
	}
	brought := 0.0
	if l.came > 0 {
		brought = 1
	} else {
		l.expected = 0 // they do not come
	}
	if l.tried <= 1 {
		l.worth = brought
	}
	l.worth += (brought - l.worth) / 8
	l.since = time.Time{}
}
