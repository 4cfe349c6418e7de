package batch

import "math/bits"

// evidence is what requests of a shape were seen to take, for only that lets one
// be refused: its quickest runs lately, by rows, in nanoseconds. The run of index
// i had at most 1<<i rows; 0 is none. Nothing in it is scaled or guessed.
type evidence struct {
	quickest [knots]float64
	elements int64 // of one row, the most of any run
}

// add counts a run. What was seen long ago is believed less and less.
func (e *evidence) add(rows int, elements int64, took float64) {
	e.elements = max(e.elements, elements)
	if rows > maxRows {
		return // of no request is it known to have as many
	}
	at := bits.Len(uint(max(rows, 1) - 1))
	if e.quickest[at] == 0 {
		e.quickest[at] = took
	}
	e.quickest[at] *= 1.01
	for i := range at + 1 { // with fewer rows it had been no slower
		e.quickest[i] = min(e.quickest[i], took)
	}
}

// least is the time that runs with as many rows or fewer, of as many elements or
// fewer, were seen to take at least; 0 when there were none.
func (e *evidence) least(rows int, elements int64) (least float64) {
	if elements < e.elements {
		return 0
	}
	last, _ := knot(rows)
	for _, q := range e.quickest[:last+1] {
		least = max(least, q)
	}
	return least
}

// doubt lowers what refused a request with so much time left: a refusal teaches
// nothing, and a wrong belief must not last.
func (e *evidence) doubt(left float64) {
	for i := range e.quickest {
		if e.quickest[i] > left {
			e.quickest[i] *= 0.9
		}
	}
}
