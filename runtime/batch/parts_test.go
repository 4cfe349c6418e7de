package batch

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestNoNumberOfRowsIsTooManyForABatchBound holds that a request is run however
// many of the publisher's batches it takes, and that none of them is larger.
func TestNoNumberOfRowsIsTooManyForABatchBound(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ bound, rows int }{
		"as many as are kept at once":    {16, 16 * maxParts},
		"one row more":                   {16, 16*maxParts + 1},
		"17,000 rows":                    {16, 17_000},
		"several groups, the last whole": {2, 6 * maxParts},
		"several groups":                 {3, 3*3*maxParts + 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				_, q := newQueue(t, 2, 4, f, func(m *Model) { m.MaxRows = tc.bound })
				values := make([]float32, tc.rows)
				for i := range values {
					values[i] = float32(i)
				}
				if _, err := ask(t.Context(), t, q, request("", values...)); err != nil {
					t.Fatal(err)
				}
				if ran := f.ran(); len(ran) != ceilDiv(tc.rows, tc.bound) || slices.Max(ran) > tc.bound {
					t.Errorf("%d runs of at most %d rows", len(ran), slices.Max(ran))
				}
			})
		})
	}
}

// TestAnAnswerThatWillBeTooLargeEndsItsParts holds that what is larger than an
// answer may be is refused by its first parts, before the others are run.
func TestAnAnswerThatWillBeTooLargeEndsItsParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rows = 17_000
		f := &fake{}
		_, q := newQueue(t, 2, 4, f, func(m *Model) { m.MaxRows, m.MaxOutput = 16, 4*rows-1 })
		_, err := ask(t.Context(), t, q, request("", make([]float32, rows)...))
		if problem.CodeOf(err) != problem.PayloadTooLarge {
			t.Errorf("got %v", err)
		}
		if ran := f.ran(); len(ran) > 8 {
			t.Errorf("%d parts were run", len(ran))
		}
	})
}

// TestAGroupOfPartsThatIsNotItsRowsEndsThem holds that what the first parts show
// is believed of the rest, and the request run whole, once.
func TestAGroupOfPartsThatIsNotItsRowsEndsThem(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		bad  int // rows of a run whose answer has one row for all
		runs int
	}{
		"in the first group": {4, maxParts + 1},
		"in the last":        {1, 2*maxParts + 1 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const rows = 2*4*maxParts + 1
				model := &shaped{of: func(n int, x []float32, length int) infer.Tensor {
					if n == tc.bad {
						return frames(n+1, 2, append(slices.Clone(x), x[:length]...), length)
					}
					return frames(n, 2, x, length)
				}}
				_, q := newQueue(t, 2, 64, &fake{}, func(m *Model) { anyWidth(m); m.Runner, m.MaxRows = model, 4 })
				req := wide("", 2*rows, 3)
				req.Inputs[0].Shape = []int64{rows, 2}
				res, err := q.Run(t.Context(), req, []string{"y"})
				if err != nil || !slices.Equal(res.Outputs[0].Shape, []int64{rows, 2}) {
					t.Fatalf("%v, %v", res, err)
				}
				if n := len(model.runs); n != tc.runs || model.runs[n-1][0] != rows {
					t.Errorf("%d runs, the last of %d rows; expected %d", n, model.runs[n-1][0], tc.runs)
				}
			})
		})
	}
}
