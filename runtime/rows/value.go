package rows

import (
	"slices"
)

// kind is what is known of a value in all runs of requests that may be joined.
type kind uint8

const (
	absent  kind = iota // an input left out
	unknown             // for the reason why
	same                // equal in all of them
	count               // small integers, of which some have the number of rows in them
	byRow               // an axis has the rows
	padded              // by row, and filled up along the last axis to the longest row of all
)

// value is what is known of one tensor.
type value struct {
	kind kind
	why  string // of what is unknown: a sentence
	pad  string // what is padded is filled up with

	// ranked is whether dims are all there are. A value by row always is.
	ranked bool
	dims   []mono

	// axis is the only one of a value by row whose size has the number of rows in
	// it, once: the axis is outer parts, each of all rows in sequence, each of
	// as many elements as the rest of the size. What is in a row's elements
	// depends on that row of the inputs and on what is the same for all rows,
	// alone.
	axis  int
	outer mono

	// elems are the elements, row-major, where they are few and dims constant;
	// nil where they are not known.
	elems []elem
}

// maxElems bounds the elements that a walk computes with.
const maxElems = 64

// elem is one element of a small tensor.
type elem struct {
	kind elemKind
	n    mono
	f    float32
}

type elemKind uint8

const (
	hidden  elemKind = iota // the same in all runs
	whole                   // the integer (or truth value) n
	decimal                 // the constant f
)

func integer(n int64) elem { return elem{kind: whole, n: number(n)} }

func (e elem) hasRows() bool { return e.kind == whole && e.n.hasRows() }

// constant is the element's value, where it is an integer that is known.
func (e elem) constant() (int64, bool) {
	n, ok := e.n.constant()
	return n, ok && e.kind == whole
}

// is reports whether the element is the integer n.
func (e elem) is(n int64) bool { return e.kind == whole && e.n.literal(n) }

func refused(why string) value { return value{kind: unknown, why: why} }

// fixed is a value that is the same in all runs, of a rank and dimensions.
func fixed(dims ...mono) value { return value{kind: same, ranked: true, dims: dims} }

// unranked is a value that is the same in all runs, of which no more is known.
func unranked() value { return value{kind: same} }

// small is a value of elements that are known.
func small(dims []mono, elems []elem) value {
	v := value{kind: same, ranked: true, dims: dims}
	n := int64(1)
	for _, d := range dims {
		c, ok := d.constant()
		if !ok || c < 0 || c > maxElems {
			return v
		}
		if n *= c; n > maxElems {
			return v
		}
	}
	if int64(len(elems)) != n {
		return v
	}
	v.elems = elems
	if slices.ContainsFunc(elems, elem.hasRows) {
		v.kind = count
	}
	return v
}

// plain is v without its elements' values.
func (v value) plain() value {
	v.elems = nil
	return v
}

// vector is v's elements where it has one axis, or none.
func (v value) vector() ([]elem, bool) {
	return v.elems, v.elems != nil && len(v.dims) <= 1
}

// constants are v's elements where all are integers that are known.
func (v value) constants() ([]int64, bool) {
	elems, ok := v.vector()
	if !ok {
		return nil, false
	}
	out := make([]int64, len(elems))
	for i, e := range elems {
		if out[i], ok = e.constant(); !ok {
			return nil, false
		}
	}
	return out, true
}

// one reports whether v has one element, whatever its rank.
func (v value) one() bool {
	if !v.ranked {
		return false
	}
	return !slices.ContainsFunc(v.dims, func(d mono) bool { return !d.literal(1) })
}

// perRow is how many elements in sequence each row has on the rows' axis; false
// where v has none.
func (v value) perRow() (mono, bool) {
	if v.kind != byRow {
		return mono{}, false
	}
	m, ok := v.dims[v.axis].over(v.outer)
	if !ok {
		return mono{}, false
	}
	return m.perRow()
}

// product multiplies dimensions; false where that is beyond what is kept.
func product(dims []mono) (mono, bool) {
	out := number(1)
	for _, d := range dims {
		var ok bool
		if out, ok = out.times(d); !ok {
			return mono{}, false
		}
	}
	return out, true
}
