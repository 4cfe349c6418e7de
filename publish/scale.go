package publish

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// scale is how large an output's elements usually are, place by place: a logit of
// -1e9 for a class that is never to be chosen, or a sum beside a mean, says
// nothing of the rounding of the others. A place is that of an element in the
// shape, but along axes whose sizes differ from run to run.
type scale struct {
	merged []int     // axes along which all elements are of one place
	sizes  []int64   // of the other axes
	at     []float64 // by place
	all    float64   // of what has no place there
	strict bool      // about numbers beside larger ones
}

const (
	largest    = 4       // about how many times the middle one of many magnitudes the largest is
	fewValues  = 4       // at a place, fewer than which are no measure: what is small of all is, too
	mostLoose  = 0.1     // of an element
	mostValues = 4096    // at a place that are looked at
	mostPlaces = 1 << 16 // beyond which the longest axes are merged
)

// scaleOf reads off a scale from an output of several runs.
func scaleOf(samples []infer.Tensor, merged ...int) *scale {
	s := &scale{merged: merged}
	if len(samples) == 0 || tolerance(samples[0].DataType) == 0 {
		return s
	}
	s.merge(samples[0].Shape)
	places := make([][]float64, product(s.sizes))
	var every []float64
	for i := range samples {
		place, fits := s.places(samples[i].Shape)
		if !fits {
			continue
		}
		for k, v := range floats(&samples[i]) {
			if v = math.Abs(v); v == 0 || !isFinite(v) {
				continue
			}
			if at := place(k); len(places[at]) < mostValues {
				places[at], every = append(places[at], v), append(every, v)
			}
		}
	}
	s.all = 4 * largest * quantile(every, 16)
	s.at = make([]float64, len(places))
	for i := range places {
		if s.at[i] = largest * quantile(places[i], 2); len(places[i]) < fewValues {
			s.at[i] = max(s.at[i], s.all)
		}
	}
	return s
}

// quantile is the value that one in so many lies below; 0 of none.
func quantile(values []float64, part int) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)-1)/part]
}

// with is the scale, and no smaller anywhere than another.
func (s *scale) with(other *scale) *scale {
	if !slices.Equal(s.sizes, other.sizes) || len(s.at) != len(other.at) {
		return s
	}
	both := *s
	both.all, both.at = max(s.all, other.all), slices.Clone(s.at)
	for i, v := range other.at {
		both.at[i] = max(both.at[i], v)
	}
	return &both
}

// merge has no more places than can be looked at.
func (s *scale) merge(shape []int64) {
	for s.sizes = s.others(shape); product(s.sizes) > mostPlaces; s.sizes = s.others(shape) {
		long := -1
		for d, n := range shape {
			if !slices.Contains(s.merged, d) && (long < 0 || n > shape[long]) {
				long = d
			}
		}
		s.merged = append(s.merged, long)
	}
}

// others are the sizes along the axes that are not merged.
func (s *scale) others(shape []int64) (sizes []int64) {
	for d, n := range shape {
		if !slices.Contains(s.merged, d) {
			sizes = append(sizes, n)
		}
	}
	return sizes
}

// places is the place of each element of a tensor of the shape; fits is false
// where the shape is of others.
func (s *scale) places(shape []int64) (place func(i int) int, fits bool) {
	if !slices.Equal(s.sizes, s.others(shape)) {
		return nil, false
	}
	type step struct{ inner, size, stride int } // of a kept axis
	var steps []step
	inner, stride := 1, 1
	for d := len(shape) - 1; d >= 0; d-- {
		size := int(shape[d])
		if !slices.Contains(s.merged, d) {
			steps = append(steps, step{inner, size, stride})
			stride *= size
		}
		inner *= size
	}
	return func(i int) int {
		at := 0
		for _, k := range steps {
			at += i / k.inner % k.size * k.stride
		}
		return at
	}, true
}

// size is what the elements of a tensor are held to, one by one.
func (s *scale) size(shape []int64) func(i int) float64 {
	place, fits := s.places(shape)
	if !fits || len(s.at) == 0 {
		return func(int) float64 { return s.all }
	}
	return func(i int) float64 { return s.at[place(i)] }
}

// alike reports whether two tensors hold the same values, but for the order in
// which kernels add up.
func (s *scale) alike(a, b *infer.Tensor) bool { return s.within(a, b, tolerance(a.DataType)) }

// within is alike with a tolerance.
func (s *scale) within(a, b *infer.Tensor, within float64) bool {
	if a.DataType != b.DataType || !slices.Equal(a.Shape, b.Shape) || len(a.Data) != len(b.Data) {
		return false
	}
	if bytes.Equal(a.Data, b.Data) {
		return true
	}
	if within == 0 {
		return false
	}
	return s.worst(a, b, within) < 0
}

// worst is the element that is farthest beyond the tolerance; -1 is none.
func (s *scale) worst(a, b *infer.Tensor, within float64) int {
	x, y := floats(a), floats(b)
	off := s.allowed(a.Shape, x, within)
	at, most := -1, 1.0
	for i := range x {
		if x[i] == y[i] || math.IsNaN(x[i]) && math.IsNaN(y[i]) {
			continue
		}
		beyond := math.Abs(x[i]-y[i]) / off(i)
		if math.IsNaN(beyond) || math.IsInf(x[i], 0) { // one of them is no number
			beyond = math.Inf(1)
		}
		if beyond > most {
			at, most = i, beyond
		}
	}
	return at
}

// allowed is how far each of a tensor's elements may be off: by the tolerance of
// what is usual at its place. Rounding goes further where it came through larger
// numbers, as in a softmax (8e-3 of what a class of 1.5e-5 had, beside one of 1,
// in content-detect): by the tolerance of the largest, but no more than loose of
// what the element is itself; to be strict, only where all may be probabilities.
func (s *scale) allowed(shape []int64, x []float64, within float64) func(i int) float64 {
	size, most := s.size(shape), 0.0
	for _, v := range x {
		if isFinite(v) {
			most = max(most, math.Abs(v))
		}
	}
	loose := min(300*within, mostLoose)
	if s.strict && most > 1+within {
		loose = within
	}
	return func(i int) float64 {
		return max(within*size(i), min(within*most, loose*math.Abs(x[i])))
	}
}

// distance is how far two tensors of one shape are from each other.
func (s *scale) distance(a, b *infer.Tensor) string {
	within := tolerance(a.DataType)
	if within == 0 {
		return "what is no rounding: its elements are not numbers with a fraction, and differ"
	}
	at := max(s.worst(a, b, within), 0)
	x, y := floats(a)[at], floats(b)[at]
	return fmt.Sprintf("%.3g: an element is %.6g in place of %.6g", math.Abs(x-y), y, x)
}

// moves reports whether a tensor has a finite element that is not alike another's.
func (s *scale) moves(a, b *infer.Tensor) bool {
	if !slices.Equal(a.Shape, b.Shape) || tolerance(a.DataType) == 0 {
		return !slices.Equal(a.Shape, b.Shape) || !bytes.Equal(a.Data, b.Data)
	}
	x, y := floats(a), floats(b)
	off := s.allowed(a.Shape, x, tolerance(a.DataType))
	for i := range x {
		if apart := math.Abs(x[i] - y[i]); isFinite(apart) && apart > off(i) {
			return true
		}
	}
	return false
}

func isFinite(v float64) bool { return math.Abs(v) <= math.MaxFloat64 }

func product(sizes []int64) int {
	n := 1
	for _, size := range sizes {
		n *= int(size)
	}
	return n
}
