package textdetect_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/functions/text-detect/textdetect"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// mapOf answers every image with a map of one value; a negative one is an
// answer of another shape.
type mapOf float32

func (v mapOf) Run(_ context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	if v < 0 {
		return []infer.Tensor{infer.NewTensor("m", []int64{1, 1, 2, 2}, make([]float32, 4))}, nil
	}
	shape := []int64{1, 1, inputs[0].Shape[2], inputs[0].Shape[3]}
	values := make([]float32, shape[2]*shape[3])
	for i := range values {
		values[i] = float32(v)
	}
	return []infer.Tensor{infer.NewTensor("m", shape, values)}, nil
}

func (mapOf) Info() *serve.ModelInfo { return &serve.ModelInfo{} }

// TestInputsHoldNothingFromBefore holds that each value of the memory that is
// reused for pages of other sizes is written.
func TestInputsHoldNothingFromBefore(t *testing.T) {
	t.Parallel()
	model := &codectest.Poisoner{Runner: mapOf(0)}
	c := textdetect.New(textdetect.Options{})
	for range 4 { // a pool may forget what it was given
		for _, name := range []string{"large.png", "thin.png", "wide.png", "column.png", "small.bmp", "transparent.png"} {
			if _, err := c.Answer(t.Context(), serve.Payload{Body: page(t, name)}, model); err != nil {
				t.Fatal(err)
			}
		}
	}
	if model.Unwritten > 0 {
		t.Errorf("%d values of inputs were from before", model.Unwritten)
	}
}

func page(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testdata, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	blank := page(t, "blank.png")
	inJSON := `{"image":"` + base64.StdEncoding.EncodeToString(blank) + `"}`
	for name, tc := range map[string]struct {
		in    serve.Payload
		model mapOf
		want  string
	}{
		"nothing found": {serve.Payload{Body: blank}, 0, `{"width":320,"height":240,"boxes":[]}`},
		"JSON":          {serve.Payload{ContentType: "application/json", Body: []byte(inJSON)}, 0, `{"width":320,"height":240,"boxes":[]}`},
		"all of it":     {serve.Payload{ContentType: "image/bmp", Body: page(t, "small.bmp")}, 1, `{"width":420,"height":150,"boxes":[{"polygon":[[0,0],[419,0],[419,149],[0,149]],"score":1}]}`},
		"no ink in it":  {serve.Payload{ContentType: "image/png", Body: blank}, 1, `{"width":320,"height":240,"boxes":[]}`},
	} {
		answer, err := textdetect.New(textdetect.Options{}).Answer(t.Context(), tc.in, tc.model)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := json.Marshal(answer)
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %s, want %s: %v", name, got, tc.want, err)
		}
	}
}

func TestAnswerRefuses(t *testing.T) {
	t.Parallel()
	asJSON := func(body string) serve.Payload {
		return serve.Payload{ContentType: "application/json", Body: []byte(body)}
	}
	for name, tc := range map[string]struct {
		in    serve.Payload
		code  problem.Code
		field string
	}{
		"nothing":            {serve.Payload{}, problem.InvalidArgument, "body"},
		"text":               {serve.Payload{Body: []byte("hello")}, problem.InvalidArgument, "body"},
		"cut off":            {serve.Payload{Body: page(t, "photo.jpg")[:999]}, problem.InvalidArgument, "body"},
		"JSON without":       {asJSON(`{}`), problem.InvalidArgument, "image"},
		"JSON of text":       {asJSON(`{"image":"aGVsbG8="}`), problem.InvalidArgument, "image"},
		"JSON with polygons": {asJSON(`{"image":"aGVsbG8=","polygons":[]}`), problem.InvalidArgument, "polygons"},
		"an image as JSON":   {serve.Payload{ContentType: "application/json", Body: page(t, "blank.png")}, problem.MalformedBody, ""},
		"too many pixels":    {serve.Payload{Body: page(t, "page.png")}, problem.PayloadTooLarge, "body"},
	} {
		_, err := textdetect.New(textdetect.Options{MaxPixels: 650_000}).Answer(t.Context(), tc.in, mapOf(0))
		var p *problem.Error
		if !errors.As(err, &p) || p.Code != tc.code {
			t.Errorf("%s: %v, want %s", name, err, tc.code)
			continue
		}
		if tc.field != "" && (len(p.Fields) != 1 || p.Fields[0].Field != tc.field) {
			t.Errorf("%s: fields %v, want %s", name, p.Fields, tc.field)
		}
	}
	_, err := textdetect.New(textdetect.Options{}).Answer(t.Context(), serve.Payload{Body: page(t, "blank.png")}, mapOf(-1))
	if problem.CodeOf(err) != problem.Internal || !strings.Contains(err.Error(), "736") {
		t.Errorf("a map of another size: %v", err)
	}
}

func FuzzAnswerJSON(f *testing.F) {
	blank := base64.StdEncoding.EncodeToString(page(f, "blank.png"))
	for _, seed := range []string{`{"image":"` + blank + `"}`, `{"image":{"ref":"s3://b/k"}}`, `{"image":""}`, `{"image":[]}`} {
		f.Add([]byte(seed))
	}
	codec := textdetect.New(textdetect.Options{MaxPixels: 100_000})
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := codec.Answer(t.Context(), serve.Payload{ContentType: "application/json", Body: body}, mapOf(0))
		if err != nil && problem.CodeOf(err) == problem.Internal {
			t.Fatal(err)
		}
	})
}

// BenchmarkAnswer measures a page with the model and with none: the second is
// what the codec itself costs.
func BenchmarkAnswer(b *testing.B) {
	model := codectest.Open(b, "../../../.deps/models/text-detect/PP-OCRv6_det_small.onnx")
	in := serve.Payload{Body: page(b, "page.png")}
	codec := textdetect.New(textdetect.Options{})
	for name, m := range map[string]serve.Runner{"model": model, "codec alone": mapOf(0)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := codec.Answer(b.Context(), in, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
