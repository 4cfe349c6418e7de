package publish

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/runtime/batch"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// Bounds on the values of knobs that padding is proven with.
const (
	mostWays  = 8                               // of all knobs to be set
	mostTexts = 4                               // of a row's strings
	mostKnob  = model.MaxRaggedBytes / mostWays // of one value
)

// knob is an input whose values may choose what the model does with the others: one
// without rows (a flag, a mode), or text. What was proven with some of its values
// shows nothing of others.
type knob struct {
	input  int      // its place in the signature
	values [][]byte // of the whole input or, where it has rows, of one; the first that the model ran with
}

// span is what numbers an input had in the publisher's example.
type span struct {
	low, high float64
	seen      bool // there was an example
}

// between is a number of the span.
func (s span) between(d infer.DataType, i, seed int) float64 {
	u := weyl(i + 7919*seed)
	if tolerance(d) > 0 {
		return s.low + u*(s.high-s.low)
	}
	return s.low + math.Floor(u*(s.high-s.low+1))
}

// take reads the knobs, and the spans of the example.
func (p *prover) take(example []infer.Tensor) error {
	p.given = make([]span, len(p.sig.Inputs))
	for i := range p.sig.Inputs {
		spec := &p.sig.Inputs[i]
		t := named(example, spec.Name)
		switch {
		case spec.Optional:
		case spec.Unbatched || spec.DataType == infer.Bytes:
			values, err := p.valuesOf(spec, t)
			if err != nil {
				return err
			}
			if len(values[0]) > mostKnob {
				return refuse("--ragged: input %q, which decides what is made of the others, has %d bytes, and values of at most %d are proven; publish without --ragged",
					spec.Name, len(values[0]), mostKnob)
			}
			p.knobs = append(p.knobs, knob{i, values})
		case t != nil:
			p.given[i] = spanOf(t)
		}
	}
	p.way = make([]int, len(p.knobs))
	return nil
}

// valuesOf are the values of a knob that padding is proven with: those of the
// example, or made-up ones; and of one number 1 and 0, the usual yes and no.
func (p *prover) valuesOf(spec *infer.TensorSpec, example *infer.Tensor) (values [][]byte, err error) {
	var t infer.Tensor
	switch {
	case example != nil:
		t = *example
	case spec.ExampleData != nil:
		t = infer.Tensor{DataType: spec.DataType, Shape: spec.ExampleShape(), Data: spec.ExampleData}
	default:
		if t, err = generate(spec, rowsOf(p.sig, spec, 1), 1); err != nil {
			return nil, err
		}
	}
	add := func(value []byte) {
		if !slices.ContainsFunc(values, func(v []byte) bool { return bytes.Equal(v, value) }) {
			values = append(values, value)
		}
	}
	if !spec.Unbatched {
		for row := range int(t.Shape[batchAxis]) {
			if len(values) < mostTexts {
				add(batch.Row(&t, row))
			}
		}
		if len(values) == 0 {
			return nil, refuse("--ragged: --example: input %q has no row", spec.Name)
		}
		return values, nil
	}
	add(t.Data)
	if t.Elements() == 1 && spec.DataType != infer.Bytes {
		for _, v := range []float64{1, 0} {
			value, _ := infer.AppendNumber(nil, spec.DataType, v) // every type has it
			add(value)
		}
	}
	return values, nil
}

// spanOf is of what numbers a tensor holds.
func spanOf(t *infer.Tensor) span {
	s := span{low: math.Inf(1), high: math.Inf(-1)}
	for _, v := range floats(t) {
		if v >= -math.MaxFloat32 && v <= math.MaxFloat32 {
			s.low, s.high, s.seen = min(s.low, v), max(s.high, v), true
		}
	}
	return s
}

// knob is one of the spec's input; nil where it is none.
func (p *prover) knob(spec *infer.TensorSpec) (k *knob, at int) {
	for i := range p.knobs {
		if &p.sig.Inputs[p.knobs[i].input] == spec {
			return &p.knobs[i], p.way[i]
		}
	}
	return nil, 0
}

// fixed is the tensor of a knob as it is set, where the shape is that which its
// values are of.
func (p *prover) fixed(spec *infer.TensorSpec, shape []int64) (t infer.Tensor, known bool) {
	k, at := p.knob(spec)
	if k == nil {
		return t, false
	}
	data, usual := k.values[at], rowsOf(p.sig, spec, 1)
	if !spec.Unbatched {
		usual = rowsOf(p.sig, spec, int(shape[batchAxis]))
		data = bytes.Repeat(data, int(shape[batchAxis]))
	}
	return infer.Tensor{Name: spec.Name, DataType: spec.DataType, Shape: shape, Data: data}, slices.Equal(usual, shape)
}

// ways are all that the knobs may be set to, by the places of their values; the
// first is the one that the model was seen to run with. Too many are none but it.
func (p *prover) ways() [][]int {
	ways := [][]int{nil}
	for _, k := range p.knobs {
		var longer [][]int
		for _, way := range ways {
			for v := range k.values {
				longer = append(longer, append(slices.Clone(way), v))
			}
		}
		ways = longer
		if len(ways) > mostWays {
			return [][]int{make([]int, len(p.knobs))}
		}
	}
	return ways
}

// padding proves it with the knobs set in all ways, or else in the first alone.
func (p *prover) padding(ctx context.Context, groups [][]int, tried [][]seen, base int64) error {
	ways := p.ways()
	var most []int64
	var blank uint
	for w, way := range ways {
		p.way = way
		clear(p.scales)
		err := p.proveWay(ctx, groups, tried, base, float64(w)/float64(len(ways)), float64(w+1)/float64(len(ways)))
		switch {
		case w == 0 && err != nil:
			return err
		case w == 0:
			most, blank = slices.Clone(p.most), p.blank
		case err != nil:
			p.most, p.blank = most, blank
			p.firstAlone()
			return nil //nolint:nilerr // padding is not proven with these values, so they are not kept
		}
		blank &= p.blank
		p.blank = blank
		for i, n := range p.most {
			p.most[i] = min(n, most[i])
		}
		most = slices.Clone(p.most)
	}
	if len(ways) == 1 {
		p.firstAlone()
	}
	return nil
}

// firstAlone leaves the knobs the values that the model was seen to run with.
func (p *prover) firstAlone() {
	for i := range p.knobs {
		p.knobs[i].values = p.knobs[i].values[:1]
	}
}

// proveWay proves padding with the knobs as they are set, between two parts of
// the time that there is.
func (p *prover) proveWay(ctx context.Context, groups [][]int, tried [][]seen, base int64, from, to float64) error {
	if err := p.runs(ctx, p.all(base)); err != nil {
		return err
	}
	if err := p.pairs(ctx, groups, tried, base); err != nil {
		return err
	}
	if err := p.lengths(ctx, groups, tried, base, from, to); err != nil {
		return err
	}
	if err := p.checkControls(groups); err != nil {
		return err
	}
	return p.blanks(ctx, groups, base)
}

// knobNote lists the values of the knobs that padding was proven with.
func (p *prover) knobNote() string {
	var parts []string
	for _, k := range p.knobs {
		spec := &p.sig.Inputs[k.input]
		var values []string
		for _, v := range k.values {
			values = append(values, valueText(spec.DataType, v))
		}
		parts = append(parts, fmt.Sprintf("input %q as %s", spec.Name, strings.Join(values, " or ")))
	}
	if parts == nil {
		return ""
	}
	return ", with " + strings.Join(parts, " and ")
}

// valueText is a knob's value for a reader.
func valueText(d infer.DataType, data []byte) string {
	t := infer.Tensor{DataType: d, Data: data}
	if d != infer.Bytes {
		if n := len(data) / d.Size(); n > 8 {
			return fmt.Sprintf("the %d numbers that were tried", n)
		}
		return fmt.Sprint(floats(&t))
	}
	texts, err := infer.Strings(&t)
	if err != nil || len(data) > 200 {
		return "the text that was tried"
	}
	return fmt.Sprintf("%q", texts)
}
