package publish

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// pooling makes "y" of [n, k] of each row of "x" of [n, t] and of what its other
// inputs hold: "mask" of [n, t], "flag" of [], "text" of [n].
type pooling struct {
	of func(r *pooledRow) []float64
}

// pooledRow is one row of a pooling.
type pooledRow struct {
	x    []float64
	mask []float64
	flag float64
	text string
}

func (r *pooledRow) mean() float64 { return sumOf(r.x, nil) / float64(len(r.x)) }

// masked is the mean where the mask has a number, and NaN where it never has.
func (r *pooledRow) masked(at float64) float64 {
	there := func(i int) bool { return r.mask[i] == at }
	n := 0.0
	for i := range r.mask {
		if there(i) {
			n++
		}
	}
	return sumOf(r.x, there) / n
}

func sumOf(x []float64, there func(i int) bool) (sum float64) {
	for i, v := range x {
		if there == nil || there(i) {
			sum += v
		}
	}
	return sum
}

func (m *pooling) Run(_ context.Context, _ memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	x := named(inputs, "x")
	rows, length := int(x.Shape[0]), int(x.Shape[1])
	if mask := named(inputs, "mask"); mask != nil && !slices.Equal(mask.Shape, x.Shape) {
		return nil, nil, fmt.Errorf("a mask of %v for %v", mask.Shape, x.Shape)
	}
	var y []float32
	for i := range rows {
		r := pooledRow{x: floats(x)[i*length:][:length]}
		if mask := named(inputs, "mask"); mask != nil {
			r.mask = floats(mask)[i*length:][:length]
		}
		if flag := named(inputs, "flag"); flag != nil {
			r.flag = floats(flag)[0]
		}
		if text := named(inputs, "text"); text != nil {
			all, err := infer.Strings(text)
			if err != nil {
				return nil, nil, err
			}
			r.text = string(all[i])
		}
		for _, v := range m.of(&r) {
			y = append(y, float32(v))
		}
	}
	return []infer.Tensor{infer.NewTensor("y", []int64{int64(rows), int64(len(y) / rows)}, y)}, func() {}, nil
}

// poolingSignature is of "x" and of others.
func poolingSignature(width int64, others ...infer.TensorSpec) infer.Signature {
	axis := 0
	return infer.Signature{
		Inputs:    append([]infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{-1, -1}, Example: []int64{1, 8}}}, others...),
		Outputs:   []infer.TensorSpec{{Name: "y", DataType: infer.FP32, Shape: []int64{-1, width}}},
		BatchAxis: &axis,
	}
}

func maskInput(d infer.DataType) infer.TensorSpec {
	return infer.TensorSpec{Name: "mask", DataType: d, Shape: []int64{-1, -1}, Example: []int64{1, 8}}
}

func flagInput() infer.TensorSpec {
	return infer.TensorSpec{Name: "flag", DataType: infer.Bool, Shape: []int64{}, Unbatched: true}
}

func textInput() infer.TensorSpec {
	return infer.TensorSpec{Name: "text", DataType: infer.Bytes, Shape: []int64{-1}, Example: []int64{1}}
}

// TestNoProofWhereNoTrialCouldDiffer holds that padding is taken to change
// nothing only where trials could show that it does.
func TestNoProofWhereNoTrialCouldDiffer(t *testing.T) {
	t.Parallel()
	x := Ragged{Input: "x", Axis: 1}
	mask := func(pad float64) []Ragged { return []Ragged{x, {Input: "mask", Axis: 1, Pad: pad}} }
	label := func(r *pooledRow) []float64 { return []float64{min(max(math.Floor(r.mean()/1e5), 0), 9)} }
	root := func(r *pooledRow) []float64 {
		sum := 0.0
		for _, v := range r.x {
			sum += math.Sqrt(v - 1e6)
		}
		return []float64{sum / float64(len(r.x))}
	}
	between := func(low, high float32) []infer.Tensor {
		return []infer.Tensor{infer.NewTensor("x", []int64{1, 2}, []float32{low, high})}
	}
	const changes = "padding changes the model's answers"
	for name, tc := range map[string]struct {
		of      func(r *pooledRow) []float64
		width   int64
		others  []infer.TensorSpec
		asked   []Ragged
		example []infer.Tensor
		want    string // "" is a proof
		blank   bool   // of the mask
	}{
		"a mean beside a banned class": {
			of: func(r *pooledRow) []float64 { return []float64{r.mean(), -1e9} }, width: 2, asked: []Ragged{x}, want: changes,
		},
		"a mean beside nine banned classes of ten": {
			of:    func(r *pooledRow) []float64 { return append(slices.Repeat([]float64{-1e9}, 9), r.mean()) },
			width: 10, asked: []Ragged{x}, want: changes,
		},
		"a mean beside a large sum": {
			of: func(r *pooledRow) []float64 { return []float64{1e6 * sumOf(r.x, nil), r.mean()} }, width: 2, asked: []Ragged{x}, want: changes,
		},
		"a mask that weighs what it leaves out a little, beside a banned class": {
			of: func(r *pooledRow) []float64 {
				there := sumOf(r.mask, nil) / float64(len(r.mask))
				return []float64{r.masked(1) * (0.98 + 0.02*there), -1e9}
			}, width: 2, others: []infer.TensorSpec{maskInput(infer.Int64)}, asked: mask(0), want: changes,
		},
		"a masked mean beside a banned class": {
			of: func(r *pooledRow) []float64 { return []float64{r.masked(1), -1e9} }, width: 2,
			others: []infer.TensorSpec{maskInput(infer.Int64)}, asked: mask(0), blank: true, // NaN beside NaN
		},
		"a mask of what to leave out, and a mean of all": {
			of: func(r *pooledRow) []float64 { return []float64{r.masked(0) + r.mean()} }, width: 1,
			others: []infer.TensorSpec{maskInput(infer.Bool)}, asked: mask(1), want: changes,
		},
		"a mask of what to leave out": {
			of: func(r *pooledRow) []float64 { return []float64{r.masked(0)} }, width: 1,
			others: []infer.TensorSpec{maskInput(infer.Bool)}, asked: mask(1), blank: true,
		},
		"a mask of what to leave out that shows little when it leaves out all": {
			of: func(r *pooledRow) []float64 {
				if v := r.masked(0); !math.IsNaN(v) {
					return []float64{v}
				}
				return []float64{r.mean()}
			}, width: 1, others: []infer.TensorSpec{maskInput(infer.Bool)}, asked: mask(1),
		},
		"a mask that shows little when it leaves out all": {
			of: func(r *pooledRow) []float64 {
				if v := r.masked(1); !math.IsNaN(v) {
					return []float64{v}
				}
				return []float64{r.mean()}
			}, width: 1, others: []infer.TensorSpec{maskInput(infer.Int64)}, asked: mask(0),
		},
		"no finite number":                          {of: root, width: 1, asked: []Ragged{x}, want: "so nothing shows that padding does not change it"},
		"finite numbers of the example's":           {of: root, width: 1, asked: []Ragged{x}, example: between(2e6, 3e6), want: changes},
		"always the same label":                     {of: label, width: 1, asked: []Ragged{x}, want: "so nothing shows that padding does not change it"},
		"labels of the example's numbers":           {of: label, width: 1, asked: []Ragged{x}, example: between(0, 9e5), want: changes},
		"an output that the length alone goes into": {of: func(*pooledRow) []float64 { return []float64{1} }, width: 1, asked: []Ragged{x}, want: "so nothing shows"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sig, _, err := proveRagged(t.Context(), &pooling{tc.of}, poolingSignature(tc.width, tc.others...), tc.asked, known{example: tc.example})
			if tc.want != "" {
				if problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := sig.Inputs[1].Ragged; got.Max != usualLength || got.Blank != tc.blank {
				t.Errorf("%+v", *got)
			}
		})
	}
}

// TestKnobsAreProvenByTheirValues holds that padding is known to change nothing
// only beside those values of flags and texts that it was tried with.
func TestKnobsAreProvenByTheirValues(t *testing.T) {
	t.Parallel()
	asked := []Ragged{{Input: "x", Axis: 1}, {Input: "mask", Axis: 1}}
	by := func(masked func(r *pooledRow) bool) func(r *pooledRow) []float64 {
		return func(r *pooledRow) []float64 {
			if masked(r) {
				return []float64{r.masked(1)}
			}
			return []float64{r.mean()}
		}
	}
	text := func(values ...string) []infer.Tensor {
		return []infer.Tensor{infer.NewBytes("text", []int64{int64(len(values))}, values...)}
	}
	row := func(value string) []byte { return infer.AppendBytes(nil, value) }
	for name, tc := range map[string]struct {
		of      func(r *pooledRow) []float64
		other   infer.TensorSpec
		example []infer.Tensor
		with    [][]byte
		note    string
		want    string // "" is a proof
	}{
		"a flag that masks":         {of: by(func(r *pooledRow) bool { return r.flag == 1 }), other: flagInput(), with: [][]byte{{1}}, note: `with input "flag" as [1]`},
		"a flag that unmasks":       {of: by(func(r *pooledRow) bool { return r.flag == 0 }), other: flagInput(), want: "padding changes the model's answers"},
		"a flag of something else":  {of: func(r *pooledRow) []float64 { return []float64{r.masked(1) + r.flag} }, other: flagInput(), with: [][]byte{{1}, {0}}, note: "as [1] or [0]"},
		"a flag as the example has": {of: by(func(r *pooledRow) bool { return r.flag == 0 }), other: flagInput(), example: []infer.Tensor{{Name: "flag", DataType: infer.Bool, Shape: []int64{}, Data: []byte{0}}}, with: [][]byte{{0}}},
		"a text that unmasks":       {of: by(func(r *pooledRow) bool { return r.text != "mean" }), other: textInput(), with: [][]byte{row("")}, note: `with input "text" as [""]`},
		"texts of the example":      {of: by(func(r *pooledRow) bool { return r.text != "mean" }), other: textInput(), example: text("query", "page", "query"), with: [][]byte{row("query"), row("page")}},
		"an example that unmasks":   {of: by(func(r *pooledRow) bool { return r.text != "mean" }), other: textInput(), example: text("mean"), want: "padding changes the model's answers"},
		"an example of which one does": {
			of: by(func(r *pooledRow) bool { return r.text != "mean" }), other: textInput(), example: text("query", "mean"), with: [][]byte{row("query")},
		},
		"more than is kept": {
			of:    func(r *pooledRow) []float64 { return []float64{r.masked(1)} },
			other: infer.TensorSpec{Name: "table", DataType: infer.FP32, Shape: []int64{100_000}, Unbatched: true}, want: "values of at most",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sig := poolingSignature(1, maskInput(infer.Int64), tc.other)
			sig, note, err := proveRagged(t.Context(), &pooling{tc.of}, sig, asked, known{example: tc.example})
			if tc.want != "" {
				if problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.with, sig.Inputs[2].RaggedWith); diff != "" {
				t.Errorf("proven with (-want +got):\n%s", diff)
			}
			if !strings.Contains(note, tc.note) {
				t.Errorf("push notes %q", note)
			}
		})
	}
}

// TestElementsAreHeldToTheirPlace holds that what is large somewhere hides no
// difference elsewhere, and that what rounding does is none.
func TestElementsAreHeldToTheirPlace(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	tensor := func(values ...float32) infer.Tensor {
		return infer.NewTensor("y", []int64{1, int64(len(values))}, values)
	}
	usual := []infer.Tensor{
		tensor(0.5, 1e6, -1e9, 0.9), tensor(-0.8, 3e6, -1e9, 0.1), tensor(1.5, -2e6, -1e9, 1e-6),
		tensor(0.7, 2e6, -1e9, 0.2), tensor(0.9, 1e6, -1e9, 0.3), tensor(-1, 1e6, -1e9, 0.2),
	}
	for name, tc := range map[string]struct {
		a, b  infer.Tensor
		alike bool
	}{
		"the same":                      {tensor(1, 2, 3, 4), tensor(1, 2, 3, 4), true},
		"rounding of each":              {tensor(0.5, 1e6, -1e9, 0.9), tensor(0.500001, 1.000001e6, -1.000001e9, 0.900001), true},
		"a small one beside large ones": {tensor(0.5, 1e6, -1e9, 0.9), tensor(0.55, 1e6, -1e9, 0.9), false},
		"a large one":                   {tensor(0.5, 1e6, -1e9, 0.9), tensor(0.5, 1.1e6, -1e9, 0.9), false},
		"one that is usually larger":    {tensor(1e-6, 1e6, -1e9, 0.9), tensor(2e-6, 1e6, -1e9, 0.9), true},
		"one where most cancelled out":  {tensor(0.5, 1, -1e9, 0.9), tensor(0.5, 2, -1e9, 0.9), true},
		"a probability beside a likely": {tensor(1.5506e-5, 1, 1, 1), tensor(1.5628e-5, 1, 1, 1), true},
		"NaN in both":                   {tensor(nan, 1, 1, 1), tensor(nan, 1, 1, 1), true},
		"NaN in one":                    {tensor(nan, 1, 1, 1), tensor(1, 1, 1, 1), false},
		"NaN in the other":              {tensor(1, 1, 1, 1), tensor(nan, 1, 1, 1), false},
		"an infinity in both":           {tensor(inf, 1, 1, 1), tensor(inf, 1, 1, 1), true},
		"an infinity in one":            {tensor(inf, 1, 1, 1), tensor(5, 1, 1, 1), false},
		"infinities of either sign":     {tensor(inf, 1, 1, 1), tensor(-inf, 1, 1, 1), false},
		"another shape":                 {tensor(1, 1), tensor(1, 1, 1), false},
		"more elements than were seen":  {tensor(1, 1, 1, 1, 1), tensor(1, 1, 1, 1, 1.2), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := scaleOf(usual, batchAxis).alike(&tc.a, &tc.b); got != tc.alike {
				t.Errorf("alike: %v", got)
			}
		})
	}
}

// TestPlacesLeaveOutWhatDiffers holds which elements of tensors are of one place.
func TestPlacesLeaveOutWhatDiffers(t *testing.T) {
	t.Parallel()
	s := scaleOf([]infer.Tensor{infer.NewTensor("y", []int64{1, 2, 2}, []float32{1, 2, 3, 4})}, 0, 1)
	place, fits := s.places([]int64{3, 5, 2})
	if !fits {
		t.Fatal("more rows and another length are of no place")
	}
	for i := range 30 {
		if place(i) != i%2 {
			t.Errorf("element %d is of place %d", i, place(i))
		}
	}
	if _, fits := s.places([]int64{1, 2, 3}); fits {
		t.Error("another width is of these places")
	}
	large := scaleOf([]infer.Tensor{infer.NewTensor("y", []int64{1, 4, 1 << 15}, make([]float32, 4<<15))}, 0)
	if got := product(large.sizes); got != 4 {
		t.Errorf("%d places of a large output", got)
	}
}
