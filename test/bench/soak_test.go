package main

import (
	"math"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestLineageKnowsWhichVersionsMayAnswer: those of now, those of a change under
// way, and those before it for as long as a change may take to arrive.
func TestLineageKnowsWhichVersionsMayAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLineage("x")
		may := func(want bool, version int) {
			t.Helper()
			if err := l.may(version, time.Now()); (err == nil) != want {
				t.Errorf("version %d: %v", version, err)
			}
		}
		if err := l.change([]int{1}, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		err := l.change([]int{2}, func() error {
			time.Sleep(time.Hour)
			may(true, 1)
			may(true, 2)
			may(false, 3)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(lag - time.Second)
		may(true, 1)
		time.Sleep(2 * time.Second)
		may(false, 1)
		may(true, 2)
	})
}

// TestQuestionsFindWrongAnswers of another version, of none, and older than one
// that was seen.
func TestQuestionsFindWrongAnswers(t *testing.T) {
	t.Parallel()
	l := newLineage("x")
	l.begin([]int{1, 2})
	var last int
	ask := func(want bool, version int, factor float32) {
		t.Helper()
		q := l.ask("", &last)
		a := &answer{version: strconv.Itoa(version)}
		for range q.input.Elements() {
			a.values = append(a.values, factor)
		}
		for i, x := range valuesOf(t, &q) {
			a.values[i] *= x
		}
		if err := q.check(a); (err == nil) != want {
			t.Errorf("version %d times %v: %v", version, factor, err)
		}
	}
	ask(true, 1, 1)
	ask(false, 1, 2)
	ask(false, 3, 3)
	last = 0
	ask(true, 2, 2)
	ask(false, 1, 1)
}

func TestRowsAreComparedOneByOne(t *testing.T) {
	t.Parallel()
	m := &fixed{answers: [][]float32{{1, 2}, {3, 4}}}
	nan := float32(math.NaN())
	for name, tc := range map[string]struct {
		got  []float32
		want bool
	}{
		"the same":      {[]float32{3, 4, 1, 2}, true},
		"nearly":        {[]float32{3.0001, 4, 1, 2}, true},
		"another row's": {[]float32{1, 2, 3, 4}, false},
		"no number":     {[]float32{3, 4, 1, nan}, false},
		"too few":       {[]float32{3, 4}, false},
	} {
		if err := m.compare([]int{1, 0}, tc.got); (err == nil) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func valuesOf(t *testing.T, q *question) []float32 {
	t.Helper()
	values, err := infer.Values[float32](&q.input)
	if err != nil {
		t.Fatal(err)
	}
	return values
}
