package rows_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/rows"
)

// shippedModel is the path of a model that `make deps` fetched.
func shippedModel(t testing.TB, name string) string {
	t.Helper()
	lib, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(filepath.Dir(filepath.Dir(lib)), "models", name)
}

// shipped holds the shipped models' verdicts to what they answer.
func (h *held) shipped(t *testing.T) {
	t.Helper()
	for name, shape := range map[string][]int64{
		"text-detect/PP-OCRv6_det_small.onnx":              {1, 3, 64, 96},
		"text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx": {1, 3, 48, 192},
		"text-recognize/PP-OCRv6_rec_small.onnx":           {1, 3, 48, 64},
		"content-detect/model.onnx":                        {1, 2048},
	} {
		model, err := os.ReadFile(shippedModel(t, name))
		if err != nil {
			t.Fatal(err)
		}
		h.hold(t, name, model, []string{map[bool]string{true: "bytes", false: "x"}[len(shape) == 2]}, func(sig *infer.Signature) (rowsOf, []infer.Tensor) {
			g := newGen(9)
			single := rowsOf{}
			for range 3 {
				in := g.tensor(sig.Inputs[0].DataType, shape)
				in.Name = sig.Inputs[0].Name
				single = append(single, []infer.Tensor{in})
			}
			return single, nil
		})
	}
}

// TestShippedModels holds which of the shipped models have rows that stay apart,
// and of the others which operator does not let them.
func TestShippedModels(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	for name, why := range map[string]string{
		"text-detect/PP-OCRv6_det_small.onnx":              "",
		"text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx": "",
		"text-recognize/PP-OCRv6_rec_small.onnx":           "",
		"content-detect/model.onnx":                        "",
		"speech-detect/silero_vad.onnx":                    "If",
		"speech-detect/silero_vad_16k_sequence.onnx":       "LSTM",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model, err := os.ReadFile(shippedModel(t, name))
			if err != nil {
				t.Fatal(err)
			}
			path, sig, s, ok := h.optimized(t, model)
			if !ok {
				t.Fatal("ONNX Runtime does not have it")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			verdict, err := rows.ProveFile(path, &sig, nil)
			if err != nil {
				t.Fatal(err)
			}
			expectWhy(t, verdict, why)
		})
	}
}
