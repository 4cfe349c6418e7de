package textrecognize_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/functions/text-recognize/textrecognize"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// scribe reads every line as "a". It remembers the shapes it was run with, and
// how many outputs it had out at once.
type scribe struct {
	classes int64

	mu        sync.Mutex
	shapes    [][]int64
	out, most int
}

func (s *scribe) Run(_ context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shape := inputs[0].Shape
	s.shapes = append(s.shapes, slices.Clone(shape))
	s.out++
	s.most = max(s.most, s.out)
	out := make([]float32, shape[0]*2*s.classes)
	for i := range shape[0] {
		out[i*2*s.classes+1] = 0.75
	}
	return []infer.Tensor{infer.NewTensor("p", []int64{shape[0], 2, s.classes}, out)}, nil
}

func (s *scribe) Release([]infer.Tensor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out--
}

func (*scribe) Info() *serve.ModelInfo {
	return &serve.ModelInfo{Metadata: map[string]string{"character": "a\nb"}}
}

func asJSON(t testing.TB, rest string) serve.Payload {
	t.Helper()
	image := base64.StdEncoding.EncodeToString(read(t, pages, "page.png")) // 1000×700
	return serve.Payload{ContentType: "application/json", Body: fmt.Appendf(nil, `{"image":%q%s}`, image, rest)}
}

// box is the polygon of an upright box.
func box(x, y, w, h int) string {
	return fmt.Sprintf("[[%d,%d],[%d,%d],[%d,%d],[%d,%d]]", x, y, x+w, y, x+w, y+h, x, y+h)
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	a := textrecognize.Line{Text: "a", Score: 0.75}
	for name, tc := range map[string]struct {
		rest   string
		lines  int
		shapes [][]int64
	}{
		"the whole image":    {"", 1, [][]int64{{1, 3, 48, 320}}},
		"null is absent":     {`,"polygons":null,"orientations":null`, 1, [][]int64{{1, 3, 48, 320}}},
		"no polygons":        {`,"polygons":[]`, 0, nil},
		"a word":             {`,"polygons":[` + box(10, 10, 40, 20) + `],"orientations":[180]`, 1, [][]int64{{1, 3, 48, 320}}},
		"a long line":        {`,"polygons":[` + box(0, 0, 900, 20) + `]`, 1, [][]int64{{1, 3, 48, 2176}}},
		"longer than 200:1":  {`,"polygons":[` + box(0, 0, 1000, 2) + `]`, 1, [][]int64{{1, 3, 48, 9600}}},
		"upward":             {`,"polygons":[` + box(0, 0, 20, 400) + `]`, 1, [][]int64{{1, 3, 48, 960}}},
		"by width":           {`,"polygons":[` + strings.Join([]string{box(0, 0, 400, 20), box(0, 0, 40, 20), box(0, 0, 430, 20), box(0, 0, 50, 20)}, ",") + `]`, 4, [][]int64{{2, 3, 48, 320}, {2, 3, 48, 1056}}},
		"seven are too many": {`,"polygons":[` + strings.Repeat(box(0, 0, 40, 20)+",", 6) + box(0, 0, 40, 20) + `]`, 7, [][]int64{{6, 3, 48, 320}, {1, 3, 48, 320}}},
	} {
		model := &scribe{classes: 4}
		got := answer(t, textrecognize.New(textrecognize.Options{}), model, asJSON(t, tc.rest))
		if diff := cmp.Diff(slices.Repeat([]textrecognize.Line{a}, tc.lines), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		byWidth := cmpopts.SortSlices(func(a, b []int64) bool { return a[3] < b[3] || a[3] == b[3] && a[0] > b[0] })
		if diff := cmp.Diff(tc.shapes, model.shapes, byWidth); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestAnswerHoldsFewOutputs reads a thousand lines: each batch's probabilities,
// megabytes of them, are given back before the next ones come.
func TestAnswerHoldsFewOutputs(t *testing.T) {
	t.Parallel()
	model := &scribe{classes: 4}
	rest := `,"polygons":[` + strings.Repeat(box(0, 0, 40, 20)+",", 999) + box(0, 0, 40, 20) + `]`
	if got := answer(t, textrecognize.New(textrecognize.Options{}), model, asJSON(t, rest)); len(got) != 1000 {
		t.Fatalf("%d lines", len(got))
	}
	if model.out != 0 || model.most > 4 {
		t.Errorf("%d outputs held at the end, %d at once", model.out, model.most)
	}
}

func TestAnswerRefuses(t *testing.T) {
	t.Parallel()
	good := box(10, 10, 40, 20)
	for name, tc := range map[string]struct {
		rest, field string
	}{
		"three corners":           {`,"polygons":[` + good + `,[[0,0],[5,0],[5,5]]]`, "polygons[1]"},
		"five corners":            {`,"polygons":[[[0,0],[5,0],[5,5],[2,6],[0,5]]]`, "polygons[0]"},
		"a corner of one number":  {`,"polygons":[[[0],[5,0],[5,5],[0,5]]]`, "polygons[0][0]"},
		"a corner beyond numbers": {`,"polygons":[[[1e999,0],[5,0],[5,5],[0,5]]]`, "polygons[0][0][0]"},
		"far outside":             {`,"polygons":[` + good + "," + good + "," + good + "," + box(10, 2000, 40, 20) + `]`, "polygons[3]"},
		"counter-clockwise":       {`,"polygons":[[[10,10],[10,30],[50,30],[50,10]]]`, "polygons[0]"},
		"a point":                 {`,"polygons":[` + box(10, 10, 0, 0) + `]`, "polygons[0]"},
		"the page over and over":  {`,"polygons":[` + strings.Repeat(box(0, 0, 1000, 700)+",", 9) + good + `]`, "polygons[5]"},
		"too many":                {`,"polygons":[` + strings.Repeat(good+",", 1000) + good + `]`, "polygons"},
		"polygons of text":        {`,"polygons":"all"`, "polygons"},
		"fewer orientations":      {`,"polygons":[` + good + `],"orientations":[]`, "orientations"},
		"more orientations":       {`,"polygons":[` + good + `],"orientations":[0,0]`, "orientations"},
		"ninety degrees":          {`,"polygons":[` + good + `],"orientations":[90]`, "orientations[0]"},
		"a fraction":              {`,"polygons":[` + good + `],"orientations":[0.5]`, "orientations[0]"},
		"orientation as a string": {`,"polygons":[` + good + `],"orientations":["0"]`, "orientations[0]"},
		"two for the whole image": {`,"orientations":[0,0]`, "orientations"},
		"an unknown field":        {`,"polygon":[]`, "polygon"},
		"polygons named twice":    {`,"polygons":[],"polygons":[]`, "polygons"},
	} {
		_, err := textrecognize.New(textrecognize.Options{}).Answer(t.Context(), asJSON(t, tc.rest), &scribe{classes: 4})
		var p *problem.Error
		if !errors.As(err, &p) || p.Code != problem.InvalidArgument {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(p.Fields) != 1 || p.Fields[0].Field != tc.field {
			t.Errorf("%s: fields %v, want %s", name, p.Fields, tc.field)
		}
	}
	_, err := textrecognize.New(textrecognize.Options{}).Answer(t.Context(), asJSON(t, ""), &scribe{classes: 9})
	if problem.CodeOf(err) != problem.Internal {
		t.Errorf("an alphabet of another model: %v", err)
	}
}

func FuzzAnswerJSON(f *testing.F) {
	image := base64.StdEncoding.EncodeToString(read(f, testdata, "thin.png"))
	for _, rest := range []string{"", `,"polygons":[[[0,0],[9,0],[9,4],[0,4]]],"orientations":[180]`, `,"polygons":[[[0,0],[9,0],[9,4],[-3,4]]]`, `,"polygons":[[1,2]]`} {
		f.Add(fmt.Appendf(nil, `{"image":%q%s}`, image, rest))
	}
	codec := textrecognize.New(textrecognize.Options{MaxPixels: 10_000})
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := codec.Answer(t.Context(), serve.Payload{ContentType: "application/json", Body: body}, &scribe{classes: 4})
		if err != nil && problem.CodeOf(err) == problem.Internal {
			t.Fatal(err)
		}
	})
}

// still answers from the shapes alone, so that the codec's own cost shows.
type still struct {
	serve.Runner

	classes int64
}

func (s still) Run(_ context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	shape := []int64{inputs[0].Shape[0], inputs[0].Shape[3] / 8, s.classes}
	return []infer.Tensor{{Name: "p", DataType: infer.FP32, Shape: shape, Data: make([]byte, 4*shape[0]*shape[1]*shape[2])}}, nil
}

// BenchmarkAnswer measures a page's lines with the model and with none: the
// second is what the codec itself costs.
func BenchmarkAnswer(b *testing.B) {
	model := codectest.Open(b, "../../../.deps/models/text-recognize/"+modelFile)
	in := form(b, "page.png", golden(b).Pages["page.png"])
	codec := textrecognize.New(textrecognize.Options{})
	for name, m := range map[string]serve.Runner{"model": model, "codec alone": still{model, 18710}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				answer(b, codec, m, in)
			}
		})
	}
}

// TestInputsHoldNothingFromBefore holds that each value of the memory that is
// reused for lines of other widths is written.
func TestInputsHoldNothingFromBefore(t *testing.T) {
	t.Parallel()
	model := &codectest.Poisoner{Runner: &scribe{classes: 4}}
	c := textrecognize.New(textrecognize.Options{})
	for range 8 { // a pool may forget what it was given
		for _, name := range []string{"long.png", "short.png", "thin.png", "line.png"} {
			answer(t, c, model, serve.Payload{Body: read(t, testdata, name)})
		}
		answer(t, c, model, asJSON(t, `,"polygons":[[[0,0],[900,0],[900,40],[0,40]],[[0,50],[300,50],[300,90],[0,90]],[[0,100],[40,100],[40,140],[0,140]]]`))
	}
	if model.Unwritten > 0 {
		t.Errorf("%d values of inputs were from before", model.Unwritten)
	}
}
