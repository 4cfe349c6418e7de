package textrecognize

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
)

func TestParseAlphabet(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		source string
		want   []string
	}{
		"plain":                {"a\nb", []string{"", "a", "b", " "}},
		"ended by a line":      {"a\nb\n", []string{"", "a", "b", " "}},
		"an ideographic space": {"\u3000\nb", []string{"", "\u3000", "b", " "}},
	} {
		got, err := parseAlphabet(tc.source)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, got.classes); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, err := parseAlphabet(""); problem.CodeOf(err) != problem.Internal {
		t.Errorf("no alphabet: %v", err)
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	chars, err := parseAlphabet("a\nb")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		steps []int     // the best class of each
		p     []float32 // and its probability
		want  Line
	}{
		"no steps":                  {nil, nil, Line{}},
		"only blanks":               {[]int{0, 0}, []float32{0.9, 0.9}, Line{}},
		"repeats merge":             {[]int{1, 1, 1, 2}, []float32{0.8, 0.9, 1, 0.6}, Line{"ab", 0.7}},
		"a blank parts repeats":     {[]int{1, 0, 1}, []float32{0.8, 1, 0.6}, Line{"aa", 0.7}},
		"spaces count":              {[]int{1, 3, 2}, []float32{0.9, 0.6, 0.9}, Line{"a b", 0.8}},
		"blanks weigh nothing":      {[]int{0, 2, 0}, []float32{0.3, 1, 0.3}, Line{"b", 1}},
		"probabilities are rounded": {[]int{1}, []float32{0.123456}, Line{"a", 0.12346}},
	} {
		var table []float32
		for i, class := range tc.steps {
			row := make([]float32, len(chars.classes))
			row[class] = tc.p[i]
			table = append(table, row...)
		}
		if diff := cmp.Diff(tc.want, chars.decode(table)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestBest(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 1; n < 200; n++ {
		p := make([]float32, n)
		for i := range p {
			p[i] = float32(rng.IntN(20))
		}
		want := 0
		for i, v := range p {
			if v > p[want] {
				want = i
			}
		}
		if i, v := best(p); i != want || v != p[want] {
			t.Fatalf("%v: %d (%g), want %d", p, i, v, want)
		}
	}
	if i, _ := best([]float32{float32(math.NaN()), 1, 2}); i < 0 || i > 2 {
		t.Errorf("NaN: %d", i)
	}
}

func BenchmarkDecode(b *testing.B) {
	const steps, classes = 40, 18710 // a line of 320 pixels
	a := &alphabet{classes: make([]string, classes)}
	p := make([]float32, steps*classes)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range p {
		p[i] = rng.Float32() / classes
	}
	b.SetBytes(int64(4 * len(p)))
	for b.Loop() {
		a.decode(p)
	}
}
