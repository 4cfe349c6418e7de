package batch

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// shapes of models, as measured on two processors: time by rows and by how many
// runs there are at once.
func modelCosts() map[string]func(rows, running int) time.Duration {
	ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
	return map[string]func(rows, running int) time.Duration{
		// Every row costs the same: text-detect, text-recognize.
		"flat": func(rows, _ int) time.Duration { return ms(10 * float64(rows)) },
		// Larger runs are slower by the row.
		"worse": func(rows, _ int) time.Duration { return ms(8*float64(rows) + 0.05*float64(rows*rows)) },
		// A recurrent model: 1.43, 1.93, 2.24, 2.54 times as many rows a second.
		"recurrent": func(rows, _ int) time.Duration { return ms(1.2 + 0.8*float64(rows)) },
		// Weights stream from memory, whose bandwidth the runs share.
		"bandwidth": func(rows, running int) time.Duration { return ms(9.5*float64(running) + 0.5*float64(rows)) },
		// Very short runs.
		"tiny": func(rows, _ int) time.Duration { return ms(0.02 + 0.002*float64(rows)) },
		// A best size in the middle.
		"hump": func(rows, _ int) time.Duration {
			if rows > 4 {
				return ms(4 + 2.2*float64(rows))
			}
			return ms(4 + 1*float64(rows))
		},
	}
}

// closedLoop is the answers of clients that call again after each answer, in a
// bubble's time, once what is learned has settled.
func closedLoop(t *testing.T, cost func(int, int) time.Duration, clients, slots, fixed int, measured bool) float64 {
	t.Helper()
	var answers atomic.Int64
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: cost}
		_, q := newQueue(t, slots, 4*clients, f, func(m *Model) {
			if measured {
				m.Points = points(cost, slots)
			}
			m.MaxRows = fixed
		})
		// So many of the shortest runs.
		settling, measuring := 200*cost(1, 1), 400*cost(1, 1)
		began := time.Now()
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				away := rand.New(rand.NewPCG(uint64(i), 1))
				for time.Since(began) < settling+measuring {
					if _, err := ask(t.Context(), t, q, request("", float32(i))); err != nil {
						t.Error(err)
					}
					if time.Since(began) > settling {
						answers.Add(1)
					}
					time.Sleep(20*time.Microsecond + time.Duration(away.IntN(80))*time.Microsecond)
				}
			})
		}
		wg.Wait()
	})
	return float64(answers.Load())
}

// TestNoFixedSizeIsBetter holds what is learned against every fixed size of
// batch, for models of different kinds and any number of clients.
func TestNoFixedSizeIsBetter(t *testing.T) {
	t.Parallel()
	for name, cost := range modelCosts() {
		for _, clients := range []int{1, 2, 3, 8, 9, 32} {
			for _, measured := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%d/%v", name, clients, measured), func(t *testing.T) {
					t.Parallel()
					learned := closedLoop(t, cost, clients, 2, 0, measured)
					best, size, none := 0.0, 0, 0.0
					for _, fixed := range []int{1, 2, 4, 8, 16, 32} {
						rate := closedLoop(t, cost, clients, 2, fixed, true)
						if fixed == 1 {
							none = rate
						}
						if rate > best {
							best, size = rate, fixed
						}
					}
					if os.Getenv("MS_SIM") != "" {
						fmt.Printf("%-10s %2d %-5v learned/best %.3f (at %d) learned/none %.3f\n", name, clients, measured, learned/best, size, learned/none)
					}
					least := 0.97
					if !measured {
						least = 0.65 // it is still learning
					}
					if cut := float64(clients); learned < least*best || learned+cut < 0.99*none { // by the end of a turn
						t.Errorf("learned %.0f answers, %.0f with size %d, %.0f with none", learned, best, size, none)
					}
				})
			}
		}
	}
}

// seeds is how many random histories are tried; MODELSERVE_SEEDS asks for more.
func seeds(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("MODELSERVE_SEEDS")
	if text == "" {
		return 1000
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRandomRequestsEachHaveOneOutcome runs random requests of random callers for random models:
// large and small, cancelled, late, faulty. Whatever happens, each has one
// outcome, its own rows, in time, and nothing is left behind.
func TestRandomRequestsEachHaveOneOutcome(t *testing.T) {
	t.Parallel()
	const lanes = 8
	for lane := range uint64(lanes) {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			for seed := lane; seed < seeds(t) && !t.Failed(); seed += lanes {
				synctest.Test(t, func(t *testing.T) { history(t, seed) })
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}
		})
	}
}

func history(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 7))
	slots := 1 + random.IntN(3)
	s, err := New(Config{Slots: slots, Queue: random.IntN(20)})
	if err != nil {
		t.Fatal(err)
	}
	var running atomic.Int32
	var queues []*Queue
	var holds atomic.Int32
	costs := modelCosts()
	for i, name := range slices.Sorted(maps.Keys(costs)) {
		if random.IntN(3) > 0 && i > 0 {
			continue
		}
		f := &fake{t: t, slots: int32(slots), cost: costs[name]}
		if random.IntN(2) == 0 {
			f.poison = 13
		}
		m := Model{
			Name: name, Signature: doubling(), Runner: &counted{f, &running, int32(slots), t},
			Hold: func() func() { holds.Add(1); return func() { holds.Add(-1) } },
		}
		if random.IntN(2) == 0 {
			m.Points = points(costs[name], slots)
		}
		if random.IntN(4) == 0 {
			m.MaxRows = 1 + random.IntN(8)
		}
		if random.IntN(4) == 0 {
			m.MaxDelay = time.Duration(random.IntN(5000)) * time.Microsecond
		}
		queues = append(queues, s.NewQueue(m))
	}
	var wg sync.WaitGroup
	for range 2 + random.IntN(60) {
		c := caller{
			queue: queues[random.IntN(len(queues))], tenant: fmt.Sprint(random.IntN(4)), rows: 1 + random.IntN(3),
			priority: uint64(random.IntN(4)), calls: 1 + random.IntN(4), value: float32(20 + random.IntN(1000)),
			start: time.Duration(random.IntN(40_000)) * time.Microsecond,
		}
		if random.IntN(10) == 0 {
			c.rows = 1 + random.IntN(150)
		}
		if random.IntN(10) == 0 {
			c.value = 13
		}
		if random.IntN(3) == 0 {
			c.timeout = time.Duration(random.IntN(60_000)) * time.Microsecond
		}
		wg.Go(func() { c.call(t) })
	}
	wg.Wait()
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free != slots || s.busy.used != 0 || len(s.fair.active) != 0 || s.fair.running != 0 || holds.Load() != 0 {
		t.Errorf("left behind: %d of %d slots, %d active, %d running, %d holds", s.free, slots, len(s.fair.active), s.fair.running, holds.Load())
	}
	for _, q := range queues {
		for _, c := range q.classes {
			if q.waiting != 0 || len(c.items) != 0 || c.rows != 0 || c.runs != 0 || c.inRuns != 0 {
				t.Errorf("%s: left behind: %d waiting, %d items, %d rows, %d runs", q.m.Name, q.waiting, len(c.items), c.rows, c.runs)
			}
		}
	}
}

// counted holds the slots of all models together.
type counted struct {
	Runner
	running *atomic.Int32
	slots   int32
	t       *testing.T
}

func (c *counted) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
	if n := c.running.Add(1); n > c.slots {
		c.t.Errorf("%d runs in %d slots", n, c.slots)
	}
	defer c.running.Add(-1)
	return c.Runner.Run(ctx, held, inputs, outputs)
}

// caller makes calls one after the other.
type caller struct {
	queue          *Queue
	tenant         string
	rows, calls    int
	priority       uint64
	value          float32
	start, timeout time.Duration
}

func (c *caller) call(t *testing.T) {
	time.Sleep(c.start)
	for range c.calls {
		ctx, cancel := context.WithCancel(t.Context())
		if c.timeout > 0 {
			ctx, cancel = context.WithTimeout(t.Context(), c.timeout)
		}
		values := make([]float32, c.rows)
		for i := range values {
			values[i] = c.value
		}
		req := request(c.tenant, values...)
		req.Priority = c.priority
		began := time.Now()
		_, err := ask(ctx, t, c.queue, req)
		// What is read in place must not be read any more.
		clear(req.Inputs[0].Data)
		took := time.Since(began)
		cancel()
		if c.timeout > 0 && took > c.timeout {
			t.Errorf("an outcome %v after the deadline: %v", took-c.timeout, err)
		}
		switch code := problem.CodeOf(err); {
		case err == nil, code == problem.Overloaded:
		case code == problem.InvalidArgument && c.value == 13:
		case code == problem.DeadlineExceeded && c.timeout > 0:
		default:
			t.Errorf("value %v, timeout %v: %v", c.value, c.timeout, err)
		}
	}
}

// TestShares holds that tenants who flood get equal parts of the time whatever
// their requests cost, and that one with little hardly waits for them.
func TestShares(t *testing.T) {
	t.Parallel()
	for name, cost := range modelCosts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { shares(t, cost) })
		})
	}
}

func shares(t *testing.T, cost func(int, int) time.Duration) {
	f := &fake{cost: cost}
	_, q := newQueue(t, 2, 400, f, func(m *Model) { m.Points = points(cost, 2) })
	length := 600 * cost(1, 1)
	began := time.Now()
	var wg sync.WaitGroup
	var rows [2]atomic.Int64
	for i := range rows {
		for range 120 / (1 + 2*i) {
			wg.Go(func() {
				for time.Since(began) < length {
					// One sends few rows at a time, the other many.
					req := request(fmt.Sprint(i), make([]float32, 1+2*i)...)
					if _, err := ask(t.Context(), t, q, req); err != nil {
						t.Error(err)
					}
					rows[i].Add(int64(1 + 2*i))
				}
			})
		}
	}
	var waits []float64
	wg.Go(func() {
		for time.Since(began) < length {
			sent := time.Now()
			if _, err := ask(t.Context(), t, q, request("light", 1)); err != nil {
				t.Error(err)
			}
			waits = append(waits, float64(time.Since(sent))/float64(cost(1, 2)))
			time.Sleep(3 * cost(1, 1))
		}
	})
	wg.Wait()
	// Shares are of time, and rows that come together may take less of it.
	least := 0.9 * min(1, float64(cost(3, 2))/3/float64(cost(1, 2)))
	if ratio := float64(rows[0].Load()) / float64(rows[1].Load()); ratio < least || ratio > 1.15 {
		t.Errorf("the rows of two who flood are %.2f to 1, expected %.2f at least", ratio, least)
	}
	// It is known for one with little by its first call, and its second waits for
	// a run that began before.
	waits = waits[2:]
	slices.Sort(waits)
	if p99 := waits[len(waits)*99/100]; p99 > 3 {
		t.Errorf("the light one's p99 is %.1f times a run beside another", p99)
	} else if os.Getenv("MS_SIM") != "" {
		fmt.Printf("light p99 %.2f median %.2f\n", p99, waits[len(waits)/2])
	}
}
