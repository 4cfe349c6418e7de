package textdetect_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/functions/text-detect/textdetect"
	"github.com/modelserveai/modelserve/runtime/serve"
)

const testdata = "../testdata"

// What may differ from the reference: a pixel each way, where its arithmetic
// in float32 rounds otherwise, and what decoders of lossy files differ by.
const (
	cornerTolerance = 1.5 // pixels of the original
	scoreTolerance  = 0.002
)

func golden(t testing.TB) map[string]textdetect.Answer {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testdata, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var pages map[string]textdetect.Answer
	if err := json.Unmarshal(data, &pages); err != nil {
		t.Fatal(err)
	}
	return pages
}

// TestGolden holds the codec to rapidocr's answers on the same files, which
// test/golden/text.py makes.
func TestGolden(t *testing.T) {
	t.Parallel()
	model := codectest.Open(t, "../../../.deps/models/text-detect/PP-OCRv6_det_small.onnx")
	codec := textdetect.New(textdetect.Options{})
	for name, want := range golden(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile(filepath.Join(testdata, name))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := codec.Answer(t.Context(), serve.Payload{Body: body}, model)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := answer.(*textdetect.Answer)
			if !ok {
				t.Fatalf("answered a %T", answer)
			}
			compare(t, got, &want)
		})
	}
}

func compare(t *testing.T, got, want *textdetect.Answer) {
	t.Helper()
	if got.Width != want.Width || got.Height != want.Height {
		t.Errorf("size %d×%d, want %d×%d", got.Width, got.Height, want.Width, want.Height)
	}
	if len(got.Boxes) != len(want.Boxes) {
		t.Fatalf("%d boxes, want %d: %v", len(got.Boxes), len(want.Boxes), got.Boxes)
	}
	corner, score := 0.0, 0.0
	for i, b := range got.Boxes {
		for k, c := range b.Polygon {
			d := math.Hypot(c[0]-want.Boxes[i].Polygon[k][0], c[1]-want.Boxes[i].Polygon[k][1])
			corner = max(corner, d)
			if d > cornerTolerance {
				t.Errorf("box %d corner %d at %v, want %v", i, k, c, want.Boxes[i].Polygon[k])
			}
		}
		d := math.Abs(b.Score - want.Boxes[i].Score)
		score = max(score, d)
		if d > scoreTolerance {
			t.Errorf("box %d score %g, want %g", i, b.Score, want.Boxes[i].Score)
		}
	}
	t.Logf("%d boxes: corners within %.2f px, scores within %.5f", len(got.Boxes), corner, score)
}
