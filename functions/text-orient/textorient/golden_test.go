package textorient_test

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/functions/internal/textimage"
	"github.com/modelserveai/modelserve/functions/text-orient/textorient"
	"github.com/modelserveai/modelserve/runtime/serve"
)

const (
	testdata = "../testdata"
	pages    = "../../text-detect/testdata"

	// scoreTolerance allows for crops that differ by a grey level or two where
	// OpenCV rounds places between pixels otherwise.
	scoreTolerance = 0.02
)

type label struct {
	Label int     `json:"label"`
	Score float64 `json:"score"`
}

type goldenFile struct {
	Pages map[string]struct {
		Polygons textimage.Polygons `json:"polygons"`
		Lines    []label            `json:"lines"`
	} `json:"pages"`
	Lines map[string]label `json:"lines"`
}

// TestGolden holds the codec to rapidocr's answers on the same files, which
// test/golden/text.py makes.
func TestGolden(t *testing.T) {
	t.Parallel()
	model := codectest.Open(t, "../../../.deps/models/text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx")
	codec := textorient.New(textorient.Options{})
	var want goldenFile
	if err := json.Unmarshal(read(t, testdata, "golden.json"), &want); err != nil {
		t.Fatal(err)
	}
	for name, page := range want.Pages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form := map[string]any{"image": base64.StdEncoding.EncodeToString(read(t, pages, name)), "polygons": page.Polygons}
			body, err := json.Marshal(form)
			if err != nil {
				t.Fatal(err)
			}
			check(t, codec, model, serve.Payload{ContentType: "application/json", Body: body}, page.Lines)
		})
	}
	for name, line := range want.Lines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, codec, model, serve.Payload{Body: read(t, testdata, name)}, []label{line})
		})
	}
}

func check(t *testing.T, codec serve.Codec, model serve.Runner, in serve.Payload, want []label) {
	t.Helper()
	answer, err := codec.Answer(t.Context(), in, model)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := answer.(*textorient.Answer)
	if !ok || len(got.Lines) != len(want) {
		t.Fatalf("answered %v, want %d lines", answer, len(want))
	}
	largest := 0.0
	for i, line := range got.Lines {
		// The reference reports its first guess; the answer here is what it acts on.
		orientation, score := want[i].Label, want[i].Score
		if orientation == 180 && score <= 0.9 {
			orientation, score = 0, 1-score
		}
		largest = max(largest, math.Abs(line.Score-score))
		if line.Orientation != orientation || math.Abs(line.Score-score) > scoreTolerance {
			t.Errorf("line %d: got %+v, want %d at %g", i, line, orientation, score)
		}
	}
	t.Logf("%d lines: scores within %.5f", len(want), largest)
}

func read(t testing.TB, folder, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
