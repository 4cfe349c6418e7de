package publish

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Bounds on the lengths and ids that padding is tried with.
const (
	usualLength = 1024               // up to which padding is proven where no bound is set; text models take 512
	classTime   = searchTime * 5 / 6 // since the beginning, until no longer class is begun
	fastClass   = 2 * time.Second    // that a class may take with values of all kinds
	manyPairs   = 2 * 4 * 14         // such a class has, each of up to twice the length
	fewPairs    = 2                  // any other has
	mostIDs     = 4096               // each of which makes a row of its own
	rowsOfIDs   = 64                 // that run together
	idTime      = 5 * time.Second
)

// lengths holds padding to each class of lengths that a server joins, and keeps
// up to which length it did. Whatever differs there refuses the model.
//
// It takes what is between two parts of the time that there is.
func (p *prover) lengths(ctx context.Context, groups [][]int, tried [][]seen, base int64, from, to float64) error {
	p.most, p.moved, p.joined = make([]int64, len(p.asked)), make([][]bool, len(groups)), make([][][]int64, len(groups))
	for g, group := range groups {
		p.moved[g] = make([]bool, len(p.sig.Outputs))
		part := from + (to-from)*float64(g+1)/float64(len(groups))
		until := p.began.Add(time.Duration(part * float64(classTime)))
		limit := p.limit(group, tried[g][len(tried[g])-1].length)
		proven, err := p.climb(ctx, g, group, base, limit, until)
		if err != nil {
			return err
		}
		if proven == 0 {
			return refuse("--ragged: the model runs with no two lengths along %s that would share a batch: those are from 5 on, and differ by at most a third; publish without --ragged", p.names(group))
		}
		for _, i := range group {
			p.most[i] = proven
		}
	}
	return nil
}

// climb proves class after class, the short ones first, up to the limit or as far
// as the time reaches. It returns the length that it reached; 0 is none. The first
// class is tried with all kinds of values and many ids, others while that is quick.
func (p *prover) climb(ctx context.Context, g int, group []int, base, limit int64, until time.Time) (proven int64, err error) {
	step := p.step(ctx, group, base)
	var took time.Duration // of a pair
	for top := int64(6); previousClass(top) < limit; top = nextClass(top) {
		if proven > 0 && time.Now().Add(2*fewPairs*took).After(until) {
			break // the next takes twice as long
		}
		thorough := proven == 0 || manyPairs*took < fastClass
		sizes, err := p.running(ctx, group, base, previousClass(top)+1, min(top, limit), step, thorough)
		began, pairs := time.Now(), 1
		if err == nil && len(sizes) > 1 {
			pairs, err = p.mixed(ctx, group, base, sizes, thorough)
		}
		spent := time.Since(began)
		if err == nil && len(sizes) > 1 && proven == 0 {
			if err = p.ids(ctx, group, base, sizes); err == nil {
				err = p.control(ctx, g, group, base)
			}
		}
		switch {
		case err != nil && proven > 0 && ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded):
			return proven, nil // this class took longer than there was
		case err != nil:
			return 0, err
		case len(sizes) > 1:
			p.joined[g] = append(p.joined[g], sizes)
			proven, took = sizes[len(sizes)-1], spent/time.Duration(max(pairs, 1))
		}
	}
	return proven, nil
}

// limit is the length up to which padding is to be proven.
func (p *prover) limit(group []int, longest int64) int64 {
	limit, bound := max(usualLength, longest), int64(math.MaxInt64)
	for _, i := range group {
		spec := specOf(p.sig, p.asked[i].Input)
		shape := rowsOf(p.sig, spec, 1)
		others := int64(1)
		for d, n := range shape {
			if d != p.asked[i].Axis {
				others *= max(n, 1)
			}
		}
		if p.sig.MaxElements > 0 {
			limit = min(limit, p.sig.MaxElements/others)
		}
		limit = min(limit, maxElements/others)
		if spec.MaxShape != nil && spec.MaxShape[p.asked[i].Axis] > 0 {
			bound = min(bound, spec.MaxShape[p.asked[i].Axis])
			limit = max(limit, min(bound, mostLength, maxElements/others))
		}
	}
	return min(limit, bound)
}

// step is how far lengths that the model runs with are apart, by halves of base.
func (p *prover) step(ctx context.Context, group []int, base int64) int64 {
	for step := int64(1); step < base; step *= 2 {
		if base%step == 0 && p.runs(ctx, p.with(base, group, base+step)) == nil {
			return step
		}
	}
	return base
}

// running are those lengths of a class that the model runs with: the shortest and
// the longest or, to be thorough, two of each and one in the middle, rising.
func (p *prover) running(ctx context.Context, group []int, base, low, top, step int64, thorough bool) (sizes []int64, err error) {
	at := base % step
	first := low + ((at-low)%step+step)%step
	last := top - ((top-at)%step+step)%step
	tries := []int64{first, last}
	if thorough {
		tries = []int64{first, first + step, first + (last-first)/2/step*step, last - step, last}
	}
	run := func(n int64) bool {
		return n >= low && n <= top && p.runs(ctx, p.with(base, group, n)) == nil
	}
	slices.Sort(tries)
	for _, n := range slices.Compact(tries) {
		if run(n) {
			sizes = append(sizes, n)
		}
	}
	if middle := first + (last-first)/2/step*step; !thorough && len(sizes) == 1 && middle > first && run(middle) {
		sizes = append(sizes, middle) // the model ends within the class
	}
	slices.Sort(sizes)
	return sizes, context.Cause(ctx)
}

// mixed runs rows of the sizes together, each beside longer and shorter ones,
// with values of all kinds or, not to take long, those most likely to differ. The longest
// is among them. It returns how many pairs it ran.
func (p *prover) mixed(ctx context.Context, group []int, base int64, sizes []int64, thorough bool) (pairs int, err error) {
	longest := p.with(base, group, sizes[len(sizes)-1])
	fills := []filling{{}, {wide: true, floats: true}}
	if thorough {
		fills = fillings()
	}
	for i, fill := range fills {
		for k, n := range sizes[:len(sizes)-1] {
			a, b := p.with(base, group, n), longest
			if (i+k)%2 == 1 { // the shorter stands in either place
				a, b = b, a
			}
			fits, err := p.pair(ctx, a, b, group, fill)
			if err != nil {
				return pairs, err
			}
			if !fits {
				break
			}
			pairs++
		}
	}
	return pairs, nil
}

// ids runs rows of one value each, alike in all of their length: of many of the
// ids that the model takes, and of floats below and above zero. What a maximum
// over the row is then, no other of its tokens raises above the padding.
func (p *prover) ids(ctx context.Context, group []int, base int64, sizes []int64) error {
	deadline := time.Now().Add(idTime)
	for _, whole := range []bool{false, true} { // floats may be ids, too
		rows, all := rowsOfIDs, p.highest(group, whole)
		if all == 0 {
			continue
		}
		for from := 0; from < mostIDs && time.Now().Before(deadline); from += rows {
			fill := filling{seed: 1, wide: true, from: from, each: true, whole: whole}
			fits, err := p.block(ctx, group, base, sizes, rows, fill)
			if err != nil {
				return err
			}
			if !fits {
				if rows /= 8; rows == 0 {
					break
				}
				from = -rows
				continue
			}
			if from+rows >= all {
				break
			}
		}
	}
	return nil
}

// highest is how many rows of one value there are to try: as many as the ids that
// the inputs of the group take, or as floats that are none so many as show a difference. With
// whole it is 0 where no floats may be ids.
func (p *prover) highest(group []int, whole bool) int {
	rows := 0
	for _, i := range group {
		k := slices.IndexFunc(p.sig.Inputs, func(s infer.TensorSpec) bool { return s.Name == p.asked[i].Input })
		spec := &p.sig.Inputs[k]
		float := tolerance(spec.DataType) > 0
		switch {
		case p.isMask(spec.Name):
		case float && !whole:
			rows = max(rows, mostIDs/8)
		case float == whole && (!float || p.high[k] < mostHigh):
			rows = max(rows, int(p.high[k])+1)
		}
	}
	return rows
}

// block runs rows of the shortest size together as they are, and padded to the
// longest. It reports false when the model does not run with them.
func (p *prover) block(ctx context.Context, group []int, base int64, sizes []int64, rows int, fill filling) (bool, error) {
	lengths, longest := p.with(base, group, sizes[0]), p.with(base, group, sizes[len(sizes)-1])
	row, err := p.many(lengths, fill, 1, rows)
	if err != nil {
		return false, nil // beyond the bounds on a request
	}
	alone, release, err := p.model.Run(ctx, memory.Unbounded{}, row, nil)
	if err != nil {
		return false, context.Cause(ctx)
	}
	defer release()
	together, release, err := p.model.Run(ctx, memory.Unbounded{}, p.padded(row, longest), nil)
	if err != nil {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		return false, refuse("--ragged: rows of the lengths %v along %s run, and not padded to %v: %w", lengths, p.names(group), longest, trimmed{err})
	}
	defer release()
	for o := range together {
		why, scale, err := p.off(ctx, o, fill, func(s *scale) string { return p.differsFrom(o, s, &alone[o], &together[o], lengths) })
		if err != nil {
			return false, err
		}
		if why == "" {
			continue
		}
		if stable, err := p.stable(ctx, o, scale, row, &alone[o]); err != nil || !stable {
			return true, err
		}
		return false, p.refusal(o, group, lengths, longest, why)
	}
	return true, nil
}

// note is up to which lengths padding was tried. Trials refute and do not prove:
// a model may answer otherwise at an id or a value that was not tried.
func (p *prover) note() string {
	text := ""
	for i, r := range p.asked {
		if text != "" {
			text += ", and "
		}
		text += fmt.Sprintf("axis %d of input %q up to %d", r.Axis, r.Input, p.most[i])
	}
	return "padding was tried along " + text + p.knobNote() + ", and changed no answer; that it changes no other answer is not proven: --ragged asserts it. " +
		"Requests beyond what was tried share batches only with those of equal sizes"
}

// The classes of lengths are those of runtime/batch: 1, 2, 3, 4, 6, 8, 12, 16, …

// nextClass is the largest length of the class behind that which ends at top.
func nextClass(top int64) int64 {
	power := int64(1) << (bits.Len64(uint64(top)) - 1)
	if top == power {
		return power + power/2
	}
	return 2 * power
}

// previousClass is the largest length of the class before, from 4 on.
func previousClass(top int64) int64 {
	power := int64(1) << (bits.Len64(uint64(top)) - 1)
	if top == power {
		return power/2 + power/4
	}
	return power
}
