package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Bounds on the trials of a model's rows.
const (
	trialTime   = 20 * time.Second // of all but the first ones
	hostileTime = time.Minute      // of one run: what a caller sends may make a model loop
	longer      = 8                // the size that short axes are tried with, too
)

// trials run rows alone and together. They show that rows are not independent
// where they are not; that they are, only the graph shows (runtime/rows), for
// there is always a value that was not tried.
type trials struct {
	model runner
	sig   *infer.Signature // its BatchAxis and the inputs' Unbatched are what is asked

	scales  []*scale // of the outputs, as of the rows of the shape that is tried
	why     string   // what rules out a batch axis; "" is nothing
	kinds   []kind   // of the outputs, as far as seen
	refused error    // by the model, of the last row
	pairs   int      // of different rows that were run together
	skipped int      // that the time did not suffice for
	ends    time.Time
}

// kind is what an output was seen to be.
type kind int

const (
	unseen kind = iota
	byRow       // a row for each row of the inputs
	shared      // the same whatever the rows are
)

// trialRow is a row that the model runs with, and its answers: alone, and at
// both places of a run of twice itself.
type trialRow struct {
	fill   fill
	inputs []infer.Tensor
	alone  []infer.Tensor
	twice  []infer.Tensor
	scales []*scale // of twice
}

// tryRows runs the trials. An error is the caller's: ctx has ended.
func tryRows(ctx context.Context, model runner, sig *infer.Signature) (*trials, error) {
	t := &trials{model: model, sig: sig, kinds: make([]kind, len(sig.Outputs)), ends: time.Now().Add(trialTime)}
	for i, shapes := range t.shapes() {
		if err := t.ofShape(ctx, shapes, i == 0); err != nil || t.why != "" {
			return t, err
		}
	}
	if !slices.Contains(t.kinds, byRow) {
		t.why = "no output has a row for each row of the inputs"
	}
	return t, nil
}

// shapes are those of one row: the example's, and with its short axes longer,
// for what is one long has no neighbours.
func (t *trials) shapes() [][][]int64 {
	short := make([][]int64, len(t.sig.Inputs))
	long := make([][]int64, len(t.sig.Inputs))
	grown := false
	for i := range t.sig.Inputs {
		spec := &t.sig.Inputs[i]
		short[i] = rowsOf(t.sig, spec, 1)
		long[i] = slices.Clone(short[i])
		for d := range spec.Shape {
			if d != batchAxis && spec.Shape[d] == infer.Dynamic && short[i][d] < longer && spec.ExampleData == nil {
				long[i][d], grown = longer, true
			}
		}
	}
	if !grown {
		return [][][]int64{short}
	}
	return [][][]int64{short, long}
}

// ofShape runs the trials with rows of one shape. With the first shape the
// model must run, with one row and with two.
func (t *trials) ofShape(ctx context.Context, shapes [][]int64, must bool) error {
	rows, err := t.rows(ctx, shapes, must)
	if err != nil || t.why != "" {
		return err
	}
	for i := 1; i < len(rows); i++ {
		for _, pair := range [][2]*trialRow{{&rows[0], &rows[i]}, {&rows[i], &rows[0]}, {&rows[i-1], &rows[i]}, {&rows[i], &rows[i-1]}} {
			if err := t.together(ctx, pair); err != nil || t.why != "" {
				return err
			}
		}
	}
	return nil
}

// rows are the different ones that the model runs with. Of whole numbers, the
// largest that it takes are among them: the end of its vocabulary.
func (t *trials) rows(ctx context.Context, shapes [][]int64, must bool) (rows []trialRow, err error) {
	low, high := 0, 0
	try := func(f fill) (ran bool, err error) {
		r := trialRow{fill: f}
		if r.inputs, err = t.row(shapes, f, rows); err != nil {
			return false, err
		}
		if slices.ContainsFunc(rows, func(other trialRow) bool { return sameData(other.inputs, r.inputs) }) {
			return true, nil
		}
		if len(rows) > 2 && !time.Now().Before(t.ends) {
			t.skipped++
			return false, nil
		}
		if ran, err = t.ready(ctx, &r); ran {
			rows = append(rows, r)
		}
		return ran, err
	}
	for _, f := range fills() {
		ran, err := try(f)
		if err != nil || t.why != "" {
			return nil, err
		}
		if ran && f.most > 0 {
			low = f.most
		} else if high == 0 {
			high = f.most
		}
	}
	if t.usualRows(rows); t.why != "" {
		return nil, nil
	}
	for low > 0 && high-low > 1 {
		most := (low + high) / 2
		ran, err := try(wholeNumbers(most))
		if err != nil || t.why != "" {
			return nil, err
		}
		if ran {
			low = most
		} else {
			high = most
		}
	}
	if len(rows) == 0 && must {
		t.why = fmt.Sprintf("it does not run with two rows: %v", trimmed{t.refused})
	}
	return rows, nil
}

// ready runs a row alone, and twice in one run. That a model refuses it shows
// nothing: the server runs the others without it. Kernels add up in another
// order for another number of rows, and a network may make much of that on
// values that it was not made for; so the usual rows alone are held to be the
// same by themselves and twice (usualRows).
func (t *trials) ready(ctx context.Context, r *trialRow) (ran bool, err error) {
	if r.alone, err = t.run(ctx, r.inputs); err == nil {
		r.twice, err = t.run(ctx, joinRows(t.sig, r.inputs, r.inputs))
	}
	if err != nil {
		return false, t.failed(ctx, err, r.fill.name)
	}
	for o := range r.twice {
		name := t.sig.Outputs[o].Name
		seen := kindOf(r.alone[o].Shape, r.twice[o].Shape)
		if seen == unseen {
			t.why = fmt.Sprintf("output %q of two rows together is not that of each alone: its shape is %v for one and %v for two", name, r.alone[o].Shape, r.twice[o].Shape)
			return false, nil
		}
		if t.kinds[o] != unseen && t.kinds[o] != seen {
			t.why = fmt.Sprintf("output %q has a row for each row of the inputs with some values, and not with others", name)
			return false, nil
		}
		t.kinds[o] = seen
	}
	for o := range r.twice {
		r.scales = append(r.scales, scaleOf(r.twice[o:o+1], t.mergedOf(o)...))
	}
	return true, nil
}

// usualRows holds the usual rows to be the same by themselves and twice, and keeps
// how large the outputs of the rows are.
func (t *trials) usualRows(rows []trialRow) {
	t.scales = nil
	for o := range t.sig.Outputs {
		var samples []infer.Tensor
		for i := range rows {
			if rows[i].fill.usual {
				samples = append(samples, rows[i].alone[o])
			}
		}
		t.scales = append(t.scales, scaleOf(samples, t.mergedOf(o)...))
		for i := range rows {
			for place := range 2 {
				got := rows[i].slice(t, o, place)
				if rows[i].fill.usual && !t.scales[o].alike(&rows[i].alone[o], &got) {
					t.why = fmt.Sprintf("output %q of two rows together is not that of each alone", t.sig.Outputs[o].Name)
					return
				}
			}
		}
	}
}

// mergedOf are an output's axes whose sizes differ from run to run.
func (t *trials) mergedOf(o int) []int {
	if t.kinds[o] == shared {
		return nil
	}
	return []int{batchAxis}
}

// slice is the o-th output at one of the places of a run of two.
func (r *trialRow) slice(t *trials, o, place int) infer.Tensor { return t.sliceOf(r.twice, o, place) }

func (t *trials) sliceOf(joined []infer.Tensor, o, place int) infer.Tensor {
	if t.kinds[o] == shared {
		return joined[o]
	}
	return oneOfTwo(&joined[o], place)
}

// run is the answer to inputs, in memory of its own.
func (t *trials) run(ctx context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	ctx, cancel := context.WithTimeout(ctx, hostileTime)
	defer cancel()
	return kept(ctx, t.model, inputs)
}

// failed is what follows of a run that failed: an error only where ctx has ended.
// That the model refuses rows shows nothing, for a server runs them alone then.
func (t *trials) failed(ctx context.Context, err error, rows string) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		t.why = fmt.Sprintf("with a row of %s it does not answer within %s", rows, hostileTime)
	default:
		t.refused = err
	}
	return nil
}

// together runs two rows joined. In a run of as many rows, and at the same
// place, each gets to the bit what it gets beside itself.
func (t *trials) together(ctx context.Context, pair [2]*trialRow) error {
	if !time.Now().Before(t.ends) {
		t.skipped++
		return nil
	}
	joined, err := t.run(ctx, joinRows(t.sig, pair[0].inputs, pair[1].inputs))
	if err != nil {
		return t.failed(ctx, err, describePair(pair))
	}
	for o := range joined {
		name := t.sig.Outputs[o].Name
		if !slices.Equal(joined[o].Shape, pair[0].twice[o].Shape) {
			t.why = fmt.Sprintf("a row of %s changes the shape of the others' answers (output %q)", describePair(pair), name)
			return nil
		}
		for place, r := range pair {
			got, want := t.sliceOf(joined, o, place), r.slice(t, o, place)
			scale := r.scales[o].with(t.scales[o])
			if !scale.within(&want, &got, exactly(want.DataType)) {
				t.why = fmt.Sprintf("a row of %s changes the others' answers (output %q): something in the model is computed over all rows, "+
					"as the scales of dynamic quantization are", describePair(pair), name)
				return nil
			}
			if place == 0 && scale.moves(&pair[0].alone[o], &pair[1].alone[o]) {
				t.pairs++
			}
		}
	}
	return nil
}

// exactly is the tolerance between runs of the same shapes, whose kernels add up
// in the same order.
func exactly(d infer.DataType) float64 { return tolerance(d) / 100 }

// kindOf is what an output is by its shapes for one row and for two.
func kindOf(one, two []int64) kind {
	switch {
	case slices.Equal(one, two):
		return shared
	case len(one) == len(two) && len(one) > batchAxis && one[batchAxis] == 1 && two[batchAxis] == 2 &&
		slices.Equal(one[batchAxis+1:], two[batchAxis+1:]):
		return byRow
	default:
		return unseen
	}
}

// row is a row of the shapes with the fill's values, but in what all rows share:
// that is as the first had it.
func (t *trials) row(shapes [][]int64, f fill, before []trialRow) (inputs []infer.Tensor, err error) {
	for i := range t.sig.Inputs {
		spec := &t.sig.Inputs[i]
		if spec.Optional {
			continue
		}
		if spec.Unbatched && len(before) > 0 {
			inputs = append(inputs, *named(before[0].inputs, spec.Name))
			continue
		}
		in, err := row(spec, shapes[i], f.integer)
		if err != nil {
			return nil, err
		}
		if !spec.Unbatched {
			f.apply(&in)
		}
		inputs = append(inputs, in)
	}
	return inputs, nil
}

func sameData(a, b []infer.Tensor) bool {
	return slices.EqualFunc(a, b, func(x, y infer.Tensor) bool { return bytes.Equal(x.Data, y.Data) })
}

// describePair names the unusual one of two rows.
func describePair(pair [2]*trialRow) string {
	if pair[0].fill.usual {
		return pair[1].fill.name
	}
	return pair[0].fill.name
}

// joinRows puts two rows of one shape behind each other.
func joinRows(sig *infer.Signature, one, two []infer.Tensor) []infer.Tensor {
	joined := slices.Clone(one)
	for i := range joined {
		if t := &joined[i]; !specOf(sig, t.Name).Unbatched {
			t.Shape = slices.Clone(t.Shape)
			t.Shape[batchAxis] = 2
			t.Data = slices.Concat(one[i].Data, two[i].Data)
		}
	}
	return joined
}

// oneOfTwo cuts a row out of two.
func oneOfTwo(t *infer.Tensor, place int) infer.Tensor {
	one := *t
	half := halfOf(t)
	one.Shape = slices.Clone(t.Shape)
	one.Shape[batchAxis] = 1
	one.Data = [][]byte{t.Data[:half], t.Data[half:]}[place]
	return one
}
