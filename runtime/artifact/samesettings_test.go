package artifact

import (
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// TestSameSettings holds which differences make another version of a model.
func TestSameSettings(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*model.Manifest)
		same   bool
	}{
		"nothing": {func(*model.Manifest) {}, true},
		"what was measured": {func(m *model.Manifest) {
			m.Cost = &model.Cost{Memory: 5, Batches: []model.BatchCost{{Size: 1, Alone: 2, Busy: 3}}}
		}, true},
		"nothing measured":    {func(m *model.Manifest) { m.Cost = nil }, true},
		"another batch":       {func(m *model.Manifest) { m.Batching.MaxBatchSize = 8 }, false},
		"another delay":       {func(m *model.Manifest) { m.Batching.MaxDelay = 1 }, false},
		"no batching":         {func(m *model.Manifest) { m.Batching = nil }, false},
		"another pad":         {func(m *model.Manifest) { m.Inputs[0].Ragged.Pad = 0 }, false},
		"a proven length":     {func(m *model.Manifest) { m.Inputs[0].Ragged.Max = 512 }, false},
		"no ragged axis":      {func(m *model.Manifest) { m.Inputs[1].Ragged = nil }, false},
		"a least shape":       {func(m *model.Manifest) { m.Inputs[0].MinShape = []int64{1, 1} }, false},
		"a bound on elements": {func(m *model.Manifest) { m.MaxElements = 9 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := ragged(), ragged()
			tc.change(b)
			if sameSettings(a, b) != tc.same || sameSettings(b, a) != tc.same {
				t.Errorf("same is not %v", tc.same)
			}
		})
	}
	a, b := ragged(), ragged()
	a.Batching, b.Batching = nil, &model.Batching{}
	if !sameSettings(a, b) {
		t.Error("empty settings are other than none")
	}
}

// ragged is the manifest of a model of token ids with a mask.
func ragged() *model.Manifest {
	return &model.Manifest{
		Signature: infer.Signature{Inputs: []infer.TensorSpec{
			{Name: "ids", DataType: infer.Int64, Shape: []int64{-1, -1}, Ragged: &infer.Ragged{Axis: 1, Pad: 3}},
			{Name: "mask", DataType: infer.FP32, Shape: []int64{-1, -1}, Ragged: &infer.Ragged{Axis: 1}},
		}},
		Batching: &model.Batching{MaxBatchSize: 16, MaxDelay: 2000},
		Cost:     &model.Cost{Memory: 1 << 20, Batches: []model.BatchCost{{Size: 1, Alone: 1000, Busy: 1100}}},
	}
}
