package publish

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestWhatIsAMask holds that only what is padded, and has nothing but 0 and 1 in
// the publisher's example, is tried as a mask: any other name of the kind may be of
// data or of a flag.
func TestWhatIsAMask(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		input string
		asked bool
		given span
		want  bool
	}{
		"padded":                     {"attention_mask", true, span{}, true},
		"padded, of zeros and ones":  {"attention_mask", true, span{0, 1, true}, true},
		"padded, of ones":            {"attention_mask", true, span{1, 1, true}, true},
		"padded, of other numbers":   {"masked_audio", true, span{-3, 2, true}, false},
		"padded, of a larger number": {"mask_token", true, span{0, 103, true}, false},
		"a flag":                     {"apply_mask", false, span{}, false},
		"another name":               {"ids", true, span{}, false},
	} {
		p := prover{sig: &infer.Signature{Inputs: []infer.TensorSpec{{Name: tc.input}}}, given: []span{tc.given}}
		if tc.asked {
			p.asked = []Ragged{{Input: tc.input}}
		}
		if got := p.isMask(tc.input); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestAnExampleOfOneNumberIsTried holds that a flag or an id, of which an example
// has one, is tried with it.
func TestAnExampleOfOneNumberIsTried(t *testing.T) {
	t.Parallel()
	example := infer.Tensor{Name: "lang", DataType: infer.Int64, Shape: []int64{1, 1}, Data: binary.LittleEndian.AppendUint64(nil, 700)}
	p := prover{sig: &infer.Signature{Inputs: []infer.TensorSpec{{Name: "lang", DataType: infer.Int64}}}, given: []span{spanOf(&example)}}
	made := infer.Tensor{Name: "lang", DataType: infer.Int64, Shape: []int64{2, 1}, Data: make([]byte, 16)}
	p.fill(&made, 0, filling{seed: 1, given: true})
	for row, v := range floats(&made) {
		if v != 700 {
			t.Errorf("row %d holds %v", row, v)
		}
	}
	none := infer.Tensor{DataType: infer.FP32, Shape: []int64{1}, Data: binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(math.NaN())))}
	if spanOf(&none).seen {
		t.Error("a span of no number is tried")
	}
}
