package publish

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// lessMean gives the vectors of "x" of [n, width] in a table of so many rows,
// less their mean over the rows of the run.
func lessMean(vocabulary, width int) onnxtest.Model {
	m := onnxtest.Lookup(vocabulary, width)
	m.Graph.Nodes[0].Outputs[0] = "vectors"
	m.Graph.Nodes = append(m.Graph.Nodes,
		onnxtest.Node{Op: "ReduceMean", Inputs: []string{"vectors", "rows"}, Outputs: []string{"mean"}},
		onnxtest.Node{Op: "Sub", Inputs: []string{"vectors", "mean"}, Outputs: []string{"y"}})
	m.Graph.Initializers = append(m.Graph.Initializers, onnxtest.Int64s("rows", []int64{1}, 0))
	return m
}

// floatIDs takes the ids of a model as floats, as Keras exports them.
func floatIDs(m onnxtest.Model) onnxtest.Model {
	m.Graph.Inputs[0].Element = onnxtest.Float
	m.Graph.Nodes[0].Inputs[1] = "id"
	whole := int64(onnxtest.Int64)
	m.Graph.Nodes = append([]onnxtest.Node{{
		Op: "Cast", Inputs: []string{"x"}, Outputs: []string{"id"}, Attributes: []onnxtest.Attribute{{Name: "to", Int: &whole}},
	}}, m.Graph.Nodes...)
	return m
}

// anyAbove adds one to all rows of int64 "x" of [n, width] when any id is above
// the limit, of at most as many as the vocabulary has.
func anyAbove(limit int64, vocabulary, width int) onnxtest.Model {
	m := onnxtest.Lookup(vocabulary, width)
	keep, float := int64(0), int64(onnxtest.Float)
	m.Graph.Nodes[0].Outputs[0] = "vectors"
	m.Graph.Nodes = append(m.Graph.Nodes,
		onnxtest.Node{Op: "ReduceMax", Inputs: []string{"x"}, Outputs: []string{"most"}, Attributes: []onnxtest.Attribute{{Name: "keepdims", Int: &keep}}},
		onnxtest.Node{Op: "Greater", Inputs: []string{"most", "limit"}, Outputs: []string{"any"}},
		onnxtest.Node{Op: "Cast", Inputs: []string{"any"}, Outputs: []string{"flag"}, Attributes: []onnxtest.Attribute{{Name: "to", Int: &float}}},
		onnxtest.Node{Op: "Add", Inputs: []string{"vectors", "flag"}, Outputs: []string{"y"}})
	m.Graph.Initializers = append(m.Graph.Initializers, onnxtest.Int64s("limit", []int64{}, limit))
	return m
}

// timesShared multiplies "x" of [n, width] by an integer that is no row's own.
func timesShared(width int) onnxtest.Model {
	m := onnxtest.Scale(width, 1)
	float := int64(onnxtest.Float)
	m.Graph.Initializers = nil
	m.Graph.Inputs = append(m.Graph.Inputs, onnxtest.Value{Name: "k", Element: onnxtest.Int64, Shape: []any{1}})
	m.Graph.Nodes = append([]onnxtest.Node{{
		Op: "Cast", Inputs: []string{"k"}, Outputs: []string{"factor"}, Attributes: []onnxtest.Attribute{{Name: "to", Int: &float}},
	}}, m.Graph.Nodes...)
	return m
}

func tried(t *testing.T, model runner, sig infer.Signature) (*trials, error) {
	t.Helper()
	sig, err := findExamples(t.Context(), model, sig, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked, ok := withRows(sig)
	if !ok {
		t.Fatal("no input has rows")
	}
	return tryRows(t.Context(), model, &asked)
}

// TestTrialsShowDependentRows holds that rows are not joined, asserted or not,
// where what one caller sends changes what another gets, though usual rows do
// not show it.
func TestTrialsShowDependentRows(t *testing.T) {
	t.Parallel()
	const mixes = "changes the others' answers"
	cases := map[string]struct {
		model onnxtest.Model
		why   string // "" is nothing
	}{
		"dynamic quantization":          {onnxtest.DynamicQuantize(onnxtest.Float, 3), mixes},
		"dynamic quantization of bytes": {onnxtest.DynamicQuantize(onnxtest.Uint8, 3), mixes},
		"a scale that is computed":      {onnxtest.ScaledQuantize(3), mixes},
		"the largest of all rows":       {onnxtest.Beyond("ReduceMax", 3, 5), "a row of large values " + mixes},
		"the least of all rows":         {onnxtest.Beyond("ReduceMin", 3, -5), "a row of large negative values " + mixes},
		"the first row":                 {onnxtest.BeyondOf(0, 3, 5), "a row of large values " + mixes},
		"the last row":                  {onnxtest.BeyondOf(-1, 3, 5), "a row of large values " + mixes},
		"zero times all rows":           {onnxtest.Poisoned(3), "a row of NaN and infinities " + mixes},
		"the first row's text":          {onnxtest.AddFirst(onnxtest.String, 3), mixes},
		"the first row's bytes":         {onnxtest.AddFirst(onnxtest.Uint8, 3), mixes},
		"a mean over the rows":          {onnxtest.Mean(3), mixes},
		"two rows for one":              {stacked(), "of two rows together is not that of each alone"},
		"a multiplication":              {onnxtest.MLP(1, 3, 5, 2), ""},
		"flags":                         {onnxtest.Identity(onnxtest.Bool, "n", 3), ""},
		"half floats":                   {onnxtest.Identity(onnxtest.Float16, "n", 3), ""},
		"bfloat16":                      {onnxtest.Identity(onnxtest.BFloat16, "n", 3), ""},
		"doubles":                       {onnxtest.Identity(onnxtest.Double, "n", 3), ""},
		"text":                          {onnxtest.Identity(onnxtest.String, "n", 3), ""},
		"indices that it refuses":       {onnxtest.Lookup(4, 3), ""},
		"a mask of which values grow":   {onnxtest.Embed(200, 2), ""},
		"times what all share":          {timesShared(3), ""},
		"an id above a thousand":        {anyAbove(1000, 2000, 2), mixes},
		"an id above a hundred":         {anyAbove(100, 130, 2), mixes},
	}
	for _, vocabulary := range []int{2, 3, 4, 5, 10, 60, 128, 236, 1001, 40_000} {
		for _, width := range []int{1, 4} {
			add := func(name string, m onnxtest.Model, why string) {
				cases[strings.Join([]string{name, "of", strconv.Itoa(vocabulary), "at", strconv.Itoa(width)}, " ")] = struct {
					model onnxtest.Model
					why   string
				}{m, why}
			}
			add("a vocabulary", lessMean(vocabulary, width), mixes)
			add("a vocabulary in floats", floatIDs(lessMean(vocabulary, width)), mixes)
			add("an independent vocabulary", onnxtest.Lookup(vocabulary, width), "")
		}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := load(t, tc.model.Write(t))
			got, err := tried(t, s, *s.Signature())
			if err != nil || !strings.Contains(got.why, tc.why) || tc.why == "" && got.why != "" {
				t.Fatalf("%q, %v", got.why, err)
			}
			if tc.why == "" && got.pairs == 0 {
				t.Error("no two different rows ran together: nothing was shown")
			}
		})
	}
}

// oddWhenLarge gives the rows back, and does something else where they are large.
type oddWhenLarge struct {
	large func(ctx context.Context) error
}

func (m *oddWhenLarge) Run(ctx context.Context, _ memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	for _, v := range floats(&inputs[0]) {
		if v >= 1000 && inputs[0].Shape[0] > 1 {
			if err := m.large(ctx); err != nil {
				return nil, nil, err
			}
		}
	}
	y := inputs[0]
	y.Name = "y"
	return []infer.Tensor{y}, func() {}, nil
}

// TestRowsThatAreNotAnswered holds that a refusal does not rule out a batch axis,
// and that a row which keeps the model from answering does.
func TestRowsThatAreNotAnswered(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for name, tc := range map[string]struct {
		large func(context.Context) error
		why   string
	}{
		"refused": {func(context.Context) error { return &ort.Error{Message: "too large"} }, ""},
		"endless": {hang, "with a row of large values it does not answer within 1m0s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			sig := *rowsSignature(4)
			asked, _ := withRows(sig)
			got, err := tryRows(t.Context(), &oddWhenLarge{tc.large}, &asked)
			if err != nil || got.why != tc.why {
				t.Errorf("%s: %q, %v", name, got.why, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	leave := func(context.Context) error { cancel(); return ctx.Err() }
	asked, _ := withRows(*rowsSignature(4))
	if got, err := tryRows(ctx, &oddWhenLarge{leave}, &asked); err == nil {
		t.Errorf("cancelled: %q", got.why)
	}
}
