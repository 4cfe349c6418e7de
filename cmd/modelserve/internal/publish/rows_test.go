package publish

import (
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

func TestRowsOfValues(t *testing.T) {
	t.Parallel()
	write := func(m onnxtest.Model) func(*testing.T) string {
		return func(t *testing.T) string { return m.Write(t) }
	}
	file := func(name string) func(*testing.T) string {
		return func(*testing.T) string { return fetched(name) }
	}
	const rarely, byValues = -1e30, `output "y" has as many rows as its values make (Compress)`
	for name, tc := range map[string]struct {
		path func(*testing.T) string
		why  string // "" has a batch axis
	}{
		"rows that are kept":         {write(onnxtest.Keep(4, 0, "kept")), byValues},
		"nearly all rows are kept":   {write(onnxtest.Keep(4, rarely, "kept")), byValues},
		"no name for the rows":       {write(onnxtest.Keep(4, rarely, "")), byValues},
		"rows that are said to stay": {write(onnxtest.Keep(4, rarely, "n")), ""},
		"all indices":                {write(onnxtest.AllIndices(4, "m")), ""},
		"another name for the rows":  {write(renamed(onnxtest.Scale(4, 2))), ""},
		"text-detect":                {file("text-detect/PP-OCRv6_det_small.onnx"), ""},
		"text-recognize":             {file("text-recognize/PP-OCRv6_rec_small.onnx"), ""},
		"text-orient":                {file("text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx"), ""},
		"content-detect":             {file("content-detect/model.onnx"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := tc.path(t)
			s := load(t, path)
			sig, err := findExamples(t.Context(), s, *s.Signature(), nil)
			if err != nil {
				t.Fatal(err)
			}
			found, why, err := batchAxisOf(t.Context(), path, s, sig)
			if err != nil || why != tc.why || (found.BatchAxis == nil) != (tc.why != "") {
				t.Errorf("batch axis %v because %q: %v", found.BatchAxis, why, err)
			}
		})
	}
}

func renamed(m onnxtest.Model) onnxtest.Model {
	m.Graph.Outputs[0].Shape[0] = "m"
	return m
}

func TestPublishSaysWhyRowsAreNotJoined(t *testing.T) {
	t.Parallel()
	done, err := newPublisher(t).Publish(t.Context(), Request{Name: "keep", File: onnxtest.Keep(4, -1e30, "kept").Write(t), Measure: 1})
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(done.Notes, "\n"); done.Manifest.BatchAxis != nil || !strings.Contains(notes, "no batch axis: output \"y\" has as many rows") {
		t.Errorf("batch axis %v; %s", done.Manifest.BatchAxis, notes)
	}
}
