package publish

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// filling is what a row holds. Masks mark all of it as there.
type filling struct {
	seed     int
	given    bool // numbers between the smallest and the largest of the publisher's example
	wide     bool // all that the inputs were seen to take
	floats   bool // negative ones: a maximum does not see zeros below it
	integers bool // negative ones

	times float64 // that floats are larger than usual; 0 is 1
	zeros bool    // nothing else
	pads  bool    // what pads is in every third place, and in the last
	masks bool    // in masks, too
	blank uint    // bits of what was asked: nothing but what pads

	each  bool // each row holds one value, another for each
	from  int  // the number of the first such row
	whole bool // whose floats are ids
}

// fillings are of all kinds, usual ones first.
func fillings() []filling {
	return []filling{
		{},
		{given: true},
		{wide: true},
		{floats: true},
		{wide: true, floats: true},
		{integers: true},
		{times: 100},
		{times: 100, floats: true},
		{zeros: true},
		{pads: true},
		{pads: true, masks: true},
		{pads: true, wide: true, floats: true},
		{each: true, wide: true},
		{each: true, wide: true, from: 2}, // in the other order
	}
}

// usual reports whether a model that runs must run with it.
func (f *filling) usual() bool { return *f == filling{seed: f.seed} }

// mostHigh is the largest number that is tried of an input's.
const mostHigh = 100_000

// widen finds the largest numbers that the model runs with, input by input, of
// the tables that may be behind them, from two entries on. Integers that are no
// tokens may be lengths, and are not made longer than what is there.
func (p *prover) widen(ctx context.Context, base int64) {
	p.high = make([]float64, len(p.sig.Inputs))
	for i := range p.sig.Inputs {
		spec := &p.sig.Inputs[i]
		if spec.Optional || spec.Unbatched || spec.DataType == infer.Bytes || spec.DataType == infer.Bool || p.isMask(spec.Name) {
			continue
		}
		bound := math.Inf(1)
		if !slices.ContainsFunc(p.asked, func(r Ragged) bool { return r.Input == spec.Name }) && tolerance(spec.DataType) == 0 {
			bound = float64(base)
		}
		for _, high := range []float64{2, 3, 7, 15, 31, 63, 127, 255, 1000, 5000, 30_000, mostHigh} {
			_, fits := infer.AppendNumber(nil, spec.DataType, high)
			known := p.high[i]
			if p.high[i] = high; !fits || high > bound || p.runsWith(ctx, p.all(base), filling{seed: 1, wide: true}) != nil {
				p.high[i] = known
				if fits && high <= bound {
					p.bisect(ctx, i, high, base)
				}
				break
			}
		}
	}
}

// bisect finds the largest number that an input takes between the one that it
// was seen to take and one that it did not.
func (p *prover) bisect(ctx context.Context, i int, refused float64, base int64) {
	for low := max(p.high[i], 1); low+1 < refused; {
		middle := math.Floor((low + refused) / 2)
		known := p.high[i]
		if p.high[i] = middle; p.runsWith(ctx, p.all(base), filling{seed: 1, wide: true}) != nil {
			p.high[i], refused = known, middle
			continue
		}
		low = middle
	}
}

// isMask reports whether an input marks what of the others is there: by its name,
// where it is padded, and the publisher's example has no other numbers than 0 and 1.
func (p *prover) isMask(name string) bool {
	if !strings.Contains(strings.ToLower(name), "mask") || !slices.ContainsFunc(p.asked, func(r Ragged) bool { return r.Input == name }) {
		return false
	}
	i := slices.IndexFunc(p.sig.Inputs, func(s infer.TensorSpec) bool { return s.Name == name })
	return i < 0 || i >= len(p.given) || !p.given[i].seen || p.given[i].low >= 0 && p.given[i].high <= 1
}

// fill writes values that differ along every axis and from row to row, into the
// input of that place in the signature.
func (p *prover) fill(t *infer.Tensor, input int, fill filling) {
	width := t.DataType.Size()
	if width == 0 {
		return // strings are what they are proven with
	}
	most := 0.0
	if fill.wide && p.high != nil {
		most = p.high[input]
	}
	in := p.layout(t)
	data := t.Data[:0]
	for i := range len(t.Data) / width {
		var v float64
		switch {
		case fill.padsAt(&in, i):
			v = in.ragged.Pad
		case in.mask:
			v = in.there()
		default:
			v = p.value(t.DataType, &in, i, most, &fill)
			if fill.given && input < len(p.given) && p.given[input].seen {
				v = p.given[input].between(t.DataType, i, fill.seed)
			}
		}
		data, _ = infer.AppendNumber(data, t.DataType, v) // every type has it, as was seen
	}
}

// padsAt reports whether an element is of a place that holds what pads.
func (f *filling) padsAt(in *layout, i int) bool {
	if in.ragged != nil && f.blank>>in.asked&1 == 1 {
		return true
	}
	if !f.pads || in.ragged == nil || in.length < 2 || in.mask && !f.masks {
		return false
	}
	token := i / in.inner
	return token%3 == 2 || (token+1)%in.length == 0
}

// value is an element of an input that is no mask. most is the largest number
// that it was seen to take; 0 is the usual.
func (p *prover) value(d infer.DataType, in *layout, i int, most float64, fill *filling) (v float64) {
	float := tolerance(d) > 0
	signed := d == infer.Int8 || d == infer.Int16 || d == infer.Int32 || d == infer.Int64
	low, high, scale := float64(p.whole[0]), float64(p.whole[1]), 1.0
	if most > 0 {
		high, scale = most, most
	}
	row := fill.from + fill.seed - 1 + i/in.row
	u := (float64(uint32(i+1)*2654435769+uint32(fill.seed)*2246822519) + 0.5) / (1 << 32)
	if fill.each { // by row, and by the place in a token
		u = weyl(row*8191 + i%in.inner + 1)
	}
	switch {
	case fill.zeros:
		return 0
	case fill.each && float && !fill.whole:
		v = 2*u - 1
	case fill.each && d != infer.Bool && (!float || scale < mostHigh):
		v = math.Mod(eachOf(row, high), high+1)
	case float:
		v = u * scale * max(fill.times, 1)
	case d == infer.Bool:
		v = math.Round(u)
	case fill.wide && i == 0:
		v = high // or a table's end would hardly be met
	default:
		v = math.Floor(low + u*(high-low+1))
	}
	if fill.floats && float || fill.integers && signed {
		v = -v
	}
	return v
}

// layout is where an input's tokens lie, in elements. Without a ragged axis a
// row is one token.
type layout struct {
	ragged *Ragged // nil without
	asked  int     // which of what was asked it is
	mask   bool
	length int // tokens along the axis
	inner  int // elements of a token
	row    int // elements of a row
}

// there is what a mask holds of a token that counts: the other of the two than
// what it is padded with. Some say what to leave out, and are padded with ones.
func (l *layout) there() float64 {
	if l.ragged == nil || l.ragged.Pad == 0 {
		return 1
	}
	return 0
}

func (p *prover) layout(t *infer.Tensor) layout {
	row := max(int(t.Elements()), 1)
	if len(t.Shape) > 0 {
		row = max(row/max(int(t.Shape[batchAxis]), 1), 1)
	}
	at := slices.IndexFunc(p.asked, func(r Ragged) bool { return r.Input == t.Name })
	if at < 0 {
		return layout{length: 1, inner: row, row: row} // what has no axis to pad is no mask, whatever its name
	}
	in := layout{ragged: &p.asked[at], asked: at, mask: p.isMask(t.Name), length: max(int(t.Shape[p.asked[at].Axis]), 1), inner: 1, row: row}
	for _, n := range t.Shape[p.asked[at].Axis+1:] {
		in.inner *= max(int(n), 1)
	}
	return in
}

// eachOf is the id of a row of one id: the smallest, the largest, and then
// others all over, each once.
func eachOf(row int, high float64) float64 {
	switch row {
	case 0:
		return 0
	case 1:
		return high
	}
	if n := int(high) + 1; n > mostIDs {
		return float64(row-1) * math.Floor(high/mostIDs)
	}
	return float64(row - 1)
}
