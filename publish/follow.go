package publish

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// outputs finds which outputs follow the group's length, and by which divisor.
// Lengths go on growing until each has shown enough sizes, for a rule that is
// read off few holds for few; if thorough, also those that have shown one yet. It
// returns what ran, the longest last.
func (p *prover) outputs(ctx context.Context, group []int, base int64, thorough bool) ([]seen, error) {
	var trials []seen
	tried := map[int64]bool{}
	try := func(n int64) error {
		if tried[n] {
			return nil
		}
		tried[n] = true
		if n < base {
			return nil
		}
		shapes, err := p.shapes(ctx, p.with(base, group, n), 1)
		if err == nil {
			trials = append(trials, seen{n, shapes})
			slices.SortFunc(trials, func(a, b seen) int { return int(a.length - b.length) })
		}
		return context.Cause(ctx) // one beyond a bound requests cannot have either
	}
	began, refused := time.Now(), 0
	for k := int64(1); refused < 3 && k*base <= mostLength && time.Since(began) < growTime; k += max(k/2, 1) {
		// Multiples, as strides want, and what lies between them.
		ran, step := len(trials), time.Now()
		for _, n := range []int64{k * base, k*base + 1, k*base + k/2 + 3, (k+1)*base - 1} {
			if err := try(n); err != nil {
				return nil, err
			}
		}
		if refused++; len(trials) > ran {
			refused = 0
		}
		if k < 3 {
			continue
		}
		if k > enoughSizes && time.Since(step) > growTime/10 {
			break // what takes long takes memory, too
		}
		next, only, err := p.rules(group, trials)
		if err != nil {
			return nil, err
		}
		for _, n := range next {
			only = only && tried[n] // by what has run
			if err := try(n); err != nil {
				return nil, err
			}
		}
		if only && p.shown(trials, thorough) {
			break
		}
	}
	return trials, p.keepRules(group, trials)
}

// shown reports whether each output with an open axis has taken enough sizes; if
// not thorough, one that has come out in a single size counts, too.
func (p *prover) shown(trials []seen, thorough bool) bool {
	for o := range p.sig.Outputs {
		shapes := map[string]bool{}
		for _, t := range trials {
			shapes[fmt.Sprint(t.shapes[o])] = true
		}
		if p.open(o) && p.follow[o].Of == "" && len(shapes) < enoughSizes && (thorough || len(shapes) > 1) {
			return false
		}
	}
	return true
}

// open reports whether an output's size may differ along an axis that is not the
// rows'.
func (p *prover) open(o int) bool {
	spec := &p.sig.Outputs[o]
	for d, size := range spec.Shape {
		if size == infer.Dynamic && (spec.Unbatched || d != *p.sig.BatchAxis) {
			return true
		}
	}
	return spec.Shape == nil
}

// rules looks at what ran for lengths that are to be tried yet: those that
// distinguish the divisors that fit, and those about multiples of the only one.
// only reports that no output has several. One that follows by none is an error.
func (p *prover) rules(group []int, trials []seen) (next []int64, only bool, err error) {
	only = true
	for o := range p.sig.Outputs {
		axis, low, high, err := followed(trials, o)
		if err == nil && axis >= 0 {
			err = p.canFollow(o, axis)
		}
		switch {
		case err != nil:
			return nil, false, p.uncut(o, group, err)
		case axis < 0:
		case low < high:
			only = false
			next = append(next, (low+high)/2+1)
		default:
			for _, k := range []int64{1, 2, 3, enoughSizes} {
				next = append(next, k*low-1, k*low, k*low+1)
			}
		}
	}
	return next, only, nil
}

// keepRules keeps the rules of the outputs that follow the group.
func (p *prover) keepRules(group []int, trials []seen) error {
	for o := range p.sig.Outputs {
		axis, low, high, err := followed(trials, o)
		if err == nil && axis >= 0 {
			err = p.canFollow(o, axis)
		}
		if err == nil && low < high {
			err = fmt.Errorf("its axis %d has %s: the length by %d, by %d and what is between would all give that, and the model runs with no length that distinguishes them",
				axis, sizesOf(trials, o, axis), low, high)
		}
		if err != nil {
			return p.uncut(o, group, err)
		}
		if axis >= 0 {
			p.follow[o] = infer.Ragged{Axis: axis, Of: p.asked[group[0]].Input, Divide: low}
		}
	}
	return nil
}

func (p *prover) uncut(o int, group []int, why error) error {
	return refuse("--ragged: output %q cannot be cut back to what a shorter %s gives: %w", p.sig.Outputs[o].Name, p.names(group), why)
}

// still is an output whose axis is open and took one size for all lengths, for
// what it does beyond them is not known; -1 is none. It may be an axis of
// the inputs that is not ragged which moves it.
func (p *prover) still(ctx context.Context, tried [][]seen, base int64) (int, error) {
	var other [][]int64 // with all other open axes twice as long
	for o := range p.sig.Outputs {
		if !p.open(o) || p.follow[o].Of != "" {
			continue
		}
		usual := tried[0][0].shapes
		if other == nil {
			var err error
			if other, err = p.shapes(ctx, p.all(base), 2); err != nil {
				other = usual
			}
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
		}
		if slices.Equal(usual[o], other[o]) {
			return o, nil
		}
	}
	return -1, nil
}

// canFollow reports why an output cannot be cut along the axis.
func (p *prover) canFollow(o, axis int) error {
	spec := &p.sig.Outputs[o]
	switch {
	case p.follow[o].Of != "":
		return fmt.Errorf("it follows input %q, too", p.follow[o].Of)
	case spec.Unbatched || axis == *p.sig.BatchAxis:
		return fmt.Errorf("its axis %d follows the length, and it has no row for each request", axis)
	case spec.DataType == infer.Bytes:
		return fmt.Errorf("its axis %d follows the length, and it is BYTES", axis)
	case axis >= len(spec.Shape) || spec.Shape[axis] != infer.Dynamic:
		return fmt.Errorf("its axis %d follows the length, and the model declares the shape %v; export it with that axis dynamic", axis, spec.Shape)
	}
	return nil
}

// followed finds the axis of an output whose size is the length divided by a whole
// number and rounded up, and the smallest and largest divisor that fit all that
// was tried; axis -1 when no size changes.
func followed(trials []seen, o int) (axis int, low, high int64, err error) {
	axis = -1
	first := trials[0].shapes[o]
	for _, t := range trials[1:] {
		shape := t.shapes[o]
		if len(shape) != len(first) {
			return 0, 0, 0, fmt.Errorf("it has %d axes with one length and %d with another", len(first), len(shape))
		}
		for d := range shape {
			if shape[d] == first[d] || d == axis {
				continue
			}
			if axis >= 0 {
				return 0, 0, 0, fmt.Errorf("its axes %d and %d both follow the length", axis, d)
			}
			axis = d
		}
	}
	if axis < 0 {
		return -1, 0, 0, nil
	}
	low, high = 1, math.MaxInt64
	for _, t := range trials {
		// A length n is of size s by the divisors from n/s on, until n/(s-1).
		n, size := t.length, t.shapes[o][axis]
		if size < 1 {
			low = high
			high = 0
			break
		}
		low = max(low, divided(n, size))
		if size > 1 {
			high = min(high, divided(n, size-1)-1)
		}
	}
	if low > high {
		return 0, 0, 0, fmt.Errorf("its axis %d has %s, which is no division by a whole number, rounded up", axis, sizesOf(trials, o, axis))
	}
	return axis, low, high, nil
}

// sizesOf lists an output's sizes along an axis, of few of many lengths.
func sizesOf(trials []seen, o, axis int) string {
	var sizes, lengths []int64
	step := (len(trials) + 11) / 12
	for i := (len(trials) - 1) % step; i < len(trials); i += step {
		sizes, lengths = append(sizes, trials[i].shapes[o][axis]), append(lengths, trials[i].length)
	}
	return fmt.Sprintf("the sizes %v for the lengths %v", sizes, lengths)
}

// divided is n by d, rounded up.
func divided(n, d int64) int64 { return (n + d - 1) / max(d, 1) }
