package batch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// watched holds that all rows of a run are of one tenant, who is in every value:
// tenant i sends values from 1000*i on. It counts runs of rows of several
// requests, whose values differ.
type watched struct {
	Runner
	t      *testing.T
	joined *atomic.Int64
}

func (w *watched) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
	values, err := infer.Values[float32](&inputs[0])
	if err != nil {
		return nil, nil, err
	}
	differ := false
	for _, v := range values {
		if v == 0 { // padding
			continue
		}
		if int(v)/1000 != int(values[0])/1000 {
			w.t.Errorf("rows of the tenants %d and %d are in one run", int(values[0])/1000, int(v)/1000)
		}
		differ = differ || v != values[0]
	}
	if differ {
		w.joined.Add(1)
	}
	return w.Runner.Run(ctx, held, inputs, outputs)
}

// TestTenantsShareNoRun runs random requests of many tenants for models of every
// kind, some of which break their rules or refuse what they get.
func TestTenantsShareNoRun(t *testing.T) {
	t.Parallel()
	var joined atomic.Int64
	t.Cleanup(func() {
		if joined.Load() < 100 {
			t.Errorf("%d runs of several requests: nothing was tried", joined.Load())
		}
	})
	for seed := range seeds(t) / 10 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { mixedLoad(t, seed, &joined) })
		})
	}
}

func mixedLoad(t *testing.T, seed uint64, joined *atomic.Int64) {
	random := rand.New(rand.NewPCG(seed, 11))
	cost := modelCosts()[[]string{"recurrent", "bandwidth", "tiny", "hump"}[random.IntN(4)]]
	f := &fake{cost: cost, poison: 2013, broken: random.IntN(3) == 0}
	slots := 1 + random.IntN(3)
	ragged := random.IntN(2) == 0
	s, q := newQueue(t, slots, 200, f, func(m *Model) {
		anyWidth(m)
		m.Runner = &watched{f, t, joined}
		if random.IntN(2) == 0 {
			m.Points = points(cost, slots)
		}
		if random.IntN(2) == 0 {
			m.MaxRows, m.MaxDelay = 1+random.IntN(16), time.Duration(random.IntN(20))*time.Millisecond
		}
		if ragged {
			m.Signature.Inputs[0].Ragged = &infer.Ragged{Axis: 1, Max: 2000}
			m.Signature.Outputs[0].Ragged = &infer.Ragged{Axis: 1, Of: "x"}
		}
	})
	if random.IntN(2) == 0 {
		s.cfg.Brief = 20 * time.Millisecond
		f.slots++
	}
	tenants := 1 + random.IntN(12)
	var wg sync.WaitGroup
	for range 60 {
		tenant, rows := 1+random.IntN(tenants), 1+random.IntN(3)
		value := float32(1000*tenant + random.IntN(20))
		if random.IntN(10) == 0 {
			rows = 1 + random.IntN(200)
		}
		width := 2
		if ragged {
			width += random.IntN(3)
		}
		req := wide(fmt.Sprint(tenant), rows*width, value)
		req.Inputs[0].Shape = []int64{int64(rows), int64(width)}
		start := time.Duration(random.IntN(20)) * time.Millisecond
		wg.Go(func() {
			time.Sleep(start)
			for range 3 {
				_, err := q.Run(t.Context(), req, []string{"y"})
				if err != nil && (value != 2013 || problem.CodeOf(err) != problem.InvalidArgument) && problem.CodeOf(err) != problem.Overloaded {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s.Close()
}

// TestManyTenantsAndShapesTakeBoundedMemory holds that what is kept of tenants
// and shapes that are gone has a bound.
func TestManyTenantsAndShapesTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	s, err := New(Config{Slots: 2, Queue: 8})
	if err != nil {
		t.Fatal(err)
	}
	m := Model{Name: "instant", Runner: instant{}}
	anyWidth(&m)
	q := s.NewQueue(m)
	for i := range 30_000 { // three times what is kept of anything
		if _, err := q.Run(t.Context(), wide(fmt.Sprint("tenant-", i), 1+i%5000, 1), []string{"y"}); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, o, k := len(q.classes), len(q.owners), len(q.costs); c > maxClasses || o > maxClasses || k > maxClasses+maxCosts {
		t.Errorf("%d classes of %d tenants, %d costs", c, o, k)
	}
	if n := len(s.fair.tenants); n > maxTenants || len(s.fair.active) > 0 {
		t.Errorf("%d tenants, %d active", n, len(s.fair.active))
	}
	held := 0
	for _, o := range q.owners {
		held += o.classes
	}
	if held != len(q.classes) {
		t.Errorf("%d classes are owned, of %d", held, len(q.classes))
	}
}

// TestAFloodOfShapesTakesNoOthersPlace holds that what was learned for a tenant
// stays while another sends ever new shapes.
func TestAFloodOfShapesTakesNoOthersPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(time.Millisecond, 0)}
		_, q := newQueue(t, 2, 64, f, anyWidth)
		learned(t, q, wide("steady", 7, 1))
		for i := range 3000 {
			if _, err := ask(t.Context(), t, q, wide("flood", 10+i, 1)); err != nil {
				t.Fatal(err)
			}
		}
		req := wide("steady", 7, 1)
		form := q.formOf(nil, req, []string{"y"})
		q.s.mu.Lock()
		c := q.class(&form, req, []string{"y"})
		known := c.costs.seen()
		q.s.mu.Unlock()
		if !known {
			t.Error("what its runs cost was forgotten")
		}
	})
}

// TestCostsAreSharedByShape holds that one tenant's runs teach what another's of
// the same shape take.
func TestCostsAreSharedByShape(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(100*time.Millisecond, 0)}
		_, q := newQueue(t, 1, 64, f, nil)
		learned(t, q, request("one", 1))
		if err := within(t, q, request("another", 1), 50*time.Millisecond); problem.CodeOf(err) != problem.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
	})
}

// TestALightTenantHardlyWaits holds that one with little waits for about a run of
// one row, whatever shape it asks for and however large the batches are that
// others' backlogs make.
func TestALightTenantHardlyWaits(t *testing.T) {
	t.Parallel()
	for name, cost := range modelCosts() {
		for _, width := range []int{2, 9} {
			t.Run(fmt.Sprint(name, "/", width), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := &fake{cost: cost}
					_, q := newQueue(t, 2, 400, f, func(m *Model) { anyWidth(m); m.Points = points(cost, 2) })
					began, length := time.Now(), 400*cost(1, 1)
					var wg sync.WaitGroup
					for i := range 120 {
						wg.Go(func() {
							for time.Since(began) < length {
								if _, err := ask(t.Context(), t, q, wide(fmt.Sprint("flood", i%3), 2, float32(i))); err != nil {
									t.Error(err)
								}
							}
						})
					}
					calls, late := 0, 0
					for time.Since(began) < length {
						time.Sleep(3 * cost(1, 1))
						sent := time.Now()
						if _, err := ask(t.Context(), t, q, wide("light", width, 1)); err != nil {
							t.Error(err)
						}
						// Its first call shows that it is there.
						if calls++; calls > 2 && time.Since(sent) > 3*cost(1, 2) {
							late++
						}
					}
					wg.Wait()
					if calls < 20 || late > calls/50 {
						t.Errorf("%d of %d calls took more than three runs", late, calls)
					}
				})
			})
		}
	}
}

// TestAFullQueueIsSharedByTenants holds that a flood of any shapes leaves place
// for another tenant in the queue.
func TestAFullQueueIsSharedByTenants(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(time.Second, 0)}
		_, q := newQueue(t, 1, 8, f, anyWidth)
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				_, err := q.Run(t.Context(), wide("flood", 1+i, 1), []string{"y"})
				if p := (*problem.Error)(nil); err != nil && (!errors.As(err, &p) || p.Code != problem.Overloaded) {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for i := range 4 {
			wg.Go(func() {
				if _, err := ask(t.Context(), t, q, wide("other", 1+i, 1)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
	})
}

// TestABriefRunDoesNotWaitForLongOnes holds that beside others' long runs, which take all
// slots, a tenant's run that was seen to be brief goes at once, and nothing else does.
func TestABriefRunDoesNotWaitForLongOnes(t *testing.T) {
	t.Parallel()
	const long, quick = 100 * time.Millisecond, time.Millisecond
	for name, tc := range map[string]struct {
		brief  time.Duration
		tenant string
		cost   time.Duration
		waits  bool
	}{
		"a brief run":                    {5 * quick, "light", quick, false},
		"one of a tenant that has slots": {5 * quick, "flood", quick, true},
		"one that is not brief":          {5 * quick, "light", long, true},
		"without any beside the slots":   {0, "light", quick, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, err := New(Config{Slots: 2, Queue: 100, Brief: tc.brief})
				if err != nil {
					t.Fatal(err)
				}
				queue := func(cost time.Duration) *Queue {
					return s.NewQueue(Model{Name: "double", Signature: doubling(), Runner: &fake{t: t, slots: 2, cost: linear(cost, 0)}, MaxRows: 1})
				}
				q, slow := queue(tc.cost), queue(long)
				learned(t, q, request(tc.tenant, 1))
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						if _, err := ask(t.Context(), t, slow, request("flood", 1)); err != nil {
							t.Error(err)
						}
					})
				}
				time.Sleep(long / 10) // into the runs
				res, err := ask(t.Context(), t, q, request(tc.tenant, 1))
				if err != nil {
					t.Fatal(err)
				}
				if waited := res.Timing.Queue > 0; waited != tc.waits {
					t.Errorf("waited for %s", res.Timing.Queue)
				}
				wg.Wait()
				s.Close()
				if s.free != 2 {
					t.Errorf("%d slots are left", s.free)
				}
			})
		})
	}
}

// TestLongRunsHaveThreadsOfTheirOwn holds which runs go to the threads for long ones: all
// that are not known to be brief.
func TestLongRunsHaveThreadsOfTheirOwn(t *testing.T) {
	t.Parallel()
	const long, quick = 100 * time.Millisecond, time.Millisecond
	for name, tc := range map[string]struct {
		cost   time.Duration
		first  bool // nothing is known of it
		aside  bool
		shared bool
	}{
		"a brief run":                   {cost: quick},
		"a brief run of several":        {cost: quick, shared: true},
		"a long run":                    {cost: long, aside: true},
		"a long run of several":         {cost: long, aside: true, shared: true},
		"one of which nothing is known": {cost: quick, first: true, aside: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				threads := nice.New(1)
				s, err := New(Config{Slots: 1, Queue: 100, Brief: 5 * quick, Long: threads})
				if err != nil {
					t.Fatal(err)
				}
				q := s.NewQueue(Model{Name: "double", Signature: doubling(), Runner: &fake{t: t, slots: 1, cost: linear(tc.cost, 0)}, MaxRows: 2, MaxDelay: quick})
				if !tc.first {
					learned(t, q, request("a", 1))
					learned(t, q, request("a", 2))
				}
				hold := make(chan struct{})
				var all sync.WaitGroup
				all.Go(func() {
					if err := threads.Do(t.Context(), "another", func() { <-hold }); err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
				var answers atomic.Int32
				for range map[bool]int{false: 1, true: 2}[tc.shared] {
					all.Go(func() {
						if _, err := ask(t.Context(), t, q, request("a", 1)); err != nil {
							t.Error(err)
						}
						answers.Add(1)
					})
				}
				time.Sleep(10 * long)
				synctest.Wait()
				if waits := answers.Load() == 0; waits != tc.aside {
					t.Errorf("%d answers while the threads are busy", answers.Load())
				}
				close(hold)
				all.Wait()
				s.Close()
			})
		})
	}
}
