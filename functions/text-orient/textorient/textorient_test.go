package textorient_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/functions/text-orient/textorient"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// upsideDown answers every line with this probability of being upside down.
type upsideDown float32

func (p upsideDown) Run(_ context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	n := inputs[0].Shape[0]
	out := make([]float32, 0, 2*n)
	for range n {
		out = append(out, 1-float32(p), float32(p))
	}
	return []infer.Tensor{infer.NewTensor("p", []int64{n, 2}, out)}, nil
}

func (upsideDown) Info() *serve.ModelInfo { return &serve.ModelInfo{} }

func TestAnswer(t *testing.T) {
	t.Parallel()
	image := read(t, testdata, "line.png")
	for name, tc := range map[string]struct {
		p    upsideDown
		want textorient.Line
	}{
		"upright":        {0.25, textorient.Line{Orientation: 0, Score: 0.75}},
		"not sure":       {0.875, textorient.Line{Orientation: 0, Score: 0.125}},
		"upside down":    {0.9375, textorient.Line{Orientation: 180, Score: 0.9375}},
		"quite certain":  {1, textorient.Line{Orientation: 180, Score: 1}},
		"quite the same": {0.5, textorient.Line{Orientation: 0, Score: 0.5}},
	} {
		got, err := textorient.New(textorient.Options{}).Answer(t.Context(), serve.Payload{Body: image}, tc.p)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&textorient.Answer{Lines: []textorient.Line{tc.want}}, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAnswerForms(t *testing.T) {
	t.Parallel()
	image := base64.StdEncoding.EncodeToString(read(t, testdata, "line.png"))
	square := "[[0,0],[20,0],[20,20],[0,20]]"
	for name, tc := range map[string]struct {
		rest  string
		lines int
		field string // of the error
	}{
		"the whole image":     {"", 1, ""},
		"no lines":            {`,"polygons":[]`, 0, ""},
		"seven lines":         {`,"polygons":[` + square + `,` + square + `,` + square + `,` + square + `,` + square + `,` + square + `,` + square + `]`, 7, ""},
		"not its field":       {`,"orientations":[0]`, 0, "orientations"},
		"a polygon of points": {`,"polygons":[` + square + `,[0,0]]`, 0, "polygons[1][0]"},
	} {
		body := fmt.Appendf(nil, `{"image":%q%s}`, image, tc.rest)
		answer, err := textorient.New(textorient.Options{}).Answer(t.Context(), serve.Payload{ContentType: "application/json", Body: body}, upsideDown(0))
		if tc.field != "" {
			if p := problem.From(err); p == nil || len(p.Fields) != 1 || p.Fields[0].Field != tc.field {
				t.Errorf("%s: %v, want an error about %s", name, err, tc.field)
			}
			continue
		}
		got, ok := answer.(*textorient.Answer)
		if err != nil || !ok || got.Lines == nil || len(got.Lines) != tc.lines {
			t.Errorf("%s: %v: %v", name, answer, err)
		}
	}
}

func FuzzAnswerJSON(f *testing.F) {
	image := base64.StdEncoding.EncodeToString(read(f, testdata, "line.png"))
	for _, rest := range []string{"", `,"polygons":[[[0,0],[9,0],[9,4],[0,4]]]`, `,"polygons":{}`, `,"polygons":[[[0,0],[9,0],[9,4],["0",4]]]`} {
		f.Add(fmt.Appendf(nil, `{"image":%q%s}`, image, rest))
	}
	codec := textorient.New(textorient.Options{MaxPixels: 100_000})
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := codec.Answer(t.Context(), serve.Payload{ContentType: "application/json", Body: body}, upsideDown(0))
		if err != nil && problem.CodeOf(err) == problem.Internal {
			t.Fatal(err)
		}
	})
}
