package main

import (
	"math"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// The comparison is tried with the CPU in the GPU's place: it must find no
// difference there, and a figure for every batch.
func TestMeasureAgainstItself(t *testing.T) {
	t.Parallel()
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	library, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	o := options{dir: "../../.deps", turn: time.Millisecond}
	for _, m := range shipped()[3:] { // the larger ones take long at 64 rows
		r, err := o.measure(t.Context(), library, &m, ort.CPU)
		if err != nil || r.difference != 0 || r.cpu <= 0 || len(r.gpu) != len(batches()) || r.mixed <= 0 || r.bucketed <= 0 {
			t.Errorf("%s: %+v, %v", m.name, r, err)
		}
	}
	if err := o.withoutGPU(t.Context(), library); err != nil {
		t.Error(err)
	}
	if err := o.atOnce(t.Context(), library, ort.CPU); err != nil {
		t.Error(err)
	}
	for _, n := range indexing() {
		if err := o.tryBeyond(t.Context(), library, ort.CPU, n.Op); err != nil {
			t.Errorf("%s: %v", n.Op, err)
		}
	}
	if err := library.Close(); err != nil {
		t.Error(err)
	}
}

func TestApart(t *testing.T) {
	t.Parallel()
	tensor := func(values ...float32) *infer.Tensor {
		x := infer.NewTensor("y", []int64{int64(len(values))}, values)
		return &x
	}
	for name, tc := range map[string]struct {
		want, got *infer.Tensor
		apart     float64
		fails     bool
	}{
		"the same":        {tensor(1, -2), tensor(1, -2), 0, false},
		"by a quarter":    {tensor(1, -2), tensor(1.5, -2), 0.25, false},
		"not a number":    {tensor(1), tensor(float32(math.NaN())), math.Inf(1), false},
		"another shape":   {tensor(1, 2), tensor(1), 0, true},
		"zeros, all of a": {tensor(0), tensor(0), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := apart(tc.want, tc.got)
			if d != tc.apart || (err != nil) != tc.fails {
				t.Errorf("%v, %v", d, err)
			}
		})
	}
}

func TestOnlyGPUsAreChecked(t *testing.T) {
	t.Parallel()
	for _, device := range []string{"cpu", "auto", "tpu", ""} {
		if err := (&options{device: device}).main(t.Context()); err == nil {
			t.Errorf("%q was taken", device)
		}
	}
}
