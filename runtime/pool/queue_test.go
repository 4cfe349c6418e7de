package pool_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
)

// configured is a source whose manifests set how to batch.
type configured struct {
	*source
	batching *model.Batching
	cost     *model.Cost
}

func (w *configured) Load(ctx context.Context, ref model.Ref, admit pool.Admit) (*pool.Loaded, error) {
	l, err := w.source.Load(ctx, ref, admit)
	if err == nil {
		l.Manifest.Batching, l.Manifest.Cost = w.batching, w.cost
	}
	return l, err
}

// sameTime is the cost of a model whose runs take as long for any rows.
func sameTime() *model.Cost {
	c := &model.Cost{Memory: 1}
	for _, size := range []int{1, 2, 4, 8, 16} {
		c.Batches = append(c.Batches, model.BatchCost{Size: size, Alone: int64(10 * time.Millisecond), Busy: int64(10 * time.Millisecond)})
	}
	return c
}

// TestRequestsAreJoined holds that requests run together as the manifest's cost
// shows that it pays, or as its publisher sets, and are counted as Triton counts them.
func TestRequestsAreJoined(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		batching *model.Batching
		runs     []uint64 // rows of each size of run
	}{
		"as it pays":             {nil, []uint64{1, 9}},
		"not at all":             {&model.Batching{MaxBatchSize: 1}, []uint64{1}},
		"in threes":              {&model.Batching{MaxBatchSize: 3}, []uint64{1, 3}},
		"whoever comes in 20 ms": {&model.Batching{MaxBatchSize: 16, MaxDelay: 20_000}, []uint64{10}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				p := newPoolOf(t, &configured{src, tc.batching, sameTime()}, func(c *pool.Config) { c.Slots, c.Queue = 1, 64 })
				defer p.Close()
				if err := p.Load(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						if _, err := call(t.Context(), p, "a", ""); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
				}
				wg.Wait()
				stats, err := p.Stats(t.Context(), "a", "")
				if err != nil || len(stats) != 1 {
					t.Fatalf("%+v, %v", stats, err)
				}
				var sizes []uint64
				var runs uint64
				for _, b := range stats[0].Batches {
					sizes = append(sizes, b.BatchSize)
					runs += b.ComputeInfer.Count
				}
				if diff := cmp.Diff(tc.runs, sizes); diff != "" || runs != stats[0].ExecutionCount || stats[0].InferenceCount != 10 {
					t.Errorf("%d runs, %+v; sizes -want +got\n%s", runs, stats[0], diff)
				}
			})
		})
	}
}

// TestASharedRunHoldsItsModel holds that a model is not closed under a batch
// whose callers all went away.
func TestASharedRunHoldsItsModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.runTime = time.Second
		p := newPoolOf(t, &stubborn{&configured{src, nil, sameTime()}}, func(c *pool.Config) { c.Slots, c.Queue = 1, 64 })
		if err := p.Load(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { _, _ = call(ctx, p, "a", "") })
			synctest.Wait()
		}
		time.Sleep(1500 * time.Millisecond) // the first is answered, and four run
		cancel()
		wg.Wait()
		if err := p.Unload(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := src.open.Load(); n != 1 {
			t.Errorf("%d sessions are open under the run", n)
		}
		p.Close()
		if n := src.open.Load(); n != 0 {
			t.Errorf("%d sessions left open", n)
		}
	})
}

// stubborn is a source whose sessions finish what they began, whatever is
// cancelled.
type stubborn struct{ *configured }

func (s *stubborn) Load(ctx context.Context, ref model.Ref, admit pool.Admit) (*pool.Loaded, error) {
	l, err := s.configured.Load(ctx, ref, admit)
	if err == nil {
		l.Session = deaf{l.Session}
	}
	return l, err
}

type deaf struct{ pool.Session }

func (d deaf) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
	return d.Session.Run(context.WithoutCancel(ctx), held, inputs, outputs)
}

// TestAnAnswerIsBounded holds that what a run gave is not answered when it is
// more than answers may have, alone or in a shared run, and holds nothing then.
func TestAnAnswerIsBounded(t *testing.T) {
	t.Parallel()
	for name, batching := range map[string]*model.Batching{"alone": {MaxBatchSize: 1}, "joined": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				p := newPoolOf(t, &swelling{&configured{src, batching, sameTime()}}, func(c *pool.Config) { c.Slots, c.Queue, c.MaxOutput = 1, 64, 1000 })
				defer p.Close()
				if err := p.Load(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				var refused atomic.Int64
				for i := range 10 {
					wg.Go(func() {
						_, err := callWith(t.Context(), p, float32(i%2*997))
						switch known := (*problem.Error)(nil); {
						case i%2 == 0 && err != nil:
							t.Error(err)
						case i%2 == 1 && (!errors.As(err, &known) || known.Code != problem.PayloadTooLarge ||
							!strings.HasPrefix(known.Detail, "the answer has 1001 bytes; expected at most 1000 (MODELSERVE_MAX_OUTPUT)")):
							t.Errorf("got %v", err)
						case i%2 == 1:
							refused.Add(1)
						}
					})
					synctest.Wait()
				}
				wg.Wait()
				if refused.Load() != 5 {
					t.Errorf("%d were refused", refused.Load())
				}
			})
		})
	}
}

func callWith(ctx context.Context, p *pool.Pool, x float32) (*infer.Response, error) {
	lease, err := p.Acquire(ctx, "a", "")
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	return lease.Run(ctx, &infer.Request{
		Model: "a", Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1, 1}, []float32{x})},
	})
}

// swelling is a source whose models give texts of as many bytes as their inputs
// have, which nobody knows before.
type swelling struct{ *configured }

func (s *swelling) Load(ctx context.Context, ref model.Ref, admit pool.Admit) (*pool.Loaded, error) {
	l, err := s.configured.Load(ctx, ref, admit)
	if err == nil {
		l.Session = texts{l.Session}
		l.Manifest.Signature.Outputs[0].DataType = infer.Bytes
	}
	return l, err
}

type texts struct{ pool.Session }

func (s texts) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
	given, release, err := s.Session.Run(ctx, held, inputs, outputs)
	if err != nil {
		return nil, nil, err
	}
	y := infer.Tensor{Name: "y", DataType: infer.Bytes, Shape: given[0].Shape}
	for x := given[0].Data; len(x) > 0; x = x[4:] {
		n := int(math.Float32frombits(binary.LittleEndian.Uint32(x)))
		y.Data = binary.LittleEndian.AppendUint32(y.Data, uint32(n))
		y.Data = append(y.Data, make([]byte, n)...)
	}
	return []infer.Tensor{y}, release, nil
}

// mixing is a source whose models answer one row whatever they are asked. It
// counts the runs of several.
type mixing struct {
	*configured
	joined atomic.Int64
}

func (s *mixing) Load(ctx context.Context, ref model.Ref, admit pool.Admit) (*pool.Loaded, error) {
	l, err := s.configured.Load(ctx, ref, admit)
	if err == nil {
		l.Session = oneRow{l.Session, &s.joined}
	}
	return l, err
}

type oneRow struct {
	pool.Session
	joined *atomic.Int64
}

func (s oneRow) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
	given, release, err := s.Session.Run(ctx, held, inputs, outputs)
	if err != nil {
		return nil, nil, err
	}
	if inputs[0].Shape[0] > 1 {
		s.joined.Add(1)
	}
	return []infer.Tensor{{Name: given[0].Name, DataType: given[0].DataType, Shape: []int64{1, 1}, Data: given[0].Data[:4]}}, release, nil
}

// TestABrokenRuleStaysBroken holds that a version whose rows were seen to mix is
// not joined when it is loaded again, either.
func TestABrokenRuleStaysBroken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &mixing{configured: &configured{newSource(), nil, sameTime()}}
		src.runTime = 10 * time.Millisecond
		p := newPoolOf(t, src, func(c *pool.Config) { c.Slots, c.Queue, c.MaxOutput = 1, 64, 100 })
		defer p.Close()
		many := func() error {
			lease, err := p.Acquire(t.Context(), "a", "")
			if err != nil {
				return err
			}
			defer lease.Release()
			_, err = lease.Run(t.Context(), &infer.Request{
				Model: "a", Inputs: []infer.Tensor{infer.NewTensor("x", []int64{50, 1}, make([]float32, 50))},
			})
			return err
		}
		if err := many(); problem.CodeOf(err) != problem.PayloadTooLarge {
			t.Errorf("50 rows of 4 bytes, of which 100 may be answered: %v", err)
		}
		for _, want := range []int64{1, 0} { // as first loaded, and loaded again
			src.joined.Store(0)
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					if _, err := call(t.Context(), p, "a", ""); err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
			}
			wg.Wait()
			if n := src.joined.Load(); n != want {
				t.Errorf("%d runs of several rows, expected %d", n, want)
			}
			if err := many(); err != nil { // they are one row, as was seen
				t.Errorf("50 rows: %v", err)
			}
			if err := p.Unload(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
	})
}
