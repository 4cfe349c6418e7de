package textrecognize_test

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/functions/internal/textimage"
	"github.com/modelserveai/modelserve/functions/text-recognize/textrecognize"
	"github.com/modelserveai/modelserve/runtime/serve"
)

const (
	testdata  = "../testdata"
	pages     = "../../text-detect/testdata"
	modelFile = "PP-OCRv6_rec_small.onnx"

	// scoreTolerance allows for another padding: the reference pads a batch to
	// its widest line.
	scoreTolerance = 0.03
)

type goldenPage struct {
	Polygons     textimage.Polygons   `json:"polygons"`
	Orientations payload.List[int]    `json:"orientations"`
	Lines        []textrecognize.Line `json:"lines"`
	Truth        []string             `json:"truth"`
}

type goldenLine struct {
	textrecognize.Line

	Truth string `json:"truth"`
}

type goldenFile struct {
	Pages map[string]goldenPage `json:"pages"`
	Lines map[string]goldenLine `json:"lines"`
}

func golden(t testing.TB) goldenFile {
	t.Helper()
	var want goldenFile
	if err := json.Unmarshal(read(t, testdata, "golden.json"), &want); err != nil {
		t.Fatal(err)
	}
	return want
}

// TestGolden holds the codec to rapidocr's answers on the same files, which
// test/golden/text.py makes: every character.
func TestGolden(t *testing.T) {
	t.Parallel()
	model := codectest.Open(t, "../../../.deps/models/text-recognize/"+modelFile)
	codec := textrecognize.New(textrecognize.Options{})
	want := golden(t)
	for name, page := range want.Pages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := answer(t, codec, model, form(t, name, page))
			check(t, got, page.Lines)
		})
	}
	for name, line := range want.Lines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := answer(t, codec, model, serve.Payload{Body: read(t, testdata, name)})
			check(t, got, []textrecognize.Line{line.Line})
		})
	}
}

// TestCharacterErrorRate measures the codec against the pages' true text:
// the README's figure.
func TestCharacterErrorRate(t *testing.T) {
	t.Parallel()
	model := codectest.Open(t, "../../../.deps/models/text-recognize/"+modelFile)
	codec := textrecognize.New(textrecognize.Options{})
	wrong, reference, all := 0, 0, 0
	for name, page := range golden(t).Pages {
		got := answer(t, codec, model, form(t, name, page))
		if len(got) != len(page.Truth) {
			continue // the detector parted or missed lines: not the recogniser's doing
		}
		for i, line := range got {
			truth := []rune(page.Truth[i])
			wrong += edits(truth, []rune(line.Text))
			reference += edits(truth, []rune(page.Lines[i].Text))
			all += len(truth)
		}
	}
	t.Logf("character error rate %.4f (%d of %d), the reference %.4f", float64(wrong)/float64(all), wrong, all, float64(reference)/float64(all))
	if all < 500 || wrong > reference {
		t.Errorf("%d wrong of %d characters, the reference %d", wrong, all, reference)
	}
}

func form(t testing.TB, name string, page goldenPage) serve.Payload {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"image":        base64.StdEncoding.EncodeToString(read(t, pages, name)),
		"polygons":     page.Polygons,
		"orientations": page.Orientations,
	})
	if err != nil {
		t.Fatal(err)
	}
	return serve.Payload{ContentType: "application/json", Body: body}
}

func answer(t testing.TB, codec serve.Codec, model serve.Runner, in serve.Payload) []textrecognize.Line {
	t.Helper()
	answer, err := codec.Answer(t.Context(), in, model)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := answer.(*textrecognize.Answer)
	if !ok {
		t.Fatalf("answered a %T", answer)
	}
	return got.Lines
}

func check(t *testing.T, got, want []textrecognize.Line) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d", len(got), len(want))
	}
	largest := 0.0
	for i, line := range got {
		d := math.Abs(line.Score - want[i].Score)
		largest = max(largest, d)
		if line.Text != want[i].Text || d > scoreTolerance {
			t.Errorf("line %d: got %q at %g, want %q at %g", i, line.Text, line.Score, want[i].Text, want[i].Score)
		}
	}
	t.Logf("%d lines: scores within %.5f", len(want), largest)
}

// edits is the Levenshtein distance.
func edits(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range b {
			cost := diagonal
			if x != y {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func read(t testing.TB, folder, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
