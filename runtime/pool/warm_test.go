package pool

import (
	"context"
	"errors"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// choosy runs with one input only.
type choosy struct{ want []infer.Tensor }

func (c choosy) Run(_ context.Context, held memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
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
	l.Manifest = model.Manifest{Signature: infer.Signature{Inputs: []infer.TensorSpec{spec}}}
	if err := warmUp(t.Context(), l); err == nil {
		t.Error("it warmed up with zeros")
	}
	l.Manifest.Inputs[0].ExampleData = []byte{6, 0, 0, 0, 0, 0, 0, 0}
	if err := warmUp(t.Context(), l); err != nil {
		t.Error(err)
	}
}

// selective runs with what has at least so many elements, and notes all it is given.
type selective struct {
	least int64
	seen  *[][]int64
}

func (s selective) Run(_ context.Context, held memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	*s.seen = append(*s.seen, inputs[0].Shape)
	if inputs[0].Elements() < s.least {
		return nil, nil, errors.New("too small")
	}
	return nil, func() {}, nil
}

func (selective) Close() error { return nil }

// TestWarmUpIsSmall holds what a model is warmed up with: the smallest that a
// request may bring, unless more is known to pay or to be needed.
func TestWarmUpIsSmall(t *testing.T) {
	t.Parallel()
	page, stride := []int64{1, 3, 736, 736}, []int64{1, 3, 32, 32}
	axis := 0
	for _, tc := range []struct {
		name   string
		change func(*Loaded)
		least  int64 // elements
		want   [][]int64
	}{
		{"the smallest", nil, 0, [][]int64{stride}},
		{"the smallest does not run", nil, 10000, [][]int64{stride, page}},
		{"no bound defines what is small", func(l *Loaded) { l.Manifest.Inputs[0].MinShape = nil }, 0, [][]int64{page}},
		{"the small is about as large", func(l *Loaded) { l.Manifest.Inputs[0].MinShape = []int64{-1, 3, 640, 640} }, 0, [][]int64{page}},
		{"more was measured to pay", func(l *Loaded) { l.Manifest.Cost = &model.Cost{WarmExample: true} }, 0, [][]int64{page}},
		{"on a GPU", func(l *Loaded) { l.Device = "cuda:0" }, 0, [][]int64{page}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var seen [][]int64
			l := &Loaded{Session: selective{tc.least, &seen}}
			l.Manifest.Signature = infer.Signature{BatchAxis: &axis, Inputs: []infer.TensorSpec{{
				Name: "x", DataType: infer.FP32, Shape: []int64{-1, 3, -1, -1}, Example: page, MinShape: []int64{-1, 3, 32, 32},
			}}}
			if tc.change != nil {
				tc.change(l)
			}
			if err := warmUp(t.Context(), l); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tc.want, seen); diff != "" {
				t.Errorf("runs (-want +got):\n%s", diff)
			}
		})
	}
}

// What a push measured on its CPU is used for CPUs only.
func TestPointsAreOfTheCPU(t *testing.T) {
	t.Parallel()
	l := &Loaded{Manifest: model.Manifest{Cost: &model.Cost{Batches: []model.BatchCost{{Size: 2, Alone: 10, Busy: 20}}}}}
	for device, want := range map[string]int{"cpu": 1, "": 1, "cuda:0": 0} {
		if l.Device = device; len(pointsOf(l)) != want {
			t.Errorf("on %q: %v", device, pointsOf(l))
		}
	}
}
