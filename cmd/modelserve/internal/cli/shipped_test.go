package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/png"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/functions/content-detect/contentdetect"
	"github.com/modelserveai/modelserve/functions/speech-detect/speechdetect"
	"github.com/modelserveai/modelserve/functions/text-detect/textdetect"
	"github.com/modelserveai/modelserve/functions/text-orient/textorient"
	"github.com/modelserveai/modelserve/functions/text-recognize/textrecognize"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// errSeen ends a codec's answer once its input was seen.
var errSeen = errors.New("seen")

// checker holds what a codec runs to the signature, and runs nothing.
type checker struct {
	info serve.ModelInfo

	mu     sync.Mutex
	shapes [][]int64 // of the first input
	faults []error
}

func (c *checker) Info() *serve.ModelInfo { return &c.info }

func (c *checker) Run(_ context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shapes = append(c.shapes, slices.Clone(inputs[0].Shape))
	if err := c.info.Signature.Validate(&infer.Request{Inputs: inputs}); err != nil {
		c.faults = append(c.faults, err)
	}
	return nil, errSeen
}

// bounded is what a shipped model is published with.
func bounded(t *testing.T, name string) *checker {
	t.Helper()
	i := slices.IndexFunc(shippedModels(), func(m shipped) bool { return m.name == name })
	m := shippedModels()[i]
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	lib, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	session, err := lib.Open(filepath.Join(filepath.Dir(filepath.Dir(path)), "models", m.name, m.file), ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := m.bounds.Apply(*session.Signature())
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := session.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(session.Close(), lib.Close()); err != nil {
		t.Fatal(err)
	}
	return &checker{info: serve.ModelInfo{Signature: sig, Metadata: metadata}}
}

// blank is an image of nothing.
func blank(t *testing.T, w, h int) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// lines is an image of n lines of w×h, and where they are.
func lines(t *testing.T, n, w, h int) serve.Payload {
	t.Helper()
	var polygons []string
	for i := range n {
		polygons = append(polygons, fmt.Sprintf("[[0,%[2]d],[%[1]d,%[2]d],[%[1]d,%[3]d],[0,%[3]d]]", w, i*h, (i+1)*h))
	}
	return serve.Payload{ContentType: "application/json", Body: fmt.Appendf(nil, `{"image":%q,"polygons":[%s]}`,
		base64.StdEncoding.EncodeToString(blank(t, w, n*h)), strings.Join(polygons, ","))}
}

// silence is a WAV of 16 kHz.
func silence(seconds int) []byte {
	const rate = 16000
	size := uint32(2 * rate * seconds)
	b := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, 36+size)...)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"...)
	b = binary.LittleEndian.AppendUint32(b, rate)
	b = binary.LittleEndian.AppendUint32(b, 2*rate)
	b = append(b, "\x02\x00\x10\x00data"...)
	return append(binary.LittleEndian.AppendUint32(b, size), make([]byte, size)...)
}

// TestShippedModelsRunTheirFunctions holds that the largest and smallest inputs
// that the functions make are within what their models are published with.
func TestShippedModelsRunTheirFunctions(t *testing.T) {
	t.Parallel()
	image := func(w, h int) serve.Payload { return serve.Payload{ContentType: "image/png", Body: blank(t, w, h)} }
	for name, tc := range map[string]struct {
		model string
		codec serve.Codec
		in    serve.Payload
		want  []int64 // what the codec runs first
	}{
		"the largest image for text-detect": {"text-detect", textdetect.New(textdetect.Options{}), image(1, 180), []int64{1, 3, 27296, 192}},
		"the narrowest":                     {"text-detect", textdetect.New(textdetect.Options{}), image(1, 2000), []int64{1, 3, 31392, 160}},
		"the largest of ordinary shape":     {"text-detect", textdetect.New(textdetect.Options{}), image(3000, 3000), []int64{1, 3, 1984, 1984}},
		"a pixel":                           {"text-detect", textdetect.New(textdetect.Options{}), image(1, 1), []int64{1, 3, 736, 736}},
		"six lines for text-orient":         {"text-orient", textorient.New(textorient.Options{}), lines(t, 6, 192, 48), []int64{6, 3, 48, 192}},
		"the longest line":                  {"text-recognize", textrecognize.New(textrecognize.Options{}), image(20000, 48), []int64{1, 3, 48, 9600}},
		"the widest batch of six":           {"text-recognize", textrecognize.New(textrecognize.Options{}), lines(t, 6, 512, 48), []int64{6, 3, 48, 512}},
		"the shortest line":                 {"text-recognize", textrecognize.New(textrecognize.Options{}), image(1, 48), []int64{1, 3, 48, 320}},
		"the most windows of one run":       {"speech-detect", speechdetect.New(), serve.Payload{ContentType: "audio/wav", Body: silence(10)}, []int64{128, 576}},
		"a file":                            {"content-detect", contentdetect.New(), serve.Payload{Body: bytes.Repeat([]byte("text "), 10000)}, []int64{1, 2048}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := bounded(t, tc.model)
			if _, err := tc.codec.Answer(t.Context(), tc.in, model); !errors.Is(err, errSeen) {
				t.Fatalf("the codec did not run its model: %v", err)
			}
			if diff := cmp.Diff([][]int64{tc.want}, model.shapes); diff != "" {
				t.Errorf("what runs (-want +got):\n%s", diff)
			}
			if err := errors.Join(model.faults...); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestShippedModelsAreBounded holds that what fits in a body and would take a
// network gigabytes is refused before it runs.
func TestShippedModelsAreBounded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		model string
		shape []int64
		field string
	}{
		"many lines of one column": {"text-recognize", []int64{58000, 3, 48, 1}, "inputs[0].shape[0]"},
		"one very long line":       {"text-recognize", []int64{1, 3, 48, 58000}, "inputs[0].shape"},
		"many images of one pixel": {"text-detect", []int64{2_800_000, 3, 1, 1}, "inputs[0].shape[0]"},
		"an image one pixel wide":  {"text-detect", []int64{1, 3, 2_800_000, 1}, "inputs[0].shape[3]"},
		"an image one pixel high":  {"text-detect", []int64{1, 3, 1, 2_800_000}, "inputs[0].shape[2]"},
		"a huge image":             {"text-detect", []int64{1, 3, 3200, 3200}, "inputs[0].shape"},
		"many files":               {"content-detect", []int64{8000, 2048}, "inputs[0].shape"},
		"many small crops":         {"text-orient", []int64{2_800_000, 3, 1, 1}, "inputs[0].shape[0]"},
		"a huge crop":              {"text-orient", []int64{1, 3, 1600, 1600}, "inputs[0].shape"},
		"an hour of sound":         {"speech-detect", []int64{14000, 576}, "inputs[0].shape"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sig := bounded(t, tc.model).info.Signature
			err := sig.Validate(&infer.Request{Inputs: []infer.Tensor{{Name: sig.Inputs[0].Name, DataType: sig.Inputs[0].DataType, Shape: tc.shape}}})
			var known *problem.Error
			if !errors.As(err, &known) || known.Fields[0].Field != tc.field || !strings.Contains(known.Detail, "expected at ") {
				t.Errorf("got %v of %+v, want %s", err, known, tc.field)
			}
		})
	}
}

// TestShippedModelsArePublishedBeforeAPlatformHasRun is what `make models` does
// in a fresh clone: it makes the store, and a second time changes nothing.
func TestShippedModelsArePublishedBeforeAPlatformHasRun(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	deps := filepath.Dir(filepath.Dir(path))
	s.wants(`MODEL             DIGEST
text-detect@1     sha256:…  published
text-orient@1     sha256:…  published
text-recognize@1  sha256:…  published
speech-detect@1   sha256:…  published
content-detect@1  sha256:…  published
`, "models", "publish-shipped", "--deps", deps)
	if again := s.must("models", "publish-shipped", "--deps", deps); strings.Count(again, "unchanged") != 5 {
		t.Errorf("again:\n%s", again)
	}
	if got := s.must("models", "verify", "text-orient"); !strings.Contains(got, "signature good") {
		t.Error(got)
	}
	s.fails(exitFailed, "`make deps` fetches", "models", "publish-shipped", "--deps", t.TempDir())

	s.must("models", "delete", "text-orient", "--yes")
	if after := s.must("models", "publish-shipped", "--deps", deps); strings.Count(after, "unchanged") != 4 || !strings.Contains(after, "deleted, and never published again") {
		t.Errorf("after one was deleted:\n%s", after)
	}
}
