package publish

import (
	"context"
	"fmt"
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
	enoughSizes = 8                // of an output's axis, until its rule is accepted
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
	length int64   // that the model runs with, and with twice of it
	most   []int64 // by what was asked: the length up to which padding is proven

	knobs  []knob                     // inputs whose values decide what is made of the others
	way    []int                      // what they are set to
	reach  map[string]map[string]bool // by ragged input: the values that are made of it; nil is unknown
	given  []span                     // by input: the numbers of the publisher's example
	joined [][][]int64                // by group: of each class of lengths the sizes that were run together
	blank  uint                       // bits of what was asked: a row of nothing but what pads is padded alike
	scales map[filling][]*scale       // of the outputs, as far as measured
	moved  [][]bool                   // by group and output: what stands in place of the padding showed in it
}

// seen is a length that the model ran with, and the shapes of its outputs.
type seen struct {
	length int64
	shapes [][]int64
}

// known is what may be known of a model beside its signature.
type known struct {
	served  string         // the optimised copy, whose graph is the one that runs
	example []infer.Tensor // a request of the publisher's own
}

// proveRagged runs rows of different lengths alone, and padded to the longest
// of them together: the answers must be the same once they are cut back. It
// finds which outputs follow which input, and returns the signature with that,
// and a note of up to which length it was proven.
//
// A model that is not made for padding (a mean over all tokens without a mask,
// a convolution that sees beyond the end) is refused, for its rows would get
// other answers depending on who shares their batch.
//
// What is known of the model beside its signature, known may leave out.
func proveRagged(ctx context.Context, model runner, sig infer.Signature, asked []Ragged, known known) (infer.Signature, string, error) {
	if err := checkRagged(&sig, asked); err != nil {
		return sig, "", err
	}
	search, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	p := &prover{model: model, sig: &sig, asked: asked, began: time.Now(), scales: map[filling][]*scale{}}
	if err := p.take(known.example); err != nil {
		return sig, "", err
	}
	var err error
	if p.reach, err = reachOf(known.served, asked); err != nil {
		return sig, "", fmt.Errorf("read the model's graph: %w", err)
	}
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
	p.length = base
	groups, err := p.groups(ctx, base)
	if err != nil {
		return err
	}
	var tried [][]seen
	still := 0
	for _, thorough := range []bool{false, true} {
		tried, p.follow = nil, make([]infer.Ragged, len(p.sig.Outputs))
		for _, group := range groups {
			trials, err := p.outputs(ctx, group, base, thorough)
			if err != nil {
				return err
			}
			tried = append(tried, trials)
		}
		if still, err = p.still(ctx, tried, base); err != nil {
			return err
		}
		if still < 0 {
			return p.padding(ctx, groups, tried, base)
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

// found is the signature with what was proved.
func (p *prover) found() infer.Signature {
	sig := *p.sig
	sig.Inputs, sig.Outputs = slices.Clone(sig.Inputs), slices.Clone(sig.Outputs)
	for i := range sig.Inputs {
		for k, r := range p.asked {
			if r.Input == sig.Inputs[i].Name {
				sig.Inputs[i].Ragged = &infer.Ragged{Axis: r.Axis, Pad: r.Pad, Max: p.most[k], Blank: p.blank>>k&1 == 1}
			}
		}
	}
	for _, k := range p.knobs {
		sig.Inputs[k.input].RaggedWith = k.values
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
