package batch

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// fake is a model that doubles x [n, 2] into y, at a cost in (bubble) time. It
// checks what a scheduler must keep.
type fake struct {
	t     *testing.T
	cost  func(rows, running int) time.Duration
	slots int32

	running atomic.Int32
	mu      sync.Mutex
	sizes   []int
	poison  float32 // a value that makes a run fail; 0 is none
	broken  bool    // answers one row whatever it is asked
	panics  atomic.Bool
}

func (f *fake) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	n := f.running.Add(1)
	defer f.running.Add(-1)
	if n > f.slots {
		f.t.Errorf("%d runs at once, in %d slots", n, f.slots)
	}
	x := inputs[0]
	rows := int(x.Shape[0])
	f.mu.Lock()
	f.sizes = append(f.sizes, rows)
	f.mu.Unlock()
	if f.panics.Load() {
		panic("a model's mistake")
	}
	if f.cost != nil {
		timer := time.NewTimer(f.cost(rows, int(n)))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	values, err := infer.Values[float32](&x)
	if err != nil {
		return nil, nil, err
	}
	out := make([]float32, len(values))
	for i, v := range values {
		if f.poison != 0 && v == f.poison {
			return nil, nil, problem.New(problem.InvalidArgument, "poison in row %d", i/2)
		}
		out[i] = 2 * v
	}
	shape := slices.Clone(x.Shape)
	if f.broken && rows > 1 {
		out, shape[0] = out[:2], 1
	}
	released := false
	return []infer.Tensor{infer.NewTensor("y", shape, out)}, func() {
		if released {
			f.t.Error("outputs released twice")
		}
		released = true
		for i := range out { // whoever still reads finds it out
			out[i] = float32(math.NaN())
		}
	}, nil
}

func (f *fake) ran() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sizes)
}

func doubling() *infer.Signature {
	axis := 0
	spec := func(name string) []infer.TensorSpec {
		return []infer.TensorSpec{{Name: name, DataType: infer.FP32, Shape: []int64{infer.Dynamic, 2}, Example: []int64{1, 2}}}
	}
	return &infer.Signature{Inputs: spec("x"), Outputs: spec("y"), BatchAxis: &axis}
}

func newQueue(t *testing.T, slots, queue int, f *fake, with func(*Model)) (*Scheduler, *Queue) {
	t.Helper()
	s, err := New(Config{Slots: slots, Queue: queue})
	if err != nil {
		t.Fatal(err)
	}
	f.t, f.slots = t, int32(slots)
	m := Model{Name: "double", Signature: doubling(), Runner: f}
	if with != nil {
		with(&m)
	}
	return s, s.NewQueue(m)
}

// request is rows of a value each.
func request(tenant string, values ...float32) *infer.Request {
	data := make([]float32, 0, 2*len(values))
	for _, v := range values {
		data = append(data, v, v+0.5)
	}
	return &infer.Request{Tenant: tenant, Inputs: []infer.Tensor{infer.NewTensor("x", []int64{int64(len(values)), 2}, data)}}
}

// ask runs a request and checks that the answer is its own.
func ask(ctx context.Context, t *testing.T, q *Queue, req *infer.Request) (*Result, error) {
	res, err := q.Run(ctx, req, []string{"y"})
	if err != nil {
		return nil, err
	}
	defer res.Release()
	in, _ := infer.Values[float32](&req.Inputs[0])
	out, err := infer.Values[float32](&res.Outputs[0])
	if err != nil || len(out) != len(in) || !slices.Equal(res.Outputs[0].Shape, req.Inputs[0].Shape) {
		t.Errorf("answer %v of shape %v to %d values: %v", out, res.Outputs[0].Shape, len(in), err)
		return res, nil
	}
	for i := range in {
		if out[i] != 2*in[i] {
			t.Errorf("value %d: 2*%v is %v", i, in[i], out[i])
			break
		}
	}
	return res, nil
}

// linear costs a fixed time a run and a time for each row.
func linear(run, row time.Duration) func(int, int) time.Duration {
	return func(rows, _ int) time.Duration { return run + time.Duration(rows)*row }
}

func points(cost func(rows, running int) time.Duration, slots int) []Point {
	var p []Point
	for size := 1; size <= maxRows; size *= 2 {
		p = append(p, Point{Size: size, Alone: cost(size, 1), Busy: cost(size, slots)})
	}
	return p
}

func TestALoneRequestRunsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(5*time.Millisecond, time.Millisecond)}
		_, q := newQueue(t, 2, 8, f, func(m *Model) { m.Points = points(f.cost, 2) })
		for range 5 {
			began := time.Now()
			res, err := ask(t.Context(), t, q, request("", 1))
			if err != nil || time.Since(began) != 6*time.Millisecond || res.Timing.Queue != 0 || res.Timing.BatchSize != 1 {
				t.Fatalf("%v after %v, %+v", err, time.Since(began), res)
			}
		}
	})
}

func TestWhatWaitsIsJoined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(10*time.Millisecond, 10*time.Microsecond)}
		_, q := newQueue(t, 1, 64, f, func(m *Model) { m.Points = points(f.cost, 1) })
		var wg sync.WaitGroup
		for i := range 9 {
			wg.Go(func() {
				if _, err := ask(t.Context(), t, q, request("", float32(i))); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if got := f.ran(); !slices.Equal(got, []int{1, 8}) {
			t.Errorf("runs of %v rows", got)
		}
	})
}

func TestWhatGainsNothingIsNotJoined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(0, 10*time.Millisecond)}
		_, q := newQueue(t, 2, 64, f, func(m *Model) { m.Points = points(f.cost, 2) })
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				if _, err := ask(t.Context(), t, q, request("", float32(i))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := f.ran(); slices.Max(got) > 1 {
			t.Errorf("runs of %v rows", got)
		}
	})
}

// TestDeadlinesInRealTime holds that a wait ends early enough for timers that
// are late, as real ones are: of some, one at least, however busy the machine.
func TestDeadlinesInRealTime(t *testing.T) {
	t.Parallel()
	f := &fake{}
	_, q := newQueue(t, 1, 4, f, func(m *Model) { m.MaxRows, m.MaxDelay = 8, time.Minute })
	for range 2 { // full batches, of which the second is learned from
		if _, err := ask(t.Context(), t, q, request("", 1, 2, 3, 4, 5, 6, 7, 8)); err != nil {
			t.Fatal(err)
		}
	}
	var last error
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, last = ask(ctx, t, q, request("", 1))
		cancel()
		if last == nil {
			return
		}
	}
	t.Errorf("none of 10 waits ended in time: %v", last)
}

func TestEmptyRowsAreOneRun(t *testing.T) {
	t.Parallel()
	sig := doubling()
	sig.Inputs[0].Shape = []int64{infer.Dynamic, infer.Dynamic}
	q := &Queue{m: Model{Signature: sig}, rules: &Rules{}}
	f := q.formOf(nil, &infer.Request{Inputs: []infer.Tensor{{Name: "x", DataType: infer.FP32, Shape: []int64{60_000_000, 0}}}}, nil)
	if f.joins || f.rows != 1 {
		t.Errorf("%d rows of nothing are %+v", 60_000_000, f)
	}
}

// TestWhatIsNotShownIsNotJoined holds that only such requests share a run as
// rows were shown to be independent of.
func TestWhatIsNotShownIsNotJoined(t *testing.T) {
	t.Parallel()
	sig := doubling()
	sig.Inputs = append(sig.Inputs,
		infer.TensorSpec{Name: "by", DataType: infer.FP32, Shape: []int64{1}, Optional: true, Unbatched: true},
		infer.TensorSpec{Name: "past", DataType: infer.FP32, Shape: []int64{infer.Dynamic, infer.Dynamic}})
	q := &Queue{m: Model{Signature: sig}, rules: &Rules{}}
	x := infer.NewTensor("x", []int64{1, 1}, []float32{1})
	past := infer.NewTensor("past", []int64{1, 2}, []float32{1, 2})
	for name, tc := range map[string]struct {
		inputs []infer.Tensor
		joins  bool
	}{
		"all that is required": {[]infer.Tensor{x, past}, true},
		"an optional input":    {[]infer.Tensor{x, past, infer.NewTensor("by", []int64{1}, []float32{2})}, false},
		"an empty input":       {[]infer.Tensor{x, infer.NewTensor("past", []int64{1, 0}, []float32(nil))}, false},
		"no row":               {[]infer.Tensor{infer.NewTensor("x", []int64{0, 1}, []float32(nil)), infer.NewTensor("past", []int64{0, 2}, []float32(nil))}, false},
	} {
		if f := q.formOf(nil, &infer.Request{Inputs: tc.inputs}, nil); f.joins != tc.joins {
			t.Errorf("%s: joins %v", name, f.joins)
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(time.Second, 0)}
		s, q := newQueue(t, 1, 64, f, func(m *Model) { m.Points = points(f.cost, 1) })
		var wg sync.WaitGroup
		ctxs := make([]context.CancelFunc, 6)
		var errs [6]error
		for i := range 6 {
			ctx, cancel := context.WithCancel(t.Context())
			ctxs[i] = cancel
			wg.Go(func() { _, errs[i] = ask(ctx, t, q, request("", float32(i))) })
			synctest.Wait()
		}
		ctxs[1]() // while it waits
		synctest.Wait()
		if n := waiting(q); !errors.Is(errs[1], context.Canceled) || n != 4 {
			t.Errorf("%v, %d wait", errs[1], n)
		}
		time.Sleep(1500 * time.Millisecond) // now 2 to 5 run together
		ctxs[2]()
		synctest.Wait()
		if !errors.Is(errs[2], context.Canceled) {
			t.Errorf("in a batch: %v", errs[2])
		}
		for i := 3; i < 6; i++ {
			ctxs[i]()
		}
		began := time.Now()
		wg.Wait()
		s.Close()
		if time.Since(began) != 0 {
			t.Errorf("a run without callers went on for %v", time.Since(began))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.free != 1 || q.waiting != 0 || len(s.fair.active) != 0 {
			t.Errorf("%d slots, %d wait, %d active", s.free, q.waiting, len(s.fair.active))
		}
		for _, cancel := range ctxs {
			cancel()
		}
	})
}

func TestPriorityOrdersWithinATenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(0, time.Second)}
		_, q := newQueue(t, 1, 64, f, func(m *Model) { m.Points = points(f.cost, 1) })
		var wg sync.WaitGroup
		var mu sync.Mutex
		var order []uint64
		for _, priority := range []uint64{0, 0, 200, 1, 100, 2} {
			req := request("", 1)
			req.Priority = priority
			wg.Go(func() {
				if _, err := ask(t.Context(), t, q, req); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, priority)
			})
			synctest.Wait()
		}
		wg.Wait()
		if !slices.Equal(order, []uint64{0, 1, 2, 0, 100, 200}) {
			t.Errorf("order %v", order)
		}
	})
}

func TestLargeRequestsRunInParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(0, 10*time.Millisecond)}
		_, q := newQueue(t, 2, 1, f, func(m *Model) { m.Points = points(f.cost, 2) })
		values := make([]float32, 1000)
		for i := range values {
			values[i] = float32(i)
		}
		began := time.Now()
		res, err := ask(t.Context(), t, q, request("", values...))
		if err != nil || res.Timing.BatchSize != 1000 {
			t.Fatalf("%v, %+v", err, res)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("two slots took %v for 10 s of work", took)
		}
		if slices.Max(f.ran()) > maxRows {
			t.Errorf("runs of %v rows", f.ran())
		}
		f.poison = 700
		if _, err := ask(t.Context(), t, q, request("", values...)); problem.CodeOf(err) != problem.InvalidArgument {
			t.Errorf("with a poisoned row: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		f.poison = 0
		if _, err := ask(ctx, t, q, request("", values...)); problem.CodeOf(err) != problem.DeadlineExceeded {
			t.Errorf("past its deadline: %v", err)
		}
	})
}
