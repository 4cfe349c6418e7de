package publish

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Ragged asks that requests of a batch may differ in size along an axis of an
// input: the shorter ones are padded at their end.
type Ragged struct {
	Input string
	Axis  int
	Pad   float64
}

// Bounds on the proof.
const (
	mostRagged  = 6                // inputs: which of them share a length is found by trying sets of them
	enoughSizes = 8                // of an output's axis, until its rule is believed
	mostLength  = 1 << 20          // elements along an axis
	growTime    = 40 * time.Second // for ever longer rows
)

// prover runs rows of several lengths alone and padded together.
type prover struct {
	model  runner
	sig    *infer.Signature
	asked  []Ragged
	whole  [2]int64       // what integers are, inclusive
	high   []float64      // by input: the largest number that it was seen to take
	follow []infer.Ragged // by output; Of "" where it has one size
	began  time.Time
	usual  []float64 // by output: the largest number of a usual row's
	most   []int64   // by what was asked: the length up to which padding is proven
}

// seen is a length that the model ran with, and the shapes of its outputs.
type seen struct {
	length int64
	shapes [][]int64
}

// proveRagged runs rows of different lengths alone, and padded to the longest
// of them together: the answers must be the same once they are cut back. It
// finds which outputs follow which input, and returns the signature with that,
// and a note of up to which length it was proven.
//
// A model that is not made for padding (a mean over all tokens without a mask,
// a convolution that sees beyond the end) is refused, for its rows would get
// other answers depending on who shares their batch.
func proveRagged(ctx context.Context, model runner, sig infer.Signature, asked []Ragged) (infer.Signature, string, error) {
	if err := checkRagged(&sig, asked); err != nil {
		return sig, "", err
	}
	search, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	p := &prover{model: model, sig: &sig, asked: asked, began: time.Now()}
	if err := p.prove(search); err != nil {
		if ctx.Err() == nil && search.Err() != nil {
			return sig, "", refuse("--ragged: %s were not enough to prove that padding changes nothing; bound the length (--max-shape), or publish without --ragged", searchTime)
		}
		return sig, "", err
	}
	return p.found(), p.note(), nil
}

func (p *prover) prove(ctx context.Context) error {
	base, err := p.base(ctx)
	if err != nil {
		return err
	}
	p.widen(ctx, base)
	if err := p.measureUsual(ctx, base); err != nil {
		return err
	}
	groups, err := p.groups(ctx, base)
	if err != nil {
		return err
	}
	var tried [][]seen
	still := 0
	for _, patient := range []bool{false, true} {
		tried, p.follow = nil, make([]infer.Ragged, len(p.sig.Outputs))
		for _, group := range groups {
			trials, err := p.outputs(ctx, group, base, patient)
			if err != nil {
				return err
			}
			tried = append(tried, trials)
		}
		if still, err = p.still(ctx, tried, base); err != nil {
			return err
		}
		if still < 0 {
			if err := p.pairs(ctx, groups, tried, base); err != nil {
				return err
			}
			return p.lengths(ctx, groups, tried, base)
		}
	}
	trials := tried[0]
	return refuse("--ragged: output %q has an open axis (its shape is %v), and came out as %v for all %d lengths that were tried from %d to %d along %s: "+
		"how long it is for others could not be seen; export it with the axis fixed, or publish without --ragged",
		p.sig.Outputs[still].Name, p.sig.Outputs[still].Shape, trials[0].shapes[still], len(trials), trials[0].length, trials[len(trials)-1].length, p.names(groups[0]))
}

// checkRagged holds what is asked to the signature.
func checkRagged(sig *infer.Signature, asked []Ragged) error {
	if len(asked) > mostRagged {
		return refuse("--ragged: %d inputs, at most %d", len(asked), mostRagged)
	}
	for i, r := range asked {
		at := slices.IndexFunc(sig.Inputs, func(s infer.TensorSpec) bool { return s.Name == r.Input })
		if at < 0 {
			return refuse("--ragged: the model has no input %q; it has %s", r.Input, inputNames(sig))
		}
		spec := &sig.Inputs[at]
		_, fits := infer.AppendNumber(nil, spec.DataType, r.Pad)
		switch {
		case slices.ContainsFunc(asked[:i], func(o Ragged) bool { return o.Input == r.Input }):
			return refuse("--ragged: input %q is named twice; one axis of each may be ragged", r.Input)
		case spec.Optional:
			return refuse("--ragged: input %q is optional; only those that every request has can be padded", r.Input)
		case spec.Unbatched:
			return refuse("--ragged: input %q has no batch axis, so all requests of a batch share it", r.Input)
		case spec.DataType == infer.Bytes:
			return refuse("--ragged: input %q is BYTES, which nothing pads", r.Input)
		case r.Axis < 0 || r.Axis >= len(spec.Shape):
			return refuse("--ragged: input %q has no axis %d: its shape is %v", r.Input, r.Axis, spec.Shape)
		case r.Axis == *sig.BatchAxis:
			return refuse("--ragged: axis %d is the batch axis of input %q; name another", r.Axis, r.Input)
		case spec.Shape[r.Axis] != infer.Dynamic:
			return refuse("--ragged: axis %d of input %q is always %d", r.Axis, r.Input, spec.Shape[r.Axis])
		case !fits:
			return refuse("--ragged: %v is no %s, so it cannot pad input %q", r.Pad, spec.DataType, r.Input)
		}
	}
	return nil
}

// base is a length that the model runs with, and with twice of it, in all
// ragged inputs at once. It is never one, which broadcasts.
func (p *prover) base(ctx context.Context) (int64, error) {
	var candidates []int64
	for _, r := range p.asked {
		shape := rowsOf(p.sig, specOf(p.sig, r.Input), 1)
		if shape[r.Axis] >= 4 {
			candidates = append(candidates, shape[r.Axis])
		}
	}
	candidates = append(candidates, sizes()[1:]...)
	var last error
	for _, c := range candidates {
		for _, p.whole = range [][2]int64{{1, 3}, {0, 1}} {
			last = p.runs(ctx, p.all(c))
			if last == nil {
				last = p.runs(ctx, p.all(2*c))
			}
			if last == nil {
				return c, nil
			}
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
		}
	}
	return 0, refuse("--ragged: the model does not run with %s at one length and at twice of it, with numbers other than zero; does another input share the length? %w", p.names(nil), trimmed{last})
}

// all is every ragged input at one length.
func (p *prover) all(length int64) []int64 { return slices.Repeat([]int64{length}, len(p.asked)) }

// with is base with some inputs at another length.
func (p *prover) with(base int64, group []int, length int64) []int64 {
	lengths := p.all(base)
	for _, i := range group {
		lengths[i] = length
	}
	return lengths
}

// groups finds which inputs share a length, as token ids and their mask do: the
// smallest sets that run when they alone are longer than the others.
func (p *prover) groups(ctx context.Context, base int64) ([][]int, error) {
	var groups [][]int
	left := make([]int, len(p.asked))
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		group, err := p.smallest(ctx, left, base)
		if err != nil {
			return nil, err
		}
		groups = append(groups, group)
		left = slices.DeleteFunc(left, func(i int) bool { return slices.Contains(group, i) })
	}
	return groups, nil
}

// smallest is the smallest set with the first of left that runs.
func (p *prover) smallest(ctx context.Context, left []int, base int64) ([]int, error) {
	rest := left[1:]
	masks := make([]uint, 1<<len(rest))
	for i := range masks {
		masks[i] = uint(i)
	}
	slices.SortStableFunc(masks, func(a, b uint) int { return bits.OnesCount(a) - bits.OnesCount(b) })
	var last error
	for _, mask := range masks {
		group := []int{left[0]}
		for i, input := range rest {
			if mask>>i&1 == 1 {
				group = append(group, input)
			}
		}
		if last = p.runs(ctx, p.with(base, group, 2*base)); last == nil {
			return group, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, refuse("--ragged: input %q runs at %d and at %d along axis %d only together with inputs that do without it: %w",
		p.asked[left[0]].Input, base, 2*base, p.asked[left[0]].Axis, trimmed{last})
}

// outputs finds which outputs follow the group's length, and by which divisor.
// Lengths go on growing until each has shown enough sizes, for a rule that is
// read off few holds for few; patient, also those that have shown one yet. It
// returns what ran, the longest last.
func (p *prover) outputs(ctx context.Context, group []int, base int64, patient bool) ([]seen, error) {
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
		if only && p.shown(trials, patient) {
			break
		}
	}
	return trials, p.settle(group, trials)
}

// shown reports whether each output with an open axis has taken enough sizes, or,
// not to be patient, one.
func (p *prover) shown(trials []seen, patient bool) bool {
	for o := range p.sig.Outputs {
		shapes := map[string]bool{}
		for _, t := range trials {
			shapes[fmt.Sprint(t.shapes[o])] = true
		}
		if p.open(o) && p.follow[o].Of == "" && len(shapes) < enoughSizes && (patient || len(shapes) > 1) {
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

// rules looks at what ran for lengths that are to be tried yet: those that tell
// the divisors apart that fit, and those about multiples of the only one. only
// says that no output has several. One that follows by none is an error.
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

// settle keeps the rules of the outputs that follow the group.
func (p *prover) settle(group []int, trials []seen) error {
	for o := range p.sig.Outputs {
		axis, low, high, err := followed(trials, o)
		if err == nil && axis >= 0 {
			err = p.canFollow(o, axis)
		}
		if err == nil && low < high {
			err = fmt.Errorf("its axis %d has %s: the length by %d, by %d and what is between would all give that, and the model runs with no length that tells them apart",
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
// there is no telling what it does beyond them; -1 is none. It may be an axis of
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

// found is the signature with what was proved.
func (p *prover) found() infer.Signature {
	sig := *p.sig
	sig.Inputs, sig.Outputs = slices.Clone(sig.Inputs), slices.Clone(sig.Outputs)
	for i := range sig.Inputs {
		for k, r := range p.asked {
			if r.Input == sig.Inputs[i].Name {
				sig.Inputs[i].Ragged = &infer.Ragged{Axis: r.Axis, Pad: r.Pad, Max: p.most[k]}
			}
		}
	}
	for o := range sig.Outputs {
		if p.follow[o].Of != "" {
			followed := p.follow[o]
			sig.Outputs[o].Ragged = &followed
		}
	}
	return sig
}

// names lists ragged inputs and their axes; nil are all.
func (p *prover) names(group []int) string {
	var parts []string
	for i, r := range p.asked {
		if group == nil || slices.Contains(group, i) {
			parts = append(parts, fmt.Sprintf("axis %d of input %q", r.Axis, r.Input))
		}
	}
	return strings.Join(parts, " and ")
}
