package publish

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// mostPairs bounds the lengths of a group that are padded to its longest.
const mostPairs = 10

// slowPairs is how long they may take with usual values for others to have as many.
const slowPairs = 5 * time.Second

// pairs holds that two rows of different lengths answer together as alone.
func (p *prover) pairs(ctx context.Context, groups [][]int, tried [][]seen, base int64) error {
	type pair struct {
		group  []int // nil is all
		a, b   []int64
		always bool // tried with all values, even where runs take long
	}
	var all []pair
	for g, group := range groups {
		longest := tried[g][len(tried[g])-1].length
		for i, n := range lengthsToPair(tried[g]) {
			all = append(all, pair{group, p.with(base, group, n), p.with(base, group, longest), i%4 == 0})
		}
	}
	if len(groups) > 1 { // each row longer in its own
		all = append(all, pair{nil, p.with(base, groups[0], 2*base), p.with(2*base, groups[0], base), true})
	}
	began := time.Now()
	for i, fill := range fillings()[:6] { // classes are tried with the others
		if i == 1 && time.Since(began) > slowPairs {
			all = slices.DeleteFunc(all, func(o pair) bool { return !o.always })
		}
		for _, pair := range all {
			fits, err := p.pair(ctx, pair.a, pair.b, pair.group, fill)
			if err != nil {
				return err
			}
			if !fits {
				break // indices below zero are none
			}
		}
	}
	return nil
}

// lengthsToPair are lengths whose outputs are not those of the longest in shape, spread
// over all; any, where all are.
func lengthsToPair(trials []seen) (lengths []int64) {
	last := trials[len(trials)-1]
	differ := slices.DeleteFunc(slices.Clone(trials), func(t seen) bool {
		return t.length == last.length || slices.EqualFunc(t.shapes, last.shapes, slices.Equal[[]int64])
	})
	if len(differ) == 0 {
		differ = trials[:len(trials)-1]
	}
	for i := range min(mostPairs, len(differ)) {
		lengths = append(lengths, differ[i*len(differ)/min(mostPairs, len(differ))].length)
	}
	return lengths
}

// pair runs two rows alone and padded together. It reports false when they do
// not run alone with other than usual numbers.
func (p *prover) pair(ctx context.Context, a, b []int64, group []int, fill filling) (bool, error) {
	longest := make([]int64, len(a))
	for i := range a {
		longest[i] = max(a[i], b[i])
	}
	var alone [2][]infer.Tensor
	var rows [2][]infer.Tensor
	for i, lengths := range [][]int64{a, b} {
		fill.seed = i + 1
		row, err := p.row(lengths, fill)
		if err != nil {
			return false, err
		}
		outputs, release, err := p.model.Run(ctx, memory.Unbounded{}, row, nil)
		switch {
		case err != nil && ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err != nil && !fill.usual():
			return false, nil
		case err != nil:
			return false, fmt.Errorf("--ragged: run a row alone: %w", err)
		}
		defer release()
		alone[i], rows[i] = outputs, row
	}
	together, release, err := p.model.Run(ctx, memory.Unbounded{}, p.join(rows, longest), nil)
	if err != nil {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		return false, refuse("--ragged: rows of the lengths %v and %v along %s run alone, and not padded together: %w", a, b, p.names(group), trimmed{err})
	}
	defer release()
	for i, lengths := range [][]int64{a, b} {
		for o := range together {
			why, scale, err := p.off(ctx, o, fill, func(s *scale) string { return p.differs(o, i, s, &alone[i][o], &together[o], lengths) })
			if err != nil {
				return false, err
			}
			if why == "" {
				continue
			}
			if stable, err := p.stable(ctx, o, scale, rows[i], &alone[i][o]); err != nil {
				return false, err
			} else if stable || fill.usual() {
				return false, p.refusal(o, group, lengths, longest, why)
			}
		}
	}
	return true, nil
}

func (p *prover) refusal(o int, group []int, lengths, longest []int64, why string) error {
	of := p.names(group)
	var pads []string
	at := 0
	for i, r := range p.asked {
		if group == nil || slices.Contains(group, i) {
			pads = append(pads, fmt.Sprint(r.Pad))
			at = i
		}
	}
	return refuse("--ragged: padding changes the model's answers: of a row of length %d along %s, padded with %s to %d, output %q %s; "+
		"name every input that shares the length, give another pad, or mask what is padded in the model; without --ragged, requests of equal sizes share batches still",
		lengths[at], of, strings.Join(pads, " and "), longest[at], p.sig.Outputs[o].Name, why)
}

// differs compares a row's own answer with what is left of the common one once
// it is cut back; "" is no difference.
func (p *prover) differs(o, row int, scale *scale, alone, together *infer.Tensor, lengths []int64) string {
	got := *together
	if !p.sig.Outputs[o].Unbatched {
		if len(got.Shape) == 0 || got.Shape[batchAxis] != 2 {
			return fmt.Sprintf("has the shape %v for two rows", got.Shape)
		}
		got = oneOfTwo(&got, row)
	}
	return p.differsFrom(o, scale, alone, &got, lengths)
}

// differsFrom compares what rows of one length have of their own with what they
// have padded.
func (p *prover) differsFrom(o int, scale *scale, alone, padded *infer.Tensor, lengths []int64) string {
	got := *padded
	if f := p.follow[o]; f.Of != "" {
		i := slices.IndexFunc(p.asked, func(r Ragged) bool { return r.Input == f.Of })
		got = resized(&got, f.Axis, divided(lengths[i], f.Divide), nil)
	}
	if !slices.Equal(alone.Shape, got.Shape) {
		return fmt.Sprintf("has the shape %v in place of %v", got.Shape, alone.Shape)
	}
	if scale.alike(alone, &got) {
		return ""
	}
	return "is off by " + scale.distance(alone, &got)
}

// halfOf is where the second of two rows begins.
func halfOf(t *infer.Tensor) int {
	if t.DataType != infer.Bytes {
		return len(t.Data) / 2
	}
	elements, err := infer.Strings(t)
	if err != nil {
		return 0 // cut short, so no row's own
	}
	half := 0
	for _, e := range elements[:len(elements)/2] {
		half += 4 + len(e)
	}
	return half
}

// runs reports why the model does not run with a row of the lengths.
func (p *prover) runs(ctx context.Context, lengths []int64) error {
	return p.runsWith(ctx, lengths, filling{seed: 1})
}

func (p *prover) runsWith(ctx context.Context, lengths []int64, fill filling) error {
	row, err := p.row(lengths, fill)
	if err != nil {
		return err
	}
	_, release, err := p.model.Run(ctx, memory.Unbounded{}, row, nil)
	if err != nil {
		return err
	}
	release()
	return nil
}

// shapes are those of the outputs of a row of the lengths, whose other open axes
// are so many times as long as usual.
func (p *prover) shapes(ctx context.Context, lengths []int64, times int64) (shapes [][]int64, err error) {
	row, err := p.many(lengths, filling{seed: 1}, times, 1)
	if err != nil {
		return nil, err
	}
	outputs, release, err := p.model.Run(ctx, memory.Unbounded{}, row, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	for i := range outputs {
		shapes = append(shapes, slices.Clone(outputs[i].Shape))
	}
	return shapes, nil
}

// row makes one row whose ragged inputs have the lengths. Unbatched inputs are
// the same in all rows.
func (p *prover) row(lengths []int64, fill filling) ([]infer.Tensor, error) {
	return p.many(lengths, fill, 1, 1)
}

// many are rows, as many as asked, whose other open axes are so many times as long.
func (p *prover) many(lengths []int64, fill filling, times int64, rows int) ([]infer.Tensor, error) {
	var row []infer.Tensor
	for i := range p.sig.Inputs {
		spec := &p.sig.Inputs[i]
		if spec.Optional {
			continue
		}
		shape := rowsOf(p.sig, spec, rows)
		for d := range shape {
			if d < len(spec.Shape) && spec.Shape[d] == infer.Dynamic && (spec.Unbatched || d != *p.sig.BatchAxis) {
				shape[d] *= times
			}
		}
		for i, r := range p.asked {
			if r.Input == spec.Name {
				shape[r.Axis] = lengths[i]
			}
		}
		if why := outside(p.sig, spec, shape); why != "" {
			return nil, fmt.Errorf("input %q of shape %v: %s", spec.Name, shape, why)
		}
		t, known := p.fixed(spec, shape)
		if !known {
			var err error
			if t, err = generate(spec, shape, 1); err != nil {
				return nil, err
			}
		}
		if !spec.Unbatched {
			p.fill(&t, i, fill)
		}
		row = append(row, t)
	}
	return row, nil
}

// outside is why requests cannot have an input of the shape.
func outside(sig *infer.Signature, spec *infer.TensorSpec, shape []int64) string {
	t := infer.Tensor{Shape: shape}
	if sig.MaxElements > 0 && t.Elements() > sig.MaxElements {
		return fmt.Sprintf("more than %d elements", sig.MaxElements)
	}
	for d, n := range shape {
		if spec.MinShape != nil && spec.MinShape[d] != infer.Dynamic && n < spec.MinShape[d] ||
			spec.MaxShape != nil && spec.MaxShape[d] != infer.Dynamic && n > spec.MaxShape[d] {
			return fmt.Sprintf("axis %d is beyond its bounds", d)
		}
	}
	return ""
}

// padded are rows that are longer.
func (p *prover) padded(rows []infer.Tensor, lengths []int64) []infer.Tensor {
	longer := slices.Clone(rows)
	for i := range longer {
		for j, r := range p.asked {
			if r.Input == longer[i].Name {
				pad, _ := infer.AppendNumber(nil, longer[i].DataType, r.Pad) // as was checked
				longer[i] = resized(&longer[i], r.Axis, lengths[j], pad)
			}
		}
	}
	return longer
}

// join pads two rows to the lengths and puts them behind each other.
func (p *prover) join(rows [2][]infer.Tensor, lengths []int64) []infer.Tensor {
	joined := slices.Clone(rows[0])
	for i := range joined {
		spec := specOf(p.sig, joined[i].Name)
		if spec.Unbatched {
			continue
		}
		a, b := rows[0][i], rows[1][i]
		for j, r := range p.asked {
			if r.Input == spec.Name {
				pad, _ := infer.AppendNumber(nil, spec.DataType, r.Pad) // as was checked
				a, b = resized(&a, r.Axis, lengths[j], pad), resized(&b, r.Axis, lengths[j], pad)
			}
		}
		joined[i].Shape = slices.Clone(a.Shape)
		joined[i].Shape[batchAxis] = 2
		joined[i].Data = slices.Concat(a.Data, b.Data)
	}
	return joined
}

// resized is a tensor cut or padded along an axis.
func resized(t *infer.Tensor, axis int, size int64, pad []byte) infer.Tensor {
	out := *t
	out.Shape = slices.Clone(t.Shape)
	out.Shape[axis] = size
	inner := t.DataType.Size()
	for _, n := range t.Shape[axis+1:] {
		inner *= int(n)
	}
	have, want := int(t.Shape[axis])*inner, int(size)*inner
	if have == want || have == 0 {
		return out
	}
	out.Data = make([]byte, 0, len(t.Data)/have*want)
	for block := range slices.Chunk(t.Data, have) {
		out.Data = append(out.Data, block[:min(have, want)]...)
		if missing := want - have; missing > 0 {
			out.Data = append(out.Data, bytes.Repeat(pad, missing/len(pad))...)
		}
	}
	return out
}
