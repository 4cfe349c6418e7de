package batch

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// evidence is what one tenant's requests of one class were seen to take, for only
// that lets one be refused. How long a run takes may depend on what is in it, such
// as the trip count of a Loop, so nothing of another tenant's is in it, nothing of
// other rows or lengths, and nothing is scaled or guessed. It goes with its class.
type evidence []record // those used last come last

// kind is what requests of a class must have equal to be evidence of each other.
type kind struct {
	rows int
	rest uint64 // see Queue.restOf
}

// record is what is known of requests of one kind.
type record struct {
	kind    kind
	runs    int       // each within maxAge of the one before
	at      time.Time // of the last run that ended, or was tried
	took    float64   // nanoseconds, of the quickest lately
	refused int       // in a row
}

const (
	// minRuns is how many runs are evidence, and maxAge how long after the last. Fewer
	// runs refuse by chance, more let a client whose requests are all too slow use
	// more time.
	minRuns = 3
	maxAge  = 10 * time.Minute

	// maxRefusedInRow is how many requests are refused by evidence before one is run in
	// spite of it. If the evidence was wrong that one ends it; if it was right two
	// of three runs are saved. Halving the time with each refusal instead would
	// refuse five quick requests after runs that took 20 times as long.
	maxRefusedInRow = 2

	// maxRecords bounds the kinds of a class.
	maxRecords = 16
)

// of is the record of a kind; nil when there is none of lately.
func (e evidence) of(k kind, now time.Time) *record {
	at := slices.IndexFunc(e, func(r record) bool { return r.kind == k })
	if at < 0 || now.Sub(e[at].at) > maxAge {
		return nil
	}
	return &e[at]
}

// add counts a run of one request alone. Each run raises an older, quicker time by
// 1%, so that what was seen long ago counts less and less.
func (e *evidence) add(k kind, took float64, now time.Time) {
	r := record{kind: k, took: took}
	if known := e.of(k, now); known != nil {
		r = *known
	}
	if r.runs >= minRuns {
		r.took *= 1.01
	}
	r.runs++
	r.at, r.took = now, min(r.took, took)
	*e = slices.DeleteFunc(*e, func(old record) bool { return old.kind == k })
	if len(*e) >= maxRecords {
		*e = slices.Delete(*e, 0, 1)
	}
	*e = append(*e, r)
}

// atMost counts a run in company: alone the request had taken no longer.
func (e evidence) atMost(k kind, took float64, now time.Time) {
	if r := e.of(k, now); r != nil {
		r.took = min(r.took, took)
	}
}

// refuses reports whether a request with so much time left is refused, and by
// which time of a run.
func (e evidence) refuses(k kind, left time.Duration, now time.Time, o *owner) (took time.Duration, refused bool) {
	r := e.of(k, now)
	if r == nil || r.runs < minRuns || r.took <= float64(left) {
		return 0, false
	}
	if r.refused >= maxRefusedInRow || o.refused >= maxRefusedInRow {
		r.refused, o.refused, r.at = 0, 0, now
		return 0, false
	}
	r.refused++
	o.refused++
	return time.Duration(r.took), true
}

// restOf is a hash of what may differ within a class, but for the rows: lengths,
// those of BYTES elements among them, and the values of inputs without rows, which
// may be sizes and counts. Of those with more than maxShared bytes, as of rows, the
// values are data: hardly ever the same twice.
func (q *Queue) restOf(inputs []infer.Tensor) uint64 {
	sig := q.m.Signature
	axis := sig.BatchAxis != nil && *sig.BatchAxis == batchAxis
	hash := uint64(fnvBasis)
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		t := find(inputs, spec.Name)
		if t == nil {
			continue // it is missing in all requests of the class
		}
		shape := t.Shape
		rows := axis && !spec.Unbatched && len(shape) > 0
		if rows {
			shape = shape[batchAxis+1:]
		}
		for _, n := range shape {
			hash = mix(hash, uint64(n))
		}
		switch {
		case !rows && len(t.Data) <= maxShared:
			hash = mix(hash, uint64(crc32.ChecksumIEEE(t.Data)))
		case t.DataType == infer.Bytes:
			for at := 0; at < len(t.Data); at = skipStrings(t.Data, at, 1) {
				hash = mix(hash, uint64(binary.LittleEndian.Uint32(t.Data[at:])))
			}
		}
	}
	return hash
}

// mix is FNV-1a of 64 bits, by whole numbers. Two kinds of one tenant that collide
// are taken for one.
func mix(hash, n uint64) uint64 { return (hash ^ n) * fnvPrime }

const (
	fnvBasis = 14695981039346656037
	fnvPrime = 1099511628211
)
