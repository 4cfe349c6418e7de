package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/bucket"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// session doubles its rows, and counts how often the shape changed under it.
type session struct {
	mu      sync.Mutex
	shapes  []string // of the runs, in order
	changes int
	closed  bool
	trims   int
	held    int

	refuses func(rows int64) error
	sums    bool          // one output for all rows
	busy    chan struct{} // runs wait here; nil does not
}

func (s *session) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	s.mu.Lock()
	shape := fmt.Sprint(inputs[0].Shape)
	if n := len(s.shapes); n > 0 && s.shapes[n-1] != shape {
		s.changes++
	}
	s.shapes = append(s.shapes, shape)
	s.mu.Unlock()
	if s.busy != nil {
		select {
		case <-s.busy:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	if s.refuses != nil {
		if err := s.refuses(inputs[0].Shape[0]); err != nil {
			return nil, nil, err
		}
	}
	values, err := infer.Values[float32](&inputs[0])
	if err != nil {
		return nil, nil, err
	}
	y := make([]float32, len(values))
	for i, v := range values {
		y[i] = 2 * v
	}
	shapeOf := slices.Clone(inputs[0].Shape)
	if s.sums {
		y, shapeOf = []float32{values[0]}, []int64{1}
	}
	s.mu.Lock()
	s.held++
	s.mu.Unlock()
	return []infer.Tensor{infer.NewTensor("y", shapeOf, y)}, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held--
	}, nil
}

func (s *session) Memory() int64 { return 10 }

func (s *session) Trim() { s.trims++ }

func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func signature() *infer.Signature {
	axis := 0
	return &infer.Signature{
		Inputs:    []infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{-1, -1}}},
		Outputs:   []infer.TensorSpec{{Name: "y", DataType: infer.FP32, Shape: []int64{-1, -1}}},
		BatchAxis: &axis,
	}
}

func rows(n, width int) []infer.Tensor {
	values := make([]float32, n*width)
	for i := range values {
		values[i] = float32(i + 1)
	}
	return []infer.Tensor{infer.NewTensor("x", []int64{int64(n), int64(width)}, values)}
}

func run(t *testing.T, m *bucket.Model, in []infer.Tensor) {
	t.Helper()
	out, release, err := m.Run(t.Context(), memory.Unbounded{}, in, nil)
	if err != nil {
		t.Errorf("%v: %v", in[0].Shape, err)
		return
	}
	defer release()
	got, err := infer.Values[float32](&out[0])
	if err != nil || !slices.Equal(out[0].Shape, in[0].Shape) {
		t.Errorf("%v became %v, %v", in[0].Shape, out[0].Shape, err)
		return
	}
	want, _ := infer.Values[float32](&in[0])
	for i := range want {
		if got[i] != 2*want[i] {
			t.Errorf("%v: element %d is %v, not %v", in[0].Shape, i, got[i], 2*want[i])
			return
		}
	}
}

// Once every bucket has its session, no session sees another shape again.
func TestShapesKeepToTheirSessions(t *testing.T) {
	t.Parallel()
	first := &session{}
	all := []*session{first}
	m := bucket.New(first, bucket.Config{Signature: signature(), Sessions: 4, Open: func() (bucket.Session, error) {
		s := &session{}
		all = append(all, s)
		return s, nil
	}})
	for range 20 {
		for _, n := range []int{1, 2, 3, 5, 7, 4, 8, 6} { // 1, 2, 4 and 8
			run(t, m, rows(n, 3))
		}
	}
	m.Trim()
	if len(all) != 4 || m.Sessions() != 4 || m.Memory() != 40 {
		t.Errorf("%d sessions, %d bytes", len(all), m.Memory())
	}
	for i, s := range all {
		if s.changes > 0 || s.held > 0 || s.trims != 1 {
			t.Errorf("session %d: %d changes of %v, %d held, trimmed %d times", i, s.changes, s.shapes[0], s.held, s.trims)
		}
	}
	run(t, m, rows(1, 9)) // one too many: it takes the place of what was idle longest, one row of 3
	run(t, m, rows(8, 3))
	run(t, m, rows(6, 3))
	changes := 0
	for _, s := range all {
		changes += s.changes
	}
	if changes != 1 {
		t.Errorf("%d changes, not one", changes)
	}
	if err := m.Close(); err != nil || slices.ContainsFunc(all, func(s *session) bool { return !s.closed }) {
		t.Errorf("not all closed: %v", err)
	}
}

func TestRunsAtOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	opened := 1
	m := bucket.New(&session{}, bucket.Config{Signature: signature(), Sessions: 3, Open: func() (bucket.Session, error) {
		mu.Lock()
		defer mu.Unlock()
		opened++
		return &session{}, nil
	}})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				run(t, m, rows(1+(i+j)%9, 1+j%2))
			}
		})
	}
	wg.Wait()
	if opened != 3 || m.Sessions() != 3 {
		t.Errorf("%d opened, %d kept", opened, m.Sessions())
	}
}

// Without memory for another, those that are there serve.
func TestSessionThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	first, tried := &session{}, 0
	m := bucket.New(first, bucket.Config{Signature: signature(), Sessions: 8, Open: func() (bucket.Session, error) {
		tried++
		return nil, errors.New("out of memory")
	}})
	for range 3 {
		for n := range 10 {
			run(t, m, rows(n+1, 2))
		}
	}
	if tried != 1 || m.Sessions() != 1 {
		t.Errorf("tried %d times, %d sessions", tried, m.Sessions())
	}
}

// A run that waits for its session to be opened ends with its caller.
func TestCallerWhoLeavesWhileASessionOpens(t *testing.T) {
	t.Parallel()
	opening, goOn := make(chan struct{}), make(chan struct{})
	m := bucket.New(&session{}, bucket.Config{Signature: signature(), Sessions: 2, Open: func() (bucket.Session, error) {
		close(opening)
		<-goOn
		return &session{}, nil
	}})
	run(t, m, rows(1, 1))
	var wg sync.WaitGroup
	wg.Go(func() { run(t, m, rows(2, 1)) })
	<-opening
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := m.Run(ctx, memory.Unbounded{}, rows(2, 1), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the waiting run: %v", err)
	}
	close(goOn)
	wg.Wait()
}

func TestWhatIsNotPadded(t *testing.T) {
	t.Parallel()
	unbatched, bounded, fixed, elements := signature(), signature(), signature(), signature()
	unbatched.BatchAxis = nil
	bounded.Inputs[0].MaxShape = []int64{6, -1}
	fixed.Inputs[0].Shape = []int64{5, -1}
	elements.MaxElements = 12
	for name, tc := range map[string]struct {
		sig  *infer.Signature
		rows int
		ran  string
	}{
		"to a power of two":      {signature(), 5, "[8 2]"},
		"a power of two is":      {signature(), 4, "[4 2]"},
		"no rows to pad":         {unbatched, 5, "[5 2]"},
		"to the most there are":  {bounded, 5, "[6 2]"},
		"to the most elements":   {elements, 5, "[6 2]"},
		"the model has a number": {fixed, 5, "[5 2]"},
		"no signature":           {nil, 3, "[3 2]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &session{}
			run(t, bucket.New(s, bucket.Config{Signature: tc.sig}), rows(tc.rows, 2))
			if !slices.Equal(s.shapes, []string{tc.ran}) {
				t.Errorf("it ran %v", s.shapes)
			}
		})
	}
}

// A refusal is of what was given, not of the padding, and an answer to a refused
// padding is found without it.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := &session{refuses: func(rows int64) error {
		if rows > 5 {
			return problem.New(problem.InvalidArgument, "%d rows", rows)
		}
		return nil
	}}
	m := bucket.New(s, bucket.Config{Signature: signature()})
	run(t, m, rows(5, 1))
	if _, _, err := m.Run(t.Context(), memory.Unbounded{}, rows(7, 1), nil); err == nil || err.Error() != "7 rows" {
		t.Errorf("seven rows: %v", err)
	}
	s.refuses = func(int64) error { return errors.New("the device is lost") }
	before := len(s.shapes)
	if _, _, err := m.Run(t.Context(), memory.Unbounded{}, rows(3, 1), nil); err == nil || len(s.shapes) != before+1 {
		t.Errorf("a failure of the machine: %v after %d runs", err, len(s.shapes)-before)
	}
}

// A model that makes one answer of all rows is not padded again, and whoever
// joins rows by the same rule is notified, once, also when they ask later.
func TestAModelThatMixesRowsIsNotPaddedAgain(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"asked before": false, "asked later": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &session{sums: true}
			m := bucket.New(s, bucket.Config{Signature: signature()})
			var reported []string
			report := func(why error) { reported = append(reported, why.Error()) }
			if !late {
				m.Misfits(report)
			}
			for range 2 {
				out, release, err := m.Run(t.Context(), memory.Unbounded{}, rows(3, 1), nil)
				if err != nil || !slices.Equal(out[0].Shape, []int64{1}) {
					t.Fatalf("%v, %v", out, err)
				}
				release()
			}
			if late {
				m.Misfits(report)
			}
			if !slices.Equal(s.shapes, []string{"[4 1]", "[3 1]", "[3 1]"}) || s.held != 0 {
				t.Errorf("it ran %v, %d held", s.shapes, s.held)
			}
			if !slices.Equal(reported, []string{`output "y" of 4 rows has the shape [1]`}) {
				t.Errorf("reported %q", reported)
			}
		})
	}
}

// A model whose rows were seen to depend on each other elsewhere is not padded.
func TestExactIsNotPadded(t *testing.T) {
	t.Parallel()
	s := &session{}
	m := bucket.New(s, bucket.Config{Signature: signature()})
	m.Exact()
	run(t, m, rows(3, 1))
	if !slices.Equal(s.shapes, []string{"[3 1]"}) {
		t.Errorf("it ran %v", s.shapes)
	}
}

// speller answers each row with a text, of another length for each.
type speller struct{ session }

func (s *speller) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
	_, release, err := s.session.Run(ctx, held, inputs, outputs)
	var texts []string
	for i := range inputs[0].Shape[0] {
		texts = append(texts, strings.Repeat("a", int(i)))
	}
	return []infer.Tensor{infer.NewBytes("y", []int64{inputs[0].Shape[0], 1}, texts...)}, release, err
}

// Outputs of text are cut by elements.
func TestTextIsCut(t *testing.T) {
	t.Parallel()
	m := bucket.New(&speller{}, bucket.Config{Signature: signature()})
	out, release, err := m.Run(t.Context(), memory.Unbounded{}, rows(3, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	want := infer.NewBytes("y", []int64{3, 1}, "", "a", "aa")
	if !slices.Equal(out[0].Data, want.Data) || !slices.Equal(out[0].Shape, want.Shape) {
		t.Errorf("%q of shape %v", out[0].Data, out[0].Shape)
	}
}

func TestUnbatchedAndTextAreLeft(t *testing.T) {
	t.Parallel()
	sig := signature()
	sig.Inputs = append(sig.Inputs, infer.TensorSpec{Name: "rate", DataType: infer.FP32, Shape: []int64{}, Unbatched: true})
	s := &session{}
	m := bucket.New(s, bucket.Config{Signature: sig})
	run(t, m, append(rows(3, 1), infer.NewTensor("rate", []int64{}, []float32{16})))
	text := infer.Tensor{Name: "t", DataType: infer.Bytes, Shape: []int64{3}, Data: make([]byte, 12)}
	sig.Inputs = append(sig.Inputs, infer.TensorSpec{Name: "t", DataType: infer.Bytes, Shape: []int64{-1}})
	run(t, m, append(rows(3, 1), text))
	if !slices.Equal(s.shapes, []string{"[4 1]", "[3 1]"}) {
		t.Errorf("it ran %v", s.shapes)
	}
}
