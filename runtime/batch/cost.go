package batch

import (
	"math/bits"
	"time"
)

// maxRows is the most rows that a batch is ever made of.
const maxRows = 64

// knots are the sizes at which a curve is known: 1, 2, 4, … maxRows.
const knots = 7

// nearBest is how much of the best throughput is good enough: a larger batch
// would only make its first rows wait. TestNoFixedSizeIsBetter and `make bench`
// hold the same 0.97 of the best fixed size.
const nearBest = 0.97

// Point is what one run of Size rows took, as measured before.
type Point struct {
	Size  int           // rows
	Alone time.Duration // with nothing else running
	Busy  time.Duration // with a run in every slot
}

// curve is the time of a run by its rows, learned: it begins with what was
// measured when the model was published, or with a guess in favour of batching,
// and follows what it sees. Times are in nanoseconds.
type curve struct {
	at    [knots]float64
	seen  [knots]float64 // how much each was observed, for the pace of learning
	all   float64        // how much any was
	known bool           // by measurement or observation
}

// Paces of learning. A size that was measured when the model was published counts
// as priorWeight runs. However many were seen, a new one weighs at least one part
// in mostWeight: a smaller number follows a change of the machine sooner, a larger
// one averages more noise away.
const (
	priorWeight = 3
	mostWeight  = 24
	// drift is the part of each correction that is applied to every size: a
	// machine that slows down slows them all.
	drift = 0.25
)

// newCurve begins with points; with none it learns from the first run.
func newCurve(points []Point, busy bool) curve {
	var c curve
	var sizes, times []float64
	for _, p := range points {
		t := p.Alone
		if busy && p.Busy > 0 {
			t = p.Busy
		}
		if p.Size > 0 && t > 0 {
			sizes, times = append(sizes, float64(p.Size)), append(times, float64(t))
		}
	}
	if len(sizes) == 0 {
		return c
	}
	c.known = true
	for i := range c.at {
		size := float64(int(1) << i)
		c.at[i] = interpolate(sizes, times, size)
		if size <= sizes[len(sizes)-1] {
			c.seen[i] = priorWeight
		}
	}
	return c
}

// interpolate reads a piecewise linear function. Beyond its ends it goes on as
// its last piece does, and as guess does when it is one point.
func interpolate(xs, ys []float64, x float64) float64 {
	if len(xs) == 1 || x < xs[0] {
		return ys[0] * guess(x/xs[0])
	}
	i := 1
	for xs[i] < x && i < len(xs)-1 {
		i++
	}
	return ys[i-1] + (ys[i]-ys[i-1])*(x-xs[i-1])/(xs[i]-xs[i-1])
}

// guess is the time of n times as many rows, when one size was ever seen: half
// of it is the run's own. A guess in favour of batches is corrected by the first
// of them; one against would never be tried.
func guess(n float64) float64 { return 0.5 + 0.5*n }

// reach is the largest size that may be tried: twice the largest seen.
func (c *curve) reach() int {
	reach := 1
	for i := range c.at {
		if c.seen[i] > 0 {
			reach = 2 << i
		}
	}
	return min(reach, maxRows)
}

// run is the time that a run of so many rows should take; 0 when nothing is
// known.
func (c *curve) run(rows int) float64 {
	i, f := knot(rows)
	if rows > maxRows {
		return c.at[i] * float64(rows) / maxRows
	}
	if f == 0 {
		return c.at[i]
	}
	return c.at[i] + (c.at[i+1]-c.at[i])*f
}

// knot is the place of a size among the knots: at i, or the fraction f of the
// way to i+1. Sizes past the last lie
// at it.
func knot(rows int) (i int, f float64) {
	rows = min(max(rows, 1), maxRows)
	i = bits.Len(uint(rows)) - 1
	if low := 1 << i; rows > low {
		f = float64(rows-low) / float64(low)
	}
	return i, f
}

// begin takes the first run for the whole curve.
func (c *curve) begin(rows int, took float64) {
	c.known = true
	for i := range c.at {
		c.at[i] = took * guess(float64(int(1)<<i)/float64(rows))
	}
	c.correct(rows, 1, 1)
}

// scale multiplies the whole curve.
func (c *curve) scale(by float64) {
	for i := range c.at {
		c.at[i] *= by
	}
}

// correct follows a run that took so many times what was expected. weight is how
// much of the run this curve is for.
func (c *curve) correct(rows int, times, weight float64) {
	// One run that was held up shows little.
	off := min(max(times, 0.25), 4) - 1
	// The corrections of the first runs are applied to every size, averaged: what was measured
	// elsewhere shows how sizes compare, and not how long they take here.
	c.all += weight
	common := weight * max(drift/mostWeight, min(1/max(c.all, 1), 1))
	c.scale(1 + common*off)
	off = weight * ((1+off)/(1+common*off) - 1)
	i, f := knot(rows)
	c.learn(i, (1-f)*weight, off)
	if f > 0 {
		c.learn(i+1, f*weight, off)
	}
	c.extend()
}

func (c *curve) learn(i int, share, off float64) {
	c.seen[i] = min(c.seen[i]+share, mostWeight)
	c.at[i] *= 1 + share*off/max(c.seen[i], 1)
}

// extend carries what was seen on to the sizes above that were not.
func (c *curve) extend() {
	last := 0
	for i := range c.at {
		if c.seen[i] > 0 {
			last = i
		}
	}
	for i := last + 1; i < knots; i++ {
		if last == 0 || c.seen[last-1] == 0 {
			c.at[i] = c.at[last] * guess(float64(int(1)<<(i-last)))
			continue
		}
		// By the slope of the last piece; sizes double.
		c.at[i] = c.at[last] + max(c.at[last]-c.at[last-1], 0)*float64(int(1)<<(i-last+1)-2)
	}
}

// pays finds which sizes are worth their wait, up to most rows: low is the least
// with nearly the best throughput, high the largest.
func (c *curve) pays(most int) (low, high int) {
	if !c.known {
		return 1, most
	}
	best := 0.0
	for size := range sizesTo(most) {
		best = max(best, float64(size)/c.run(size))
	}
	for size := range sizesTo(most) {
		if float64(size)/c.run(size) >= nearBest*best {
			if low == 0 {
				low = size
			}
			high = size
		}
	}
	return low, high
}

// sizesTo yields 1, 2, 4, … and most itself.
func sizesTo(most int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for size := 1; size < most; size *= 2 {
			if !yield(size) {
				return
			}
		}
		yield(most)
	}
}

// within is the largest size, up to most rows, that takes at most times as long
// as one row.
func (c *curve) within(times float64, most int) int {
	bound := times * c.run(1)
	size := 1
	for size < most && c.run(size+1) <= bound {
		size++
	}
	return size
}

// saved is the time that one more row saves by joining a run of rows, in place
// of a run of its own.
func (c *curve) saved(rows int) time.Duration {
	return time.Duration(max(c.run(rows)+c.run(1)-c.run(rows+1), 0))
}

// ceilDiv is a/b, rounded up, at least 1.
func ceilDiv(a, b int) int { return max(1, (a+b-1)/b) }
