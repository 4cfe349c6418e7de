package pool

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// choosy runs with one input only.
type choosy struct{ want []infer.Tensor }

func (c choosy) Run(_ context.Context, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	if !cmp.Equal(c.want, inputs) {
		return nil, nil, errors.New("not these")
	}
	return nil, func() {}, nil
}

func (choosy) Close() error { return nil }

func TestWarmUpRunsWhatItWasPublishedWith(t *testing.T) {
	t.Parallel()
	spec := infer.TensorSpec{Name: "shape", DataType: infer.Int64, Shape: []int64{1}}
	l := &Loaded{Session: choosy{[]infer.Tensor{infer.NewTensor("shape", []int64{1}, []int64{6})}}}
	l.Manifest = artifact.Manifest{Signature: infer.Signature{Inputs: []infer.TensorSpec{spec}}}
	if err := warmUp(t.Context(), l); err == nil {
		t.Error("it warmed up with zeros")
	}
	l.Manifest.Inputs[0].ExampleData = []byte{6, 0, 0, 0, 0, 0, 0, 0}
	if err := warmUp(t.Context(), l); err != nil {
		t.Error(err)
	}
}

// What a push measured on its CPU is believed of CPUs only.
func TestPointsAreOfTheCPU(t *testing.T) {
	t.Parallel()
	l := &Loaded{Manifest: artifact.Manifest{Cost: &artifact.Cost{Batches: []artifact.BatchCost{{Size: 2, Alone: 10, Busy: 20}}}}}
	for device, want := range map[string]int{"cpu": 1, "": 1, "cuda:0": 0} {
		if l.Device = device; len(pointsOf(l)) != want {
			t.Errorf("on %q: %v", device, pointsOf(l))
		}
	}
}
