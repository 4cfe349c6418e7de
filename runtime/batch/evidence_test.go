package batch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// looping is a model whose runs take as many milliseconds as the largest value in
// its last input sets, as those with a Loop do, or as its longest text has bytes.
type looping struct{ *fake }

func (l looping) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, wanted []string) ([]infer.Tensor, func(), error) {
	var most float32
	if last := &inputs[len(inputs)-1]; last.DataType == infer.Bytes {
		texts, err := infer.Strings(last)
		if err != nil {
			return nil, nil, err
		}
		for _, text := range texts {
			most = max(most, float32(len(text)))
		}
	} else {
		values, err := infer.Values[float32](last)
		if err != nil {
			return nil, nil, err
		}
		most = slices.Max(values)
	}
	timer := time.NewTimer(time.Duration(most) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	return l.fake.Run(ctx, held, inputs, wanted)
}

// trips is a request of a model with an input of its own for the trip count.
func trips(tenant string, ms float32) *infer.Request {
	req := request(tenant, 1)
	req.Inputs = append(req.Inputs, infer.NewTensor("trips", []int64{1}, []float32{ms}))
	return req
}

// knobs is a request of a model with a vector for an input of its own.
func knobs(values ...float32) *infer.Request {
	req := request("a", 1)
	req.Inputs = append(req.Inputs, infer.NewTensor("knobs", []int64{int64(len(values))}, values))
	return req
}

// texts is a request of rows of one text each, of the given lengths.
func texts(lengths ...int) *infer.Request {
	req := request("a", make([]float32, len(lengths))...)
	elements := make([]string, len(lengths))
	for i, n := range lengths {
		elements[i] = strings.Repeat("a", n)
	}
	req.Inputs = append(req.Inputs, infer.NewBytes("text", []int64{int64(len(lengths)), 1}, elements...))
	return req
}

// loops are the models whose time depends on a value, and how they are asked.
func loops() map[string]struct {
	with  func(*Model)
	ask   func(tenant string, ms float32) *infer.Request
	wrong int // quick requests that are refused after slow ones of their tenant
} {
	type loop = struct {
		with  func(*Model)
		ask   func(tenant string, ms float32) *infer.Request
		wrong int
	}
	unbatched := func(m *Model) {
		m.Signature = doubling()
		m.Signature.Inputs = append(m.Signature.Inputs,
			infer.TensorSpec{Name: "trips", DataType: infer.FP32, Shape: []int64{1}, Unbatched: true})
	}
	inRows := func(tenant string, ms float32) *infer.Request { return request(tenant, ms) }
	return map[string]loop{
		"in the rows":              {nil, inRows, maxRefusedInRow},
		"in the rows, run alone":   {func(m *Model) { m.MaxRows = 1 }, inRows, maxRefusedInRow},
		"in an input without rows": {unbatched, trips, 0},
		"in a model without a batch axis": {func(m *Model) {
			unbatched(m)
			m.Signature.BatchAxis = nil
		}, trips, 0},
	}
}

// refusals asks for a run so many times, one after another, and counts the
// refusals: all, and those that came most in a row.
func refusals(t *testing.T, q *Queue, n int, timeout time.Duration, req func(i int) *infer.Request) (all, most int) {
	t.Helper()
	row := 0
	for i := range n {
		began := time.Now()
		err := within(t, q, req(i), timeout)
		if problem.CodeOf(err) != problem.DeadlineExceeded || time.Since(began) > 0 {
			row = 0
			continue
		}
		all++
		row++
		most = max(most, row)
	}
	return all, most
}

func TestNobodyIsRefusedByAnotherTenantsRuns(t *testing.T) {
	t.Parallel()
	for name, tc := range loops() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				_, q := newQueue(t, 1, 64, f, func(m *Model) {
					if tc.with != nil {
						tc.with(m)
					}
					m.Runner = looping{f}
				})
				for range 3 {
					learned(t, q, tc.ask("a", 1800))
				}
				for i := range 30 {
					if err := within(t, q, tc.ask("b", 3), 100*time.Millisecond); err != nil {
						t.Errorf("request %d: %v", i, err)
					}
				}
			})
		})
	}
}

// TestWrongEvidenceEndsWithOneRun holds that quick requests are not refused for
// long after slow ones of the same tenant, one by one and many at once.
func TestWrongEvidenceEndsWithOneRun(t *testing.T) {
	t.Parallel()
	for name, tc := range loops() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, at := range []int{1, 8} {
				synctest.Test(t, func(t *testing.T) {
					f := &fake{}
					_, q := newQueue(t, 1, 64, f, func(m *Model) {
						if tc.with != nil {
							tc.with(m)
						}
						m.Runner = looping{f}
					})
					learned(t, q, tc.ask("a", 1800))
					var mu sync.Mutex
					refused := 0
					for range 4 {
						var wg sync.WaitGroup
						for range at {
							wg.Go(func() {
								if within(t, q, tc.ask("a", 3), 100*time.Millisecond) != nil {
									mu.Lock()
									refused++
									mu.Unlock()
								}
							})
						}
						wg.Wait()
					}
					if refused != tc.wrong {
						t.Errorf("%d at a time: %d of %d quick requests are refused, expected %d", at, refused, 4*at, tc.wrong)
					}
				})
			}
		})
	}
}

// TestNoMoreThanTwoAreRefusedInARow holds it whatever runs in between, and for
// requests that differ.
func TestNoMoreThanTwoAreRefusedInARow(t *testing.T) {
	t.Parallel()
	rows := func(n int, ms float32) *infer.Request {
		values := make([]float32, n)
		values[0] = ms
		return request("a", values...)
	}
	for name, tc := range map[string]struct {
		req   func(i int) *infer.Request
		least int // of 60 refused
	}{
		"always too slow":          {func(int) *infer.Request { return rows(1, 1800) }, 40},
		"too slow, of many sizes":  {func(i int) *infer.Request { return rows(1+i%6, 1800) }, 31},
		"too slow or quick":        {func(i int) *infer.Request { return rows(1, []float32{1800, 1800, 3}[i%3]) }, 0},
		"quick, of ever new sizes": {func(i int) *infer.Request { return rows(1+i%6, 3) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				_, q := newQueue(t, 1, 64, f, func(m *Model) { m.Runner, m.MaxRows = looping{f}, 64 })
				for n := range 6 {
					learned(t, q, rows(1+n, 1800))
				}
				all, most := refusals(t, q, 60, 100*time.Millisecond, tc.req)
				if most > maxRefusedInRow || all < tc.least {
					t.Errorf("%d of 60 are refused, %d in a row; expected at least %d, and %d in a row", all, most, tc.least, maxRefusedInRow)
				}
			})
		})
	}
}

// TestARefusedRequestInPartsIsTriedWhole holds that a request whose turn it is to
// be run in spite of the evidence is not refused part by part.
func TestARefusedRequestInPartsIsTriedWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		_, q := newQueue(t, 1, 64, f, func(m *Model) { m.Runner, m.MaxRows = looping{f}, 4 })
		many := func(ms float32) *infer.Request {
			values := make([]float32, 16)
			for i := range values {
				values[i] = ms
			}
			return request("a", values...)
		}
		learned(t, q, many(1000))
		for i := range 6 {
			err := within(t, q, many(10), 100*time.Millisecond)
			if refused := err != nil; refused != (i < maxRefusedInRow) {
				t.Errorf("request %d: %v", i, err)
			}
		}
	})
}

func TestEvidenceIsOfSuchRequests(t *testing.T) {
	t.Parallel()
	ragged := func(m *Model) {
		anyWidth(m)
		m.Signature.Inputs[0].Ragged = &infer.Ragged{Axis: 1}
		m.Signature.Outputs[0].Ragged = &infer.Ragged{Axis: 1, Of: "x"}
	}
	knob := loops()["in a model without a batch axis"].with
	with := func(spec infer.TensorSpec, batched bool) func(*Model) {
		return func(m *Model) {
			m.Signature = doubling()
			m.Signature.Inputs = append(m.Signature.Inputs, spec)
			if !batched {
				m.Signature.BatchAxis = nil
			}
		}
	}
	vector := infer.TensorSpec{Name: "knobs", DataType: infer.FP32, Shape: []int64{infer.Dynamic}, Unbatched: true}
	text := infer.TensorSpec{Name: "text", DataType: infer.Bytes, Shape: []int64{infer.Dynamic, 1}}
	sizes := func(height, width float32) *infer.Request {
		return knobs(1, 1, 1, 1, 1, 1, 1, 1, height, width)
	}
	data := func(last float32) *infer.Request {
		return knobs(append(slices.Repeat([]float32{1000}, maxShared/4), last)...)
	}
	rows := func(n int) *infer.Request { return request("a", slices.Repeat([]float32{1000}, n)...) }
	for name, tc := range map[string]struct {
		with      func(*Model)
		seen, req *infer.Request
		refused   bool
	}{
		"the same":                        {nil, rows(2), rows(2), true},
		"another tenant":                  {nil, rows(2), request("b", 1000, 1000), false},
		"fewer rows":                      {nil, rows(2), rows(1), false},
		"more rows":                       {nil, rows(2), rows(3), false},
		"the same length":                 {ragged, wide("a", 16, 1000), wide("a", 16, 1000), true},
		"shorter, of the same class":      {ragged, wide("a", 16, 1000), wide("a", 13, 1000), false},
		"longer, of the same class":       {ragged, wide("a", 13, 1000), wide("a", 16, 1000), false},
		"the same in an input of no rows": {knob, trips("a", 1000), trips("a", 1000), true},
		"another in an input of no rows":  {knob, trips("a", 1000), trips("a", 999), false},
		"the same sizes":                  {with(vector, true), sizes(1000, 1000), sizes(1000, 1000), true},
		"other sizes":                     {with(vector, true), sizes(1000, 1000), sizes(1000, 2), false},
		"other sizes, no batch axis":      {with(vector, false), sizes(1000, 1000), sizes(1000, 2), false},
		"larger sizes":                    {with(vector, true), sizes(1000, 2), sizes(1000, 1000), false},
		"data of one shape":               {with(vector, false), data(1000), data(2), true},
		"texts as long":                   {with(text, true), texts(1000, 2), texts(1000, 2), true},
		"a shorter text":                  {with(text, true), texts(1000), texts(1), false},
		"a little shorter text":           {with(text, true), texts(1000), texts(999), false},
		"a longer text":                   {with(text, true), texts(999), texts(1000), false},
		"texts as long in all":            {with(text, true), texts(1000, 0), texts(500, 500), false},
		"a shorter text, no batch axis":   {with(text, false), texts(1000), texts(900), false},
		"a shorter text of many":          {with(text, false), texts(maxShared, 1000), texts(maxShared, 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				_, q := newQueue(t, 1, 64, f, func(m *Model) {
					if tc.with != nil {
						tc.with(m)
					}
					m.Runner, m.MaxRows = looping{f}, 8 // nothing is run in parts
				})
				learned(t, q, tc.seen)
				if n, _ := refusals(t, q, 1, 100*time.Millisecond, func(int) *infer.Request { return tc.req }); (n == 1) != tc.refused {
					t.Errorf("refused: %v, expected %v", n == 1, tc.refused)
				}
			})
		})
	}
}

// TestEvidenceIsOfRunsLately holds how many runs it takes, and how long they count.
func TestEvidenceIsOfRunsLately(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		runs    int  // after the first, which may be cold
		slow    bool // all of them
		wait    time.Duration
		refused bool
	}{
		"two runs":                 {2, true, 0, false},
		"three runs":               {3, true, 0, true},
		"three runs and a quick":   {3, false, 0, false},
		"many runs":                {100, true, 0, true},
		"three runs of before":     {3, true, maxAge + time.Second, false},
		"three runs, not long ago": {3, true, maxAge / 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				_, q := newQueue(t, 1, 64, f, func(m *Model) { m.Runner = looping{f} })
				ran := slices.Repeat([]float32{1000}, 1+tc.runs)
				if !tc.slow {
					ran = append(ran, 20, 1000, 1000, 1000)
				}
				for _, ms := range ran {
					if _, err := ask(t.Context(), t, q, request("a", ms)); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(tc.wait)
				if err := within(t, q, request("a", 10), 100*time.Millisecond); (err != nil) != tc.refused {
					t.Errorf("refused: %v, expected %v", err, tc.refused)
				}
			})
		})
	}
}

// TestEvidenceIsForgottenWithItsClass holds that what a queue remembers of tenants is
// bounded, and that nobody is refused by what was forgotten.
func TestEvidenceIsForgottenWithItsClass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		s, q := newQueue(t, 1, 64, f, func(m *Model) { m.Runner = looping{f} })
		learned(t, q, request("a", 1000))
		for i := range 2 * maxClasses {
			if _, err := ask(t.Context(), t, q, request(fmt.Sprint("other ", i), 1)); err != nil {
				t.Fatal(err)
			}
		}
		s.mu.Lock()
		classes, owners := len(q.classes), len(q.owners)
		s.mu.Unlock()
		if classes > maxClasses || owners > maxClasses {
			t.Errorf("%d classes of %d tenants are kept", classes, owners)
		}
		if err := within(t, q, request("a", 10), 100*time.Millisecond); err != nil {
			t.Errorf("by evidence of a class that is gone: %v", err)
		}
	})
}

func TestEvidenceIsBounded(t *testing.T) {
	t.Parallel()
	var e evidence
	now := time.Unix(1, 0)
	for i := range 10 * maxRecords {
		for range minRuns {
			e.add(kind{rows: i}, 5, now)
			e.add(kind{rows: 1 << 20}, 5, now)
		}
	}
	if len(e) > maxRecords || e.of(kind{rows: 1 << 20}, now) == nil || e.of(kind{rows: 0}, now) != nil {
		t.Errorf("%d records are kept: %v", len(e), e)
	}
}

// TestBatchesAreNoEvidence holds that a batch shows nothing of how long
// one of its requests takes at least.
func TestBatchesAreNoEvidence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		_, q := newQueue(t, 1, 64, f, func(m *Model) {
			m.Runner, m.MaxRows, m.MaxDelay = looping{f}, 4, time.Second
		})
		for range 1 + 2*minRuns {
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					if _, err := ask(t.Context(), t, q, request("a", []float32{1800, 3}[i%2])); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		for rows := range 4 {
			if err := within(t, q, request("a", make([]float32, 1+rows)...), 100*time.Millisecond); err != nil {
				t.Errorf("%d rows: %v", 1+rows, err)
			}
		}
	})
}
