package bucket_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/bucket"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Five rows fit the memory, the eight that they are padded to do not.
func TestPaddingThatThereIsNoMemoryFor(t *testing.T) {
	t.Parallel()
	s := &session{refuses: func(rows int64) error {
		if rows > 5 {
			return problem.New(problem.PayloadTooLarge, "no memory for %d rows", rows)
		}
		return nil
	}}
	run(t, bucket.New(s, bucket.Config{Signature: signature()}), rows(5, 1))
}

// A session that opens and has no memory left to run in: the first has.
func TestSessionWithoutMemoryToRun(t *testing.T) {
	t.Parallel()
	m := bucket.New(&session{}, bucket.Config{Signature: signature(), Sessions: 8, Open: func() (bucket.Session, error) {
		return &session{refuses: func(int64) error { return problem.New(problem.PayloadTooLarge, "no memory") }}, nil
	}})
	run(t, m, rows(1, 1))
	for range 3 {
		run(t, m, rows(2, 1))
	}
}

// A model that takes no padding is not asked again and again.
func TestRefusedPaddingIsRemembered(t *testing.T) {
	t.Parallel()
	s := &session{refuses: func(rows int64) error {
		if rows%2 == 0 {
			return problem.New(problem.InvalidArgument, "%d rows", rows)
		}
		return nil
	}}
	m := bucket.New(s, bucket.Config{Signature: signature()})
	for range 3 {
		run(t, m, rows(3, 1))
	}
	if !slices.Equal(s.shapes, []string{"[4 1]", "[3 1]", "[3 1]", "[3 1]"}) {
		t.Errorf("it ran %v", s.shapes)
	}
}

// Requests that are refused take no session from those that are served.
func TestRefusedRequestsTakeNoSessions(t *testing.T) {
	t.Parallel()
	refuse := false
	open := func() *session {
		return &session{refuses: func(int64) error {
			if refuse {
				return problem.New(problem.InvalidArgument, "bad")
			}
			return nil
		}}
	}
	m := bucket.New(open(), bucket.Config{Signature: signature(), Sessions: 8, Open: func() (bucket.Session, error) { return open(), nil }})
	for _, n := range []int{4, 8, 16} {
		run(t, m, rows(n, 1))
	}
	refuse = true
	for _, n := range []int{3, 5, 6, 7} {
		if _, _, err := m.Run(t.Context(), memory.Unbounded{}, rows(n, 1), nil); err == nil {
			t.Error("not refused")
		}
	}
	if m.Sessions() != 3 {
		t.Errorf("%d sessions", m.Sessions())
	}
}

// The caller whose run opens a session may leave, too.
func TestOpenerLeaves(t *testing.T) {
	t.Parallel()
	opening, goOn := make(chan struct{}), make(chan struct{})
	m := bucket.New(&session{}, bucket.Config{Signature: signature(), Sessions: 2, Open: func() (bucket.Session, error) {
		close(opening)
		<-goOn
		return &session{}, nil
	}})
	run(t, m, rows(1, 1))
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, _, err := m.Run(ctx, memory.Unbounded{}, rows(2, 1), nil)
		left <- err
	}()
	<-opening
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("it waited, and got %v", err)
	}
	close(goOn)
	if err := m.Close(); err != nil || m.Sessions() != 2 {
		t.Errorf("%d sessions closed: %v", m.Sessions(), err)
	}
}

// Names in another order are the same shapes.
func TestOrderOfInputs(t *testing.T) {
	t.Parallel()
	sig := signature()
	sig.Inputs = append(sig.Inputs, infer.TensorSpec{Name: "z", DataType: infer.FP32, Shape: []int64{-1, -1}})
	m := bucket.New(&session{}, bucket.Config{Signature: sig, Sessions: 4, Open: func() (bucket.Session, error) { return &session{}, nil }})
	z := infer.NewTensor("z", []int64{1, 1}, []float32{1})
	a := append(rows(1, 1), z)
	b := []infer.Tensor{a[1], a[0]}
	for _, in := range [][]infer.Tensor{a, b} {
		_, release, err := m.Run(t.Context(), memory.Unbounded{}, in, nil)
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	if m.Sessions() != 1 {
		t.Errorf("%d sessions", m.Sessions())
	}
}

// Rows of nothing cost nothing to pad.
func TestRowsOfNothing(t *testing.T) {
	t.Parallel()
	s := &session{}
	m := bucket.New(s, bucket.Config{Signature: signature()})
	in := []infer.Tensor{{Name: "x", DataType: infer.FP32, Shape: []int64{1<<29 + 1, 0}}}
	_, release, err := m.Run(t.Context(), memory.Unbounded{}, in, nil)
	if err == nil {
		release()
	}
	if !slices.Equal(s.shapes, []string{"[536870913 0]"}) {
		t.Errorf("it ran %v", s.shapes)
	}
}

// The publisher's setting bounds a run: 1 is no batching, 6 is no 8.
func TestPublishersBound(t *testing.T) {
	t.Parallel()
	for most, ran := range map[int]string{1: "[5 1]", 6: "[6 1]", 0: "[8 1]"} {
		s := &session{}
		run(t, bucket.New(s, bucket.Config{Signature: signature(), MaxRows: most}), rows(5, 1))
		if !slices.Equal(s.shapes, []string{ran}) {
			t.Errorf("at most %d: it ran %v", most, s.shapes)
		}
	}
}
