package textimage_test

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/codec/imaging"
	"github.com/modelserveai/modelserve/functions/internal/textimage"
	"github.com/modelserveai/modelserve/functions/internal/warp"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/serve"
)

func TestBudgetReusesWhatIsLetGo(t *testing.T) {
	t.Parallel()
	var asked []int64
	in := serve.Payload{Reserve: func(_ context.Context, n int64) error {
		asked = append(asked, n)
		return nil
	}}
	budget := textimage.NewBudget(in)
	reserve := func(n int64) {
		t.Helper()
		if err := budget.Reserve(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	reserve(100)
	budget.Keep(30)
	reserve(50) // within the 70 that were let go
	reserve(40) // twenty more than there are
	if diff := cmp.Diff([]int64{100, 20}, asked); diff != "" {
		t.Error(diff)
	}
}

// TestBudgetReturnsWhatIsLetGo holds that what is let go of goes back where that is
// asked for, and is asked for again.
func TestBudgetReturnsWhatIsLetGo(t *testing.T) {
	t.Parallel()
	var held int64
	budget := textimage.NewBudget(serve.Payload{
		Reserve: func(_ context.Context, n int64) error { held += n; return nil },
		Return:  func(n int64) { held -= n },
	})
	for _, step := range []struct{ reserve, keep, held int64 }{{100, 30, 30}, {50, 80, 80}, {0, 10, 10}} {
		if err := budget.Reserve(t.Context(), step.reserve); err != nil {
			t.Fatal(err)
		}
		if budget.Keep(step.keep); held != step.held {
			t.Errorf("%d bytes are held, expected %d", held, step.held)
		}
	}
}

func TestDecodeTakesTheWholeBody(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 5, 4))); err != nil {
		t.Fatal(err)
	}
	in := serve.Payload{Body: b.Bytes()}
	m, err := textimage.Decode(t.Context(), in, textimage.NewBudget(in), nil, textimage.Options{})
	if err != nil || m.Width != 5 || m.Height != 4 {
		t.Fatalf("%v: %v", m, err)
	}
	_, err = textimage.Decode(t.Context(), in, textimage.NewBudget(in), nil, textimage.Options{MaxPixels: 19})
	if p := problem.From(err); p == nil || p.Code != problem.PayloadTooLarge || p.Fields[0].Field != "body" {
		t.Errorf("got %v", err)
	}
}

// TestCut cuts a picture whose left half is dark and whose top is light.
func TestCut(t *testing.T) {
	t.Parallel()
	m := imaging.New(40, 30)
	for y := range m.Height {
		for x := range 3 * m.Width {
			m.Row(y)[x] = uint8(100*(x/60) + y)
		}
	}
	cut := func(polygons textimage.Polygons, orientations []int) *textimage.Lines {
		t.Helper()
		lines, err := textimage.Cut(t.Context(), textimage.NewBudget(serve.Payload{}), m, warp.NewWarper(), polygons, orientations, 1)
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	upright := [4][2]float64{{0, 0}, {40, 0}, {40, 10}, {0, 10}}
	upward := [4][2]float64{{0, 0}, {10, 0}, {10, 30}, {0, 30}}
	for name, tc := range map[string]struct {
		lines         *textimage.Lines
		w, h          int
		first, across uint8 // the first pixel, and the last of its row
	}{
		"the whole image":            {cut(nil, nil), 40, 30, 0, 100},
		"the whole image turned":     {cut(nil, []int{180}), 40, 30, 129, 29},
		"a line":                     {cut(textimage.Polygons{upright}, nil), 40, 10, 0, 100},
		"a line turned":              {cut(textimage.Polygons{upright}, []int{180}), 40, 10, 109, 9},
		"an upward line, from below": {cut(textimage.Polygons{upward}, nil), 30, 10, 0, 29},
	} {
		w, h := tc.lines.Size(0)
		got := tc.lines.Image(0)
		if w != tc.w || h != tc.h || got.Width != w || got.Height != h {
			t.Errorf("%s: %d×%d, image %d×%d, want %d×%d", name, w, h, got.Width, got.Height, tc.w, tc.h)
			continue
		}
		if row := got.Row(0); row[0] != tc.first || row[len(row)-1] != tc.across {
			t.Errorf("%s: from %d to %d, want %d to %d", name, row[0], row[len(row)-1], tc.first, tc.across)
		}
	}
}

// TestCutReservesTheCopiesThatAreThereAtOnce holds that lines take what their copies do,
// in pixels of 3 bytes, and a picture that is read as it is nothing.
func TestCutReservesTheCopiesThatAreThereAtOnce(t *testing.T) {
	t.Parallel()
	m := imaging.New(40, 30)
	upright := [4][2]float64{{0, 0}, {40, 0}, {40, 10}, {0, 10}} // 400 pixels
	upward := [4][2]float64{{0, 0}, {10, 0}, {10, 30}, {0, 30}}  // 300
	for name, tc := range map[string]struct {
		polygons     textimage.Polygons
		orientations []int
		atOnce       int
		pixels       int64
	}{
		"the whole picture":           {nil, nil, 1, 0},
		"the whole picture, turned":   {nil, []int{180}, 1, 1200},
		"a line":                      {textimage.Polygons{upright}, nil, 1, 400},
		"a line, turned":              {textimage.Polygons{upright}, []int{180}, 1, 800},
		"an upward line":              {textimage.Polygons{upward}, nil, 1, 600},
		"an upward line, turned":      {textimage.Polygons{upward}, []int{180}, 1, 600},
		"the largest of several":      {textimage.Polygons{upright, upward, upright}, nil, 1, 600},
		"two of several at once":      {textimage.Polygons{upright, upward, upright}, nil, 2, 1000},
		"more at once than there are": {textimage.Polygons{upright, upward}, nil, 4, 1000},
		"no lines":                    {textimage.Polygons{}, nil, 4, 0},
	} {
		var got int64
		in := serve.Payload{Reserve: func(_ context.Context, n int64) error {
			got += n
			return nil
		}}
		if _, err := textimage.Cut(t.Context(), textimage.NewBudget(in), m, warp.NewWarper(), tc.polygons, tc.orientations, tc.atOnce); err != nil || got != 3*tc.pixels {
			t.Errorf("%s: %d bytes, %v; want %d", name, got, err, 3*tc.pixels)
		}
	}
}
