package ort_test

import (
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// fill answers with the largest of as many zeros as its input says; onnxtest.Wide with them all.
func fill() onnxtest.Model {
	return onnxtest.Model{Graph: onnxtest.Graph{
		Nodes: []onnxtest.Node{
			{Op: "ConstantOfShape", Inputs: []string{"shape"}, Outputs: []string{"c"}},
			{Op: "ReduceMax", Inputs: []string{"c"}, Outputs: []string{"m"}, Attributes: []onnxtest.Attribute{{Name: "keepdims", Int: new(int64)}}},
		},
		Inputs:  []onnxtest.Value{{Name: "shape", Element: onnxtest.Int64, Shape: []any{1}}},
		Outputs: []onnxtest.Value{{Name: "m", Element: onnxtest.Float}},
	}}
}

// TestAValueTakesNoMoreThanMayBe holds that a run whose values ask for more memory than
// its session may have, or all sessions, is refused before that is taken, that it
// leaves nothing, and that others go on.
func TestAValueTakesNoMoreThanMayBe(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		model           onnxtest.Model
		session, output int64
		process         int64
		elements        int64 // of 4 bytes
		refused         bool
	}{
		"within the session's":      {fill(), 64 * mib, 0, 0, 4 * mib, false},
		"more than the session's":   {fill(), 64 * mib, 0, 0, 17 * mib, true},
		"far more":                  {fill(), 64 * mib, 0, 0, 1 << 40, true},
		"more than overflows":       {fill(), 64 * mib, 0, 0, 1 << 62, true},
		"within the process'":       {fill(), 0, 0, 1 << 30, 4 * mib, false},
		"more than the process'":    {fill(), 0, 0, 64 * mib, 17 * mib, true},
		"an output within":          {onnxtest.Wide(), 0, 16 * mib, 0, 4 * mib, false},
		"an output that is larger":  {onnxtest.Wide(), 0, 16 * mib, 0, 4*mib + 1, true},
		"more than all that is had": {fill(), 0, 0, 0, 1 << 45, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			s, err := l.Open(tc.model.Write(t), ort.Options{RunMemory: tc.session, MaxOutput: tc.output})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			opened := s.Memory() // what loads beside it took is counted to it, too
			l.LimitMemory(tc.process)
			defer l.LimitMemory(0)
			input := func(n int64) []infer.Tensor { return []infer.Tensor{infer.NewTensor("shape", []int64{1}, []int64{n})} }
			for range 3 { // the shapes of outputs are known from the second on
				err := runOnce(s, input(tc.elements))
				if tc.refused != (err != nil) || tc.refused && tc.elements < 1<<60 && problem.CodeOf(err) != problem.PayloadTooLarge {
					t.Fatalf("got %v", err)
				}
				if err := runOnce(s, input(10)); err != nil {
					t.Fatal(err)
				}
			}
			s.Trim()
			if left := s.Memory() - opened; left > 8*mib {
				t.Errorf("%d bytes are left", left)
			}
		})
	}
}

// TestRunsThatFitAloneWaitForEachOther holds that a run which there is memory for, once
// others of its session have ended, is none that asks for too much.
func TestRunsThatFitAloneWaitForEachOther(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	l := open(t)
	s, err := l.Open(fill().Write(t), ort.Options{RunMemory: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	group, ctx := errgroup.WithContext(t.Context())
	for range 4 {
		group.Go(func() error {
			for range 5 {
				_, release, err := s.Run(ctx, memory.Unbounded{}, []infer.Tensor{infer.NewTensor("shape", []int64{1}, []int64{12 * mib})}, nil)
				if err != nil {
					return err
				}
				release()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// TestWhatASessionHasBesideItsPoolCounts holds that what sessions are made of is part of
// what all may have, wherever it lies.
func TestWhatASessionHasBesideItsPoolCounts(t *testing.T) {
	t.Parallel()
	l := open(t)
	s := load(t, l, model(t, shipped[0]))
	beside := s.Memory() - s.PoolSize()
	if err := runOnce(s, samples(shipped[0])); err != nil {
		t.Fatal(err)
	}
	most := s.PoolSize()
	for room, refused := range map[int64]bool{most + beside/4: true, most + beside + 4<<20: false} {
		s.Trim()
		l.LimitMemory(room)
		if err := runOnce(s, samples(shipped[0])); refused != (problem.CodeOf(err) == problem.PayloadTooLarge) {
			t.Errorf("within %d bytes, %d of them beside the pool: %v", room, beside, err)
		}
	}
}
