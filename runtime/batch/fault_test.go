package batch

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

func TestOneAtFaultAloneGetsTheError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(10*time.Millisecond, 0), poison: 5}
		_, q := newQueue(t, 1, 64, f, func(m *Model) { m.Points = points(f.cost, 1) })
		var wg sync.WaitGroup
		for i := range 13 {
			wg.Go(func() {
				_, err := ask(t.Context(), t, q, request("faulty", float32(i)))
				if (err != nil) != (i == 5) || err != nil && problem.CodeOf(err) != problem.InvalidArgument {
					t.Errorf("request %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		joined := len(f.ran())
		if joined > 2+2*5 {
			t.Errorf("%d runs to find one at fault among 12", joined)
		}
		// The tenant at fault runs alone for a while, and another does not.
		for tenant, want := range map[string][]int{"faulty": {1, 1, 1, 1}, "other": {1, 3}} {
			before := len(f.ran())
			for i := range 4 {
				wg.Go(func() {
					if _, err := ask(t.Context(), t, q, request(tenant, float32(100+i))); err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
			}
			wg.Wait()
			if got := f.ran()[before:]; !slices.Equal(got, want) {
				t.Errorf("%s: runs of %v rows after the fault", tenant, got)
			}
		}
	})
}

func TestAModelThatMixesRowsIsNotBatchedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(10*time.Millisecond, 0), broken: true}
		reported := 0
		_, q := newQueue(t, 1, 64, f, func(m *Model) {
			m.Points = points(f.cost, 1)
			m.Misfit = func(rule string, _ error) {
				if reported++; rule != RuleRows {
					t.Errorf("the rule %q", rule)
				}
			}
		})
		var wg sync.WaitGroup
		for round := range 2 {
			for i := range 5 {
				wg.Go(func() {
					if _, err := ask(t.Context(), t, q, request("", float32(i))); err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
			}
			wg.Wait()
			if round == 1 && slices.Max(f.ran()[8:]) > 1 {
				t.Errorf("runs of %v rows", f.ran())
			}
		}
		if reported != 1 {
			t.Errorf("reported %d times", reported)
		}
	})
}

func TestAPanicIsAnErrorOfItsRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{cost: linear(time.Millisecond, 0)}
		s, q := newQueue(t, 1, 64, f, func(m *Model) { m.Points = points(f.cost, 1) })
		var wg sync.WaitGroup
		var failed atomic.Int32
		for i := range 4 {
			wg.Go(func() {
				if _, err := ask(t.Context(), t, q, request("", float32(i))); err != nil {
					failed.Add(1)
					if !errors.Is(err, errPanic) {
						t.Error(err)
					}
				}
			})
			synctest.Wait()
		}
		f.panics.Store(true)
		wg.Wait()
		if failed.Load() != 3 {
			t.Errorf("%d failed", failed.Load())
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a lone run's panic was swallowed")
				}
			}()
			_, _ = q.Run(t.Context(), request("", 1), []string{"y"})
		}()
		f.panics.Store(false)
		if _, err := ask(t.Context(), t, q, request("", 1)); err != nil {
			t.Errorf("after the panics: %v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.free != 1 {
			t.Errorf("after the panics: %d slots", s.free)
		}
	})
}

func TestAPanicInAPartIsItsRequestsError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		_, q := newQueue(t, 2, 64, f, func(m *Model) { m.MaxRows = 2 })
		f.panics.Store(true)
		if _, err := q.Run(t.Context(), request("", 1, 2, 3, 4, 5, 6), []string{"y"}); !errors.Is(err, errPanic) {
			t.Errorf("got %v", err)
		}
		f.panics.Store(false)
		if _, err := ask(t.Context(), t, q, request("", 1, 2, 3)); err != nil {
			t.Error(err)
		}
	})
}
