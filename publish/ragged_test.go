package publish

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// studied is a model's signature with its examples and batch axis.
func studied(t *testing.T, model runner, sig infer.Signature) infer.Signature {
	t.Helper()
	sig, err := findExamples(t.Context(), model, sig, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked, _ := withRows(sig)
	tried, err := tryRows(t.Context(), model, &asked)
	if err != nil || tried.why != "" {
		t.Fatalf("no batch axis: %s, %v", tried.why, err)
	}
	return tried.signature()
}

func TestProveRagged(t *testing.T) {
	t.Parallel()
	tokens := onnxtest.Identity(onnxtest.Float, "n", "t", 4)
	x := []Ragged{{Input: "x", Axis: 1}}
	text := []Ragged{{Input: "ids", Axis: 1}, {Input: "mask", Axis: 1}}
	in := func(pad float64) *infer.Ragged {
		return &infer.Ragged{Axis: 1, Pad: pad, Max: usualLength, Blank: true}
	}
	out := func(of string, divide int64) *infer.Ragged {
		return &infer.Ragged{Axis: 1, Of: of, Divide: divide}
	}
	for name, tc := range map[string]struct {
		model onnxtest.Model
		asked []Ragged
		want  map[string]*infer.Ragged // by input or output; the others have none
	}{
		"each token by itself":      {tokens, x, map[string]*infer.Ragged{"x": in(0), "y": out("x", 1)}},
		"another pad":               {tokens, []Ragged{{"x", 1, -7.5}}, map[string]*infer.Ragged{"x": in(-7.5), "y": out("x", 1)}},
		"whole numbers":             {onnxtest.Identity(onnxtest.Int32, "n", "t", 4), x, map[string]*infer.Ragged{"x": in(0), "y": out("x", 1)}},
		"half floats":               {onnxtest.Identity(onnxtest.Float16, "n", "t"), x, map[string]*infer.Ragged{"x": in(0), "y": out("x", 1)}},
		"every other token":         {onnxtest.EveryOther(4, 0), x, map[string]*infer.Ragged{"x": in(0), "y": out("x", 2)}},
		"a sum, padded with zeros":  {onnxtest.ReduceTokens("ReduceSum", 4), x, map[string]*infer.Ragged{"x": in(0)}},
		"a maximum, padded far low": {onnxtest.ReduceTokens("ReduceMax", 4), []Ragged{{"x", 1, -1e30}}, map[string]*infer.Ragged{"x": in(-1e30)}},
		"ids with their mask":       {onnxtest.Embed(5, 3), text, map[string]*infer.Ragged{"ids": in(0), "mask": in(0), "tokens": out("ids", 1)}},
		"a table of two":            {onnxtest.Embed(2, 3), text, map[string]*infer.Ragged{"ids": in(0), "mask": in(0), "tokens": out("ids", 1)}},
		"two lengths": {
			onnxtest.Two(onnxtest.EveryOther(4, 0), onnxtest.Embed(5, 3)),
			[]Ragged{{"b_ids", 1, 1}, {"x", 1, 0}, {"b_mask", 1, 0}},
			map[string]*infer.Ragged{"x": in(0), "y": out("x", 2), "b_ids": in(1), "b_mask": in(0), "b_tokens": out("b_ids", 1)},
		},
		"the other of two lengths, of equal ones": {
			onnxtest.Two(onnxtest.EveryOther(4, 0), onnxtest.Embed(5, 3)), x,
			map[string]*infer.Ragged{"x": in(0), "y": out("x", 2)},
		},
		"one of two lengths": {
			onnxtest.Two(onnxtest.EveryOther(4, 0), onnxtest.ReduceTokens("ReduceMean", 4)), x,
			map[string]*infer.Ragged{"x": in(0), "y": out("x", 2)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := tc.model.Write(t)
			s := load(t, path)
			sig, note, err := proveRagged(t.Context(), s, studied(t, s, *s.Signature()), tc.asked, known{served: optimised(t, path)})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]*infer.Ragged{}
			for _, spec := range append(sig.Inputs, sig.Outputs...) {
				if spec.Ragged != nil {
					got[spec.Name] = spec.Ragged
				}
			}
			if !strings.Contains(note, "up to 1024") {
				t.Errorf("push notes %q", note)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("ragged (-want +got):\n%s", diff)
			}
			for _, spec := range append(s.Signature().Inputs, s.Signature().Outputs...) {
				if spec.Ragged != nil {
					t.Errorf("the session's own signature changed in %s", spec.Name)
				}
			}
		})
	}
}

func TestProveRaggedRefuses(t *testing.T) {
	t.Parallel()
	tokens := onnxtest.Identity(onnxtest.Float, "n", "t", 4)
	x := []Ragged{{Input: "x", Axis: 1}}
	square := onnxtest.Identity(onnxtest.Float, "n", "t", "t")
	size := onnxtest.Two(tokens, onnxtest.Identity(onnxtest.Float, "n", 1))
	size.Graph.Nodes = append(size.Graph.Nodes, onnxtest.Node{Op: "Size", Inputs: []string{"row"}, Outputs: []string{"size"}})
	size.Graph.Nodes = append(size.Graph.Nodes, onnxtest.Node{Op: "Gather", Inputs: []string{"x", "zero"}, Outputs: []string{"row"}})
	size.Graph.Initializers = append(size.Graph.Initializers, onnxtest.Int64s("zero", []int64{1}, 0))
	size.Graph.Outputs = append(size.Graph.Outputs, onnxtest.Value{Name: "size", Element: onnxtest.Int64, Shape: []any{}})
	outer := onnxtest.Identity(onnxtest.Float, "n", "t")
	outer.Graph.Nodes = []onnxtest.Node{
		{Op: "Unsqueeze", Inputs: []string{"x", "one"}, Outputs: []string{"a"}},
		{Op: "Unsqueeze", Inputs: []string{"x", "two"}, Outputs: []string{"b"}},
		{Op: "Mul", Inputs: []string{"a", "b"}, Outputs: []string{"y"}},
	}
	outer.Graph.Initializers = []onnxtest.Tensor{onnxtest.Int64s("one", []int64{1}, 1), onnxtest.Int64s("two", []int64{1}, 2)}
	outer.Graph.Outputs[0].Shape = []any{"n", "t", "t"}
	for name, tc := range map[string]struct {
		model onnxtest.Model
		asked []Ragged
		want  string
	}{
		"a mean":                     {onnxtest.ReduceTokens("ReduceMean", 4), x, `padded with 0 to 31, output "y" is off by`},
		"a maximum, padded with 0":   {onnxtest.ReduceTokens("ReduceMax", 4), x, `along axis 1 of input "x", padded with 0`},
		"a minimum, padded with 0":   {onnxtest.ReduceTokens("ReduceMin", 4), x, `output "y" is off by`},
		"a sum, padded with ones":    {onnxtest.ReduceTokens("ReduceSum", 4), []Ragged{{"x", 1, 1}}, `output "y" is off by`},
		"a mask padded with ones":    {onnxtest.Embed(5, 3), []Ragged{{"ids", 1, 0}, {"mask", 1, 1}}, `output "whole" is off by`},
		"one of two that go along":   {onnxtest.Embed(5, 3), []Ragged{{"ids", 1, 0}}, "name every input that shares the length"},
		"rounded down":               {onnxtest.EveryOther(4, 1), x, "which is no division by a whole number, rounded up"},
		"two axes that follow":       {outer, x, "axes 1 and 2 both follow"},
		"an output with no row":      {size, x, `output "size" is off by what is no rounding`},
		"no such input":              {tokens, []Ragged{{"z", 1, 0}}, `no input "z"; it has x`},
		"twice":                      {tokens, append(x, x...), "named twice"},
		"too many":                   {tokens, make([]Ragged, 7), "at most 6"},
		"no such axis":               {tokens, []Ragged{{"x", 3, 0}}, "no axis 3"},
		"a negative axis":            {tokens, []Ragged{{"x", -1, 0}}, "no axis -1"},
		"the batch axis":             {tokens, []Ragged{{"x", 0, 0}}, "is the batch axis"},
		"a fixed axis":               {tokens, []Ragged{{"x", 2, 0}}, "is always 4"},
		"strings":                    {onnxtest.Identity(onnxtest.String, "n", "t"), x, "BYTES"},
		"a pad that is no number":    {tokens, []Ragged{{"x", 1, math.NaN()}}, "NaN is no FP32"},
		"half an integer":            {onnxtest.Identity(onnxtest.Int64, "n", "t"), []Ragged{{"x", 1, 0.5}}, "0.5 is no INT64"},
		"an optional input":          {onnxtest.Offset(4, 1), []Ragged{{"offset", 0, 0}}, "is optional"},
		"axes that are always equal": {square, x, ""},
		"a maximum of vectors, padded with zeros": {
			pooled(50, func(id int) bool { return true }), []Ragged{{"x", 1, 0}}, `output "y" is off by`,
		},
		"a maximum that one id alone has below zero": {
			pooled(500, func(id int) bool { return id == 433 }), []Ragged{{"x", 1, 0}}, `padded with 0 to 6, output "y" is off by`,
		},
		"a maximum that the last id alone has below zero": {
			pooled(50, func(id int) bool { return id == 49 }), []Ragged{{"x", 1, 0}}, `padded with 0 to 6, output "y" is off by`,
		},
		"hidden numbers whose maximum is below zero": {hidden(), x, `output "y" is off by`},
		"by its length, where it is long":            {byLength(700), x, `output "y" is off by`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := tc.model.Write(t)
			s := load(t, path)
			_, _, err := proveRagged(t.Context(), s, studied(t, s, *s.Signature()), tc.asked, known{served: optimised(t, path)})
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			t.Log(err)
		})
	}
}

func TestFollowed(t *testing.T) {
	t.Parallel()
	one := func(sizes ...int64) [][]int64 {
		var shapes [][]int64
		for _, n := range sizes {
			shapes = append(shapes, []int64{1, n})
		}
		return shapes
	}
	for name, tc := range map[string]struct {
		shapes    [][]int64
		lengths   []int64
		axis      int
		low, high int64
		want      string // "" is no error
	}{
		"the length itself":      {one(8, 9, 24), []int64{8, 9, 24}, 1, 1, 1, ""},
		"always one size":        {one(5, 5), []int64{8, 16}, -1, 0, 0, ""},
		"an eighth":              {one(2, 4, 6), []int64{16, 32, 48}, 1, 8, 9, ""}, // or a ninth
		"an eighth, seen longer": {one(2, 4, 6, 9), []int64{16, 32, 48, 72}, 1, 8, 8, ""},
		"a third, rounded up":    {one(3, 4, 6), []int64{8, 10, 16}, 1, 3, 3, ""},
		"few sizes":              {one(1, 1, 1, 1, 2, 2), []int64{128, 129, 131, 200, 255, 384}, 1, 200, 254, ""},
		"twice the length":       {one(16, 32), []int64{8, 16}, 0, 0, 0, "no division"},
		"one less":               {one(7, 15), []int64{8, 16}, 0, 0, 0, "no division"},
		"another number of axes": {[][]int64{{1, 8}, {1, 8, 1}}, []int64{8, 16}, 0, 0, 0, "2 axes with one length and 3"},
		"empty":                  {one(0, 1), []int64{8, 16}, 0, 0, 0, "no division"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var trials []seen
			for i := range tc.shapes {
				trials = append(trials, seen{tc.lengths[i], [][]int64{tc.shapes[i]}})
			}
			axis, low, high, err := followed(trials, 0)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				return
			}
			if err != nil || axis != tc.axis || low != tc.low || high != tc.high {
				t.Errorf("axis %d by %d to %d, %v", axis, low, high, err)
			}
		})
	}
}

// framed is a model of rows x [n, t] whose output y [n, s] has frames, each of
// which is the sum of the row's part that it is of.
type framed struct {
	frames  func(length int64) int64
	per     int64 // of the row to a frame; 0 parts it evenly
	refuse  func(length int64) bool
	entries float32            // that its table has; 0 takes any number
	odd     func(float32) bool // numbers that make the row's length part of its answer
}

func (m *framed) Run(_ context.Context, _ memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	x := inputs[0]
	rows, length := x.Shape[0], x.Shape[1]
	if m.refuse != nil && m.refuse(length) {
		return nil, nil, fmt.Errorf("no length of %d", length)
	}
	values, err := infer.Values[float32](&x)
	if err != nil {
		return nil, nil, err
	}
	size := m.frames(length)
	y := make([]float32, rows*size)
	for i, v := range values {
		if m.entries > 0 && (v < 0 || v >= m.entries) {
			return nil, nil, fmt.Errorf("%v is no entry", v)
		}
		row, at := int64(i)/length, int64(i)%length
		if m.per > 0 {
			at /= m.per
		} else {
			at = at * size / length
		}
		if at < size {
			y[row*size+at] += v
		}
		if size > 0 && m.odd != nil && m.odd(v) {
			y[row*size] += float32(length)
		}
	}
	return []infer.Tensor{infer.NewTensor("y", []int64{rows, size}, y)}, func() {}, nil
}

func framedSignature() infer.Signature {
	axis := 0
	return infer.Signature{
		Inputs:    []infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{-1, -1}, Example: []int64{1, 8}}},
		Outputs:   []infer.TensorSpec{{Name: "y", DataType: infer.FP32, Shape: []int64{-1, -1}}},
		BatchAxis: &axis,
	}
}

// TestRulesAreReadOffEnoughLengths holds that no rule is taken for an output's
// length that only short ones seem to follow.
func TestRulesAreReadOffEnoughLengths(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		model  framed
		change func(*infer.Signature)
		want   string // "" follows by divide
		divide int64
	}{
		"divided and rounded":      {model: framed{frames: func(n int64) int64 { return max((n+80)/160, 1) }}, want: "no division by a whole number"},
		"divided, and one more":    {model: framed{frames: func(n int64) int64 { return n/160 + 1 }}, want: "no division by a whole number"},
		"divided and rounded down": {model: framed{frames: func(n int64) int64 { return max(n/7, 1) }}, want: "no division by a whole number"},
		"windows that overlap":     {model: framed{frames: func(n int64) int64 { return max((n-400)/160+1, 1) }}, want: "no division by a whole number"},
		"never another size":       {model: framed{frames: func(int64) int64 { return 3 }}, want: "came out as [1 3] for all"},
		"another size far beyond":  {model: framed{frames: func(n int64) int64 { return 1 + n/(1<<21) }}, want: "came out as [1 1] for all"},
		"two divisors": {
			model:  framed{frames: func(n int64) int64 { return (n + 63) / 64 }, refuse: func(n int64) bool { return n%64 > 0 }},
			change: func(sig *infer.Signature) { sig.Inputs[0].Example[1], sig.Inputs[0].MaxShape = 64, []int64{-1, 640} },
			want:   "distinguishes them",
		},
		"a stride":                   {model: framed{frames: func(n int64) int64 { return n / 32 }, per: 32, refuse: func(n int64) bool { return n%32 > 0 }}, divide: 32},
		"few sizes until it is long": {model: framed{frames: func(n int64) int64 { return (n + 999) / 1000 }, per: 1000}, divide: 1000},
		"numbers of its table that show it": {
			model: framed{frames: func(n int64) int64 { return n }, per: 1, entries: 8, odd: func(v float32) bool { return v > 5 }},
			want:  "padding changes the model's answers",
		},
		"a table of two": {
			model: framed{frames: func(n int64) int64 { return n }, per: 1, entries: 2, odd: func(v float32) bool { return v > 2 }}, divide: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sig := framedSignature()
			if tc.change != nil {
				tc.change(&sig)
			}
			sig, _, err := proveRagged(t.Context(), &tc.model, sig, []Ragged{{Input: "x", Axis: 1}}, known{})
			if tc.want == "" {
				if err != nil || sig.Outputs[0].Ragged == nil || sig.Outputs[0].Ragged.Divide != tc.divide {
					t.Errorf("%+v, %v", sig.Outputs[0].Ragged, err)
				}
				return
			}
			if problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			t.Log(err)
		})
	}
}

// pooled looks ids up in a table and gives the maximum of each column: id 0 is
// zeros, and others have a number below zero where asked.
func pooled(entries int, below func(id int) bool) onnxtest.Model {
	keep := int64(0)
	m := onnxtest.Identity(onnxtest.Int64, "n", "t")
	values := make([]float32, 3*entries)
	for i := 3; i < len(values); i++ {
		values[i] = float32(1 + i%7)
		if i%3 == 1 && below(i/3) {
			values[i] = -values[i]
		}
	}
	m.Graph.Nodes = []onnxtest.Node{
		{Op: "Gather", Inputs: []string{"table", "x"}, Outputs: []string{"vectors"}},
		{Op: "ReduceMax", Inputs: []string{"vectors", "one"}, Outputs: []string{"y"}, Attributes: []onnxtest.Attribute{{Name: "keepdims", Int: &keep}}},
	}
	m.Graph.Initializers = []onnxtest.Tensor{onnxtest.Floats("table", []int64{int64(entries), 3}, values...), onnxtest.Int64s("one", []int64{1}, 1)}
	m.Graph.Outputs = []onnxtest.Value{{Name: "y", Element: onnxtest.Float, Shape: []any{"n", 3}}}
	return m
}

// hidden gives the maximum over tokens of what tokens of four numbers make: below
// zero only where the first is above zero and the second below.
func hidden() onnxtest.Model {
	keep := int64(0)
	m := onnxtest.Identity(onnxtest.Float, "n", "t", 4)
	m.Graph.Nodes = []onnxtest.Node{
		{Op: "MatMul", Inputs: []string{"x", "w"}, Outputs: []string{"h"}},
		{Op: "ReduceMax", Inputs: []string{"h", "one"}, Outputs: []string{"y"}, Attributes: []onnxtest.Attribute{{Name: "keepdims", Int: &keep}}},
	}
	m.Graph.Initializers = []onnxtest.Tensor{onnxtest.Floats("w", []int64{4, 1}, -1, 1, 0, 0), onnxtest.Int64s("one", []int64{1}, 1)}
	m.Graph.Outputs = []onnxtest.Value{{Name: "y", Element: onnxtest.Float, Shape: []any{"n", 1}}}
	return m
}

// byLength divides "x" of [n, t] by its length, where that is beyond some.
func byLength(beyond int64) onnxtest.Model {
	float := int64(onnxtest.Float)
	m := onnxtest.Identity(onnxtest.Float, "n", "t")
	m.Graph.Nodes = []onnxtest.Node{
		{Op: "Shape", Inputs: []string{"x"}, Outputs: []string{"shape"}},
		{Op: "Gather", Inputs: []string{"shape", "one"}, Outputs: []string{"length"}},
		{Op: "Max", Inputs: []string{"length", "beyond"}, Outputs: []string{"by"}},
		{Op: "Cast", Inputs: []string{"by"}, Outputs: []string{"divisor"}, Attributes: []onnxtest.Attribute{{Name: "to", Int: &float}}},
		{Op: "Div", Inputs: []string{"x", "divisor"}, Outputs: []string{"y"}},
	}
	m.Graph.Initializers = []onnxtest.Tensor{onnxtest.Int64s("one", []int64{1}, 1), onnxtest.Int64s("beyond", []int64{1}, beyond)}
	return m
}

// TestPaddingIsProvenUpTo holds which length a rule is proven up to: the bound
// that the publisher sets, the longest that the model runs with, or what is usual.
func TestPaddingIsProvenUpTo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		refuse func(int64) bool // lengths that the model does not run with
		most   []int64
		total  int64 // elements
		want   int64
	}{
		"what is usual":                 {want: 1024},
		"the publisher's bound":         {most: []int64{-1, 300}, want: 300},
		"a longer one":                  {most: []int64{-1, 5000}, want: 5000},
		"no bound on the length":        {most: []int64{4, -1}, want: 1024},
		"a bound on elements":           {total: 200, want: 200},
		"as many positions as it has":   {refuse: func(n int64) bool { return n > 512 }, want: 512},
		"as far as rows of a step have": {refuse: func(n int64) bool { return n%24 > 0 }, most: []int64{-1, 500}, want: 480},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := framed{frames: func(n int64) int64 { return n }, per: 1, refuse: tc.refuse}
			sig := framedSignature()
			sig.Inputs[0].MaxShape, sig.MaxElements = tc.most, tc.total
			if tc.refuse != nil && tc.refuse(8) {
				sig.Inputs[0].Example[1] = 24
			}
			sig, note, err := proveRagged(t.Context(), &model, sig, []Ragged{{Input: "x", Axis: 1}}, known{})
			if err != nil {
				t.Fatal(err)
			}
			if got := sig.Inputs[0].Ragged.Max; got != tc.want || !strings.Contains(note, fmt.Sprintf(`axis 1 of input "x" up to %d`, tc.want)) {
				t.Errorf("proven up to %d, expected %d; push notes %q", got, tc.want, note)
			}
		})
	}
}

// TestOneRuleOfALength holds that a model that answers by its length from
// somewhere on is published only with bounds below.
func TestOneRuleOfALength(t *testing.T) {
	t.Parallel()
	s := load(t, byLength(700).Write(t))
	for most, fine := range map[int64]bool{600: true, 700: true, 800: false, 1500: false} {
		sig := studied(t, s, *s.Signature())
		sig.Inputs[0].MaxShape = []int64{-1, most}
		sig, _, err := proveRagged(t.Context(), s, sig, []Ragged{{Input: "x", Axis: 1}}, known{})
		if (err == nil) != fine || fine && sig.Inputs[0].Ragged.Max != most {
			t.Errorf("bounded to %d: %v", most, err)
		}
	}
}

// TestClassesAreTheServers holds that the lengths that are tried together are
// those that a server joins.
func TestClassesAreTheServers(t *testing.T) {
	t.Parallel()
	var tops []int64
	for top := int64(6); top < 200; top = nextClass(top) {
		tops = append(tops, top)
		if previousClass(nextClass(top)) != top {
			t.Errorf("before %d comes %d, expected %d", nextClass(top), previousClass(nextClass(top)), top)
		}
	}
	if diff := cmp.Diff([]int64{6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192}, tops); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
