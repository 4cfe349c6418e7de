package batch

import (
	"context"
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

// charging is a model that answers each row with so many bytes, as an ONNX session
// charges them.
type charging struct {
	row  int64
	text bool

	allocated, most atomic.Int64 // bytes that nobody was asked for are a fault of whoever charges
	runs            atomic.Int64
}

func (c *charging) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	c.runs.Add(1)
	time.Sleep(time.Millisecond)
	rows := inputs[0].Shape[0]
	n := rows * c.row
	if err := held.Take(ctx, n); err != nil {
		return nil, nil, err
	}
	c.most.Store(max(c.most.Load(), c.allocated.Add(n)))
	y := infer.Tensor{Name: "y", DataType: infer.Uint8, Shape: []int64{rows, c.row}, Data: make([]byte, n)}
	if c.text {
		y = infer.NewBytes("y", []int64{rows}, slices.Repeat([]string{string(make([]byte, c.row-4))}, int(rows))...)
	}
	return []infer.Tensor{y}, func() { c.allocated.Add(-n) }, nil
}

func (c *charging) model(m *Model) {
	m.Runner = c
	y := &m.Signature.Outputs[0]
	y.DataType, y.Shape = infer.Uint8, []int64{infer.Dynamic, c.row}
	if c.text {
		y.DataType, y.Shape = infer.Bytes, []int64{infer.Dynamic}
	}
}

// TestOutputsAreChargedAsTheyAreMade holds that whatever requests of one tenant make, in
// whatever way they are run, all of it is in the account, that some of them are answered
// and the others refused to come back, and that nothing of it stays.
func TestOutputsAreChargedAsTheyAreMade(t *testing.T) {
	t.Parallel()
	const row = 1000
	for name, tc := range map[string]struct {
		rows, maxRows, calls int
		text                 bool
		size                 int64 // of the account
		answered             int   // at least
	}{
		"alone":                        {1, 1, 24, false, 6 * row, 3},
		"together":                     {1, 8, 24, false, 40 * row, 10},
		"together, more than there is": {1, 8, 24, false, 6 * row, 1},
		"in parts":                     {60, 4, 24, false, 200 * row, 1},
		"in few parts":                 {64, 16, 24, false, 330 * row, 1},
		"texts in parts":               {60, 4, 24, true, 300 * row, 1},
		"one of a share":               {40, 4, 1, false, 120 * row, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &charging{row: row, text: tc.text}
				s, q := newQueue(t, 2, 64, &fake{}, func(m *Model) { c.model(m); m.MaxRows = tc.maxRows })
				account := memory.New(tc.size, time.Second)
				var answered, read atomic.Int64
				var calls sync.WaitGroup
				for range tc.calls {
					calls.Go(func() {
						held := account.Open("a")
						defer held.End()
						req := request("a", make([]float32, tc.rows)...)
						req.Held = held
						res, err := q.Run(t.Context(), req, []string{"y"})
						if err != nil {
							if problem.CodeOf(err) != problem.Overloaded {
								t.Errorf("got %v", err)
							}
							return
						}
						answered.Add(1)
						if n := size(res.Outputs); n != int64(tc.rows)*row {
							t.Errorf("%d bytes", n)
						}
						if sum := read.Add(size(res.Outputs)); account.Used() < sum {
							t.Errorf("%d bytes are charged of %d", account.Used(), sum)
						}
						time.Sleep(200 * time.Millisecond) // it is read
						read.Add(-size(res.Outputs))
						res.Release()
					})
				}
				calls.Wait()
				s.Close()
				if answered.Load() < int64(tc.answered) {
					t.Errorf("%d were answered", answered.Load())
				}
				if used := account.Used(); used != 0 || c.allocated.Load() != 0 {
					t.Errorf("%d bytes are charged, %d allocated at the end", used, c.allocated.Load())
				}
				if most := c.most.Load(); most > tc.size/2 {
					t.Errorf("%d bytes at once, of %d", most, tc.size/2)
				}
			})
		})
	}
}

// TestARunThatFindsNoMemoryLeavesItsSlot holds that others run while one waits for the
// memory of its outputs, and that it runs when that is there.
func TestARunThatFindsNoMemoryLeavesItsSlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &charging{row: 100}
		_, q := newQueue(t, 1, 64, &fake{}, c.model)
		account := memory.New(400, time.Second)
		reader, waiter, other := account.Open("a"), account.Open("a"), account.Open("b")
		if err := reader.Take(t.Context(), 150); err != nil {
			t.Fatal(err)
		}
		var waits sync.WaitGroup
		waits.Go(func() {
			req := request("a", 1)
			req.Held = waiter
			res, err := q.Run(t.Context(), req, []string{"y"})
			if err != nil {
				t.Error(err)
				return
			}
			res.Release()
		})
		time.Sleep(100 * time.Millisecond) // it waits
		began := time.Now()
		req := request("b", 1)
		req.Held = other
		res, err := q.Run(t.Context(), req, []string{"y"})
		if err != nil || time.Since(began) > 2*time.Millisecond {
			t.Fatalf("another tenant waited %s: %v", time.Since(began), err)
		}
		res.Release()
		reader.End()
		waits.Wait()
		if n := c.runs.Load(); n != 3 {
			t.Errorf("%d runs, expected one of the other and two of its own", n)
		}
		waiter.End()
		other.End()
		if account.Used() != 0 {
			t.Errorf("%d bytes are left", account.Used())
		}
	})
}
