package limit

import (
	"math"
	"time"
)

// leaseFor is how long tokens that were leased may be used.
const leaseFor = time.Second

// smallest is the burst below which no tokens are leased.
const smallest = 100

// lease is tokens of a bucket that calls here may take without asking.
type lease struct {
	number int64 // of the lease; each replaces the one before
	all    int64
	left   int64
	until  time.Time
}

// take takes a token of a lease. Where a quarter is left one call asks for the next
// lease, and others go on.
func (e *entry) take(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lease.left < 1 || !now.Before(e.lease.until) || !e.asking && e.lease.left <= e.lease.all/4 {
		return false
	}
	e.lease.left--
	e.recent.add(now)
	return true
}

// shown is the last answer, as it is now that only leased tokens were taken.
func (e *entry) shown(r *rule, now time.Time) Answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.last
	a.Left = min(r.Burst, a.Left+float64(e.lease.left)+now.Sub(e.at).Seconds()*r.Rate)
	a.Reset = duration((r.Burst - a.Left) / r.Rate)
	return a
}

// duration is a time in seconds; the longest there is, where it is more.
func duration(seconds float64) time.Duration {
	if seconds >= math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(seconds * float64(time.Second))
}

// putBack gives a token back to its lease.
func (e *entry) putBack() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lease.left++
}

// want is how many tokens to lease with the call that is to be asked for: a quarter of
// a second's calls, and half of what all may have at most.
func (e *entry) want(r *rule, now time.Time) (want, number, back int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.recent.add(now)
	if r.Burst < smallest || e.asking {
		return 0, 0, 0
	}
	want = min(int64(r.Burst)/100/2, e.recent.aSecond(now)/4)
	if want < 1 {
		return 0, 0, 0
	}
	e.asking = true
	if !now.Before(e.lease.until) {
		e.lease.left = 0
	}
	return want, e.lease.number, e.lease.left
}

// leased notes what became of a call that wanted tokens and gave some back: answered is
// whether there is an answer, admitted whether it replaced the lease. It returns what
// other calls took meanwhile of those that were given back, and the new lease does not
// have: it is to be charged.
func (e *entry) leased(a *Answer, back int64, answered, admitted bool, sent time.Time) (over int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asking = false
	taken := back - e.lease.left
	switch {
	case !answered:
		e.lease = lease{number: e.lease.number + 1} // whichever it has now, none of it is used
		return taken
	case admitted:
		e.lease = lease{e.lease.number + 1, a.Leased, max(0, a.Leased-taken), sent.Add(leaseFor)}
		return max(0, taken-a.Leased)
	default:
		return 0
	}
}

// counter counts calls by the second.
type counter struct {
	second   int64
	now, was int64
}

func (c *counter) add(now time.Time) {
	c.turn(now)
	c.now++
}

// aSecond is about how many calls there are a second.
func (c *counter) aSecond(now time.Time) int64 {
	c.turn(now)
	return max(c.now, c.was)
}

func (c *counter) turn(now time.Time) {
	switch s := now.Unix(); s {
	case c.second:
	case c.second + 1:
		c.second, c.was, c.now = s, c.now, 0
	default:
		c.second, c.was, c.now = s, 0, 0
	}
}
