package codectest_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// model is the example's: features [rows, 512] in, probabilities [rows, 5] out.
const model = "../../examples/function/language-detect.onnx"

// wide is a codec that gives its model one row of as many columns as the body has
// bytes, and answers with how many scores came out.
type wide struct{}

func (wide) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	row := infer.NewTensor("features", []int64{1, int64(len(in.Body))}, make([]float32, len(in.Body)))
	out, err := model.Run(ctx, []infer.Tensor{row})
	if err != nil {
		return nil, err
	}
	return map[string]any{"type": in.ContentType, "scores": out[0].Elements()}, nil
}

func TestAnswerIsTheCallersJSON(t *testing.T) {
	t.Parallel()
	got, err := codectest.Answer(t, wide{}, codectest.Open(t, model), "text/plain", string(make([]byte, 512)))
	if want := `{"scores":5,"type":"text/plain"}`; err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// TestRunHoldsInputsToTheSignature holds that tensors which the model does not take
// are the codec's fault, and not its caller's.
func TestRunHoldsInputsToTheSignature(t *testing.T) {
	t.Parallel()
	_, err := codectest.Answer(t, wide{}, codectest.Open(t, model), "", "x")
	if problem.CodeOf(err) != problem.Internal || !strings.Contains(err.Error(), "inputs[0].shape") {
		t.Errorf("got %v, want an internal error about inputs[0].shape", err)
	}
}

func TestOpenNamesTheModelByItsFile(t *testing.T) {
	t.Parallel()
	info := codectest.Open(t, model).Info()
	if info.Name != "language-detect" || info.Metadata["languages"] != "de,en,es,fr,it" || len(info.Signature.Inputs) != 1 {
		t.Errorf("got %+v", info)
	}
}

// TestPoisonerFindsWhatACodecDidNotWrite holds that memory which a codec uses
// again without writing it is counted.
func TestPoisonerFindsWhatACodecDidNotWrite(t *testing.T) {
	t.Parallel()
	poisoner := &codectest.Poisoner{Runner: codectest.Open(t, model)}
	memory := make([]float32, 512)
	for range 2 {
		memory[0] = 1 // and no other
		if _, err := poisoner.Run(t.Context(), []infer.Tensor{infer.NewTensor("features", []int64{1, 512}, memory)}); err != nil {
			t.Fatal(err)
		}
	}
	if poisoner.Unwritten != 511 || !math.IsNaN(float64(memory[0])) {
		t.Errorf("%d were not written, want 511", poisoner.Unwritten)
	}
}
