package batch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// anyWidth is a model of rows of any width.
func anyWidth(m *Model) {
	m.Signature = doubling()
	m.Signature.Inputs[0].Shape[1], m.Signature.Outputs[0].Shape[1] = infer.Dynamic, infer.Dynamic
	m.Signature.Inputs[0].Example = []int64{1, 1}
}

// wide is one row of a width, all of a value.
func wide(tenant string, width int, value float32) *infer.Request {
	data := make([]float32, width)
	for i := range data {
		data[i] = value
	}
	return &infer.Request{Tenant: tenant, Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1, int64(width)}, data)}}
}

// within asks with so much time.
func within(t *testing.T, q *Queue, req *infer.Request, timeout time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	_, err := ask(ctx, t, q, req)
	return err
}

// learned runs a request often enough to be evidence, and once before that, which
// may have been cold.
func learned(t *testing.T, q *Queue, req *infer.Request) {
	t.Helper()
	for range 1 + minRuns {
		if _, err := ask(t.Context(), t, q, req); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(123456*time.Microsecond, 0)}
		_, q := newQueue(t, 1, 64, f, func(m *Model) { m.Points = points(f.cost, 1); m.MaxDelay = time.Second; m.MaxRows = 8 })
		// A wait that the publisher asks for ends in time for the deadline, whether
		// anything is known of what a run takes or not.
		for range 1 + minRuns {
			began := time.Now()
			if err := within(t, q, request("", 1), 500*time.Millisecond); err != nil {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		}
		ran := len(f.ran())
		// What cannot be met costs no run, and the error states by what it is known.
		began := time.Now()
		err := within(t, q, request("", 1), 50*time.Millisecond)
		if time.Since(began) > 0 {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if problem.CodeOf(err) != problem.DeadlineExceeded || len(f.ran()) != ran ||
			!strings.Contains(err.Error(), "50ms are left of the request's time, and its run takes about 123ms") {
			t.Errorf("after %d runs: %v", len(f.ran())-ran, err)
		}
	})
}

// TestAShapeThatNeverRanIsRun holds that no request is refused by what others
// took: of another length, of more rows, or as measured elsewhere. whisper80 pads
// each recording to 30 s, so a run takes as long for any length.
func TestAShapeThatNeverRanIsRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(197*time.Millisecond, 0)}
		_, q := newQueue(t, 1, 64, f, func(m *Model) { anyWidth(m); m.Points = points(f.cost, 1) })
		learned(t, q, wide("", 1, 1))
		for _, width := range []int{20_000, 48_000, 160_000, 480_001} {
			if err := within(t, q, wide("", width, 2), 300*time.Millisecond); err != nil {
				t.Errorf("width %d: %v", width, err)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(10*time.Millisecond, 0)}
		slow := func(int, int) time.Duration { return time.Second } // as measured elsewhere
		_, q := newQueue(t, 1, 64, f, func(m *Model) { m.Points = points(slow, 1) })
		if err := within(t, q, request("", 1), 50*time.Millisecond); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// In 16 parts on one slot, each of which takes as long as 64 rows did when
		// the machine was busy.
		f := &fake{cost: linear(time.Second, 0)}
		_, q := newQueue(t, 1, 64, f, func(m *Model) { m.MaxRows = 64 })
		learned(t, q, request("", make([]float32, 64)...))
		f.cost = linear(100*time.Millisecond, 0)
		if err := within(t, q, request("", make([]float32, 1024)...), 2*time.Second); err != nil {
			t.Error(err)
		}
	})
}

func TestADeadlineDoesNotStayImpossible(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(time.Second, 0)}
		_, q := newQueue(t, 1, 64, f, nil)
		learned(t, q, request("", 1))
		f.cost = linear(10*time.Millisecond, 0)
		for refused := range 40 {
			if err := within(t, q, request("", 1), 50*time.Millisecond); err == nil {
				if refused == 0 {
					t.Error("what was seen refuses nothing")
				}
				return
			}
		}
		t.Error("refused 40 times though a run takes 10 ms")
	})
}

// TestShorterRowsAreNotRefusedByLonger holds it for lengths that share batches.
func TestShorterRowsAreNotRefusedByLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(100*time.Millisecond, 0)}
		_, q := newQueue(t, 1, 64, f, func(m *Model) {
			anyWidth(m)
			m.Signature.Inputs[0].Ragged = &infer.Ragged{Axis: 1, Max: 2000}
			m.Signature.Outputs[0].Ragged = &infer.Ragged{Axis: 1, Of: "x"}
		})
		learned(t, q, wide("", 16, 1))
		if err := within(t, q, wide("", 16, 1), 50*time.Millisecond); problem.CodeOf(err) != problem.DeadlineExceeded {
			t.Errorf("what was seen: %v", err)
		}
		f.cost = linear(10*time.Millisecond, 0)
		if err := within(t, q, wide("", 13, 1), 50*time.Millisecond); err != nil {
			t.Errorf("13 long, by what 16 took: %v", err)
		}
	})
}

// TestUnseenShapesHaveTheirShare holds that a tenant whose requests are never
// of a shape that was seen has its share of the time, no more and no less: what
// its runs may take is expected, and not known.
func TestUnseenShapesHaveTheirShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cost := linear(10*time.Millisecond, 0)
		f := &fake{cost: cost}
		_, q := newQueue(t, 2, 400, f, func(m *Model) { anyWidth(m); m.Points = points(cost, 2); m.MaxRows = 1 })
		began := time.Now()
		var answers [3]atomic.Int64
		var wg sync.WaitGroup
		flood := func(i, clients int, width func() int) {
			for range clients {
				wg.Go(func() {
					for time.Since(began) < 20*time.Second {
						if err := within(t, q, wide(fmt.Sprint(i), width(), 1), time.Minute); err != nil {
							t.Error(err)
						}
						answers[i].Add(1)
					}
				})
			}
		}
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(1, 2))
		varied := func() int {
			mu.Lock()
			defer mu.Unlock()
			return 2 + random.IntN(5000)
		}
		flood(0, 20, varied)
		time.Sleep(time.Second)
		flood(1, 20, func() int { return 1 })
		flood(2, 20, varied)
		wg.Wait()
		// The first had a second, and so 200 runs, for itself.
		for i, n := range []int64{answers[0].Load() - 200, answers[1].Load(), answers[2].Load()} {
			if n < 1150 || n > 1400 {
				t.Errorf("tenant %d has %d answers of 3800 that are for three", i, n)
			}
		}
	})
}

// TestUnknownCostsDoNotKeepRequestsApart holds that requests of a shape whose cost is not yet
// known are joined, though they have deadlines that it may be thought to miss.
func TestUnknownCostsDoNotKeepRequestsApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(10*time.Millisecond, 0)}
		slow := linear(10*time.Second, time.Second) // as measured elsewhere
		_, q := newQueue(t, 1, 64, f, func(m *Model) { anyWidth(m); m.Points = points(slow, 1) })
		var wg sync.WaitGroup
		for i := range 9 {
			wg.Go(func() {
				if err := within(t, q, wide("", 1000, float32(i)), time.Second); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if got := f.ran(); len(got) != 2 {
			t.Errorf("runs of %v rows", got)
		}
	})
}
