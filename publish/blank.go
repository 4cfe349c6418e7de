package publish

import (
	"context"
	"errors"

	"github.com/modelserveai/modelserve/problem"
)

// blanks finds the inputs whose rows may hold nothing but what pads them, as the
// token types of a text do that has one part. Of a mask that leaves out everything
// the answer mostly goes by how much that is: a softmax over as little everywhere
// is over all of it. Such rows share batches with those of equal lengths.
func (p *prover) blanks(ctx context.Context, groups [][]int, base int64) error {
	p.blank = 0
	found := uint(0)
	for g, group := range groups {
		for _, i := range group {
			alike, err := p.blankAlike(ctx, g, group, base, 1<<i)
			if err != nil {
				return err
			}
			if alike {
				found |= 1 << i
			}
		}
	}
	for g, group := range groups { // all at once, too
		if alike, err := p.blankAlike(ctx, g, group, base, found); err != nil || !alike {
			return err
		}
	}
	p.blank = found
	return nil
}

// blankAlike reports whether rows whose inputs are blank answer alone as padded,
// in the shortest, the middle and the longest class of lengths.
func (p *prover) blankAlike(ctx context.Context, g int, group []int, base int64, blank uint) (bool, error) {
	classes := p.joined[g]
	for _, k := range []int{0, len(classes) / 2, len(classes) - 1} {
		sizes := classes[k]
		a, b := p.with(base, group, sizes[0]), p.with(base, group, sizes[len(sizes)-1])
		for _, fill := range []filling{{blank: blank}, {blank: blank, wide: true, floats: true}} {
			fits, err := p.pair(ctx, a, b, group, fill)
			if e := (*problem.Error)(nil); errors.As(err, &e) {
				return false, nil
			}
			if err != nil || !fits && !fill.wide {
				return false, err
			}
		}
	}
	return true, nil
}
