package limit

import "time"

// asLate is how late an answer may be at most, by the counts' clock: what is older is of
// a clock that was set back.
const asLate = int64(time.Second / time.Microsecond)

// replaces reports whether what is of a time by the counts' clock is newer than what is
// known, or of a clock that was set back.
func replaces(at, known int64) bool { return at >= known || at < known-asLate }

// said notes what the counts said at a time of a call that was sent at another. Answers
// may come in any order.
func (e *entry) said(kind Kind, a Answer, at int64, sent time.Time) {
	if a.Missing {
		return
	}
	if kind == Bucket {
		e.had(Known{a.Left, at})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.knows && !replaces(at, e.decided) {
		return
	}
	e.last, e.knows, e.at, e.decided = a, true, sent, at
	switch {
	case a.Admits:
		e.refused = time.Time{}
	case kind == Places:
		e.refused = sent.Add(rememberPlaces)
	default:
		e.refused = sent.Add(min(a.Retry, remember))
	}
}

// had notes what a bucket had.
func (e *entry) had(k Known) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.known == nil || replaces(k.At, e.known.At) && k.At != e.known.At:
		e.known = &k
	case k.At == e.known.At && k.Left < e.known.Left:
		e.known = &k
	}
}

// has is what a bucket had last, nil where that is not known.
func (e *entry) has() *Known {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.known
}
