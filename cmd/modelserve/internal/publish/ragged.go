package publish

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Ragged asks that requests of a batch may differ in size along an axis of an
// input: the shorter ones are padded at their end.
type Ragged struct {
	Input string
	Axis  int
	Pad   float64
}

// mostRagged bounds the ragged inputs: which of them share a length is found by
// trying sets of them.
const mostRagged = 6

// prover runs rows of several lengths alone and padded together.
type prover struct {
	model  runner
	sig    *infer.Signature
	asked  []Ragged
	whole  [2]int64       // what integers are, inclusive
	follow []infer.Ragged // by output; Of "" where it has one size
}

// proveRagged runs rows of different lengths alone, and padded to the longest
// of them together: the answers must be the same once they are cut back. It
// finds which outputs follow which input, and returns the signature with that.
//
// A model that is not made for padding (a mean over all tokens without a mask,
// a convolution that sees beyond the end) is refused, for its rows would get
// other answers depending on who shares their batch.
func proveRagged(ctx context.Context, model runner, sig infer.Signature, asked []Ragged) (infer.Signature, error) {
	if err := checkRagged(&sig, asked); err != nil {
		return sig, err
	}
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	p := &prover{model: model, sig: &sig, asked: asked, follow: make([]infer.Ragged, len(sig.Outputs))}
	base, err := p.base(ctx)
	if err != nil {
		return sig, err
	}
	groups, err := p.groups(ctx, base)
	if err != nil {
		return sig, err
	}
	var lengths [][]int64
	for _, group := range groups {
		run, err := p.outputs(ctx, group, base)
		if err != nil {
			return sig, err
		}
		lengths = append(lengths, run)
	}
	if err := p.pairs(ctx, groups, lengths, base); err != nil {
		return sig, err
	}
	return p.found(), nil
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
// It returns the lengths that the model runs with, the longest last.
func (p *prover) outputs(ctx context.Context, group []int, base int64) ([]int64, error) {
	var lengths []int64
	var answers [][]infer.Tensor
	for _, n := range []int64{base, base + 1, base + 3, 2*base - 1, 2 * base, 3 * base} {
		row, err := p.row(p.with(base, group, n), filling{seed: 1})
		if err != nil {
			continue // beyond a bound
		}
		outputs, release, err := p.model.Run(ctx, row, nil)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			continue // one that requests cannot have either
		}
		defer release()
		lengths, answers = append(lengths, n), append(answers, outputs)
	}
	for o := range p.sig.Outputs {
		shapes := make([][]int64, len(answers))
		for i := range answers {
			shapes[i] = answers[i][o].Shape
		}
		axis, divide, err := follows(shapes, lengths)
		if err == nil && axis >= 0 {
			err = p.canFollow(o, axis)
		}
		if err != nil {
			return nil, refuse("--ragged: output %q cannot be cut back to what a shorter %s gives: %w", p.sig.Outputs[o].Name, p.names(group), err)
		}
		if axis >= 0 {
			p.follow[o] = infer.Ragged{Axis: axis, Of: p.asked[group[0]].Input, Divide: divide}
		}
	}
	return lengths, nil
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

// follows finds the axis whose size is the length divided by a whole number and
// rounded up; -1 when no size changes.
func follows(shapes [][]int64, lengths []int64) (axis int, divide int64, err error) {
	axis = -1
	for _, shape := range shapes[1:] {
		if len(shape) != len(shapes[0]) {
			return 0, 0, fmt.Errorf("it has %d axes with one length and %d with another", len(shapes[0]), len(shape))
		}
		for d := range shape {
			if shape[d] == shapes[0][d] || d == axis {
				continue
			}
			if axis >= 0 {
				return 0, 0, fmt.Errorf("its axes %d and %d both follow the length", axis, d)
			}
			axis = d
		}
	}
	if axis < 0 {
		return -1, 0, nil
	}
	fits := func(divide int64) bool {
		for i, n := range lengths {
			if divided(n, divide) != shapes[i][axis] {
				return false
			}
		}
		return true
	}
	last := len(lengths) - 1
	// Where all lengths are multiples of a stride, others may fit them, too.
	if size := shapes[last][axis]; size > 0 && lengths[last]%size == 0 && fits(lengths[last]/size) {
		return axis, lengths[last] / size, nil
	}
	for divide = 1; divide <= lengths[last]; divide++ {
		if fits(divide) {
			return axis, divide, nil
		}
	}
	sizes := make([]int64, len(shapes))
	for i := range shapes {
		sizes[i] = shapes[i][axis]
	}
	return 0, 0, fmt.Errorf("its axis %d has the sizes %v for the lengths %v, which is no division by a whole number, rounded up", axis, sizes, lengths)
}

// divided is n by d, rounded up.
func divided(n, d int64) int64 { return (n + d - 1) / max(d, 1) }

// found is the signature with what was proved.
func (p *prover) found() infer.Signature {
	sig := *p.sig
	sig.Inputs, sig.Outputs = slices.Clone(sig.Inputs), slices.Clone(sig.Outputs)
	for i := range sig.Inputs {
		for _, r := range p.asked {
			if r.Input == sig.Inputs[i].Name {
				sig.Inputs[i].Ragged = &infer.Ragged{Axis: r.Axis, Pad: r.Pad}
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
