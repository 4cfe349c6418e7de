package memory

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// TestTake holds that a call is refused at once when it could wait for ever, and to
// come back when others hold what it needs.
func TestTake(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		others, kin, own, more int64 // held by another tenant, by another call of its own, by itself
		code                   problem.Code
		detail                 string
		waits                  bool
	}{
		"all of a share at once":      {0, 0, 0, 100, "", "", false},
		"more than that at once":      {0, 0, 0, 101, problem.PayloadTooLarge, "needs 101 bytes of memory; 100 are", false},
		"the last of a share":         {0, 0, 60, 40, "", "", false},
		"more than it, in two steps":  {0, 0, 60, 41, problem.PayloadTooLarge, "needs 41 bytes of memory beside the 60 that it holds; 100 are", false},
		"far more":                    {0, 0, 60, 1<<63 - 1, problem.PayloadTooLarge, "beside the 60", false},
		"another tenant has its half": {100, 0, 0, 100, "", "", false},
		"both have theirs":            {100, 0, 60, 40, "", "", false},
		"its own calls hold it":       {0, 60, 20, 21, problem.Overloaded, "in use", true},
		"its own calls leave it":      {0, 60, 20, 20, "", "", false},
		"less than they would leave":  {100, 40, 0, 11, problem.Overloaded, "in use", true},
		"as much as they leave":       {100, 40, 0, 10, "", "", false},
		"nothing more":                {0, 0, 100, 0, "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := New(200, time.Second)
				others, kin, own := a.Open("b"), a.Open("a"), a.Open("a")
				if err := errors.Join(others.Take(t.Context(), tc.others), kin.Take(t.Context(), tc.kin), own.Take(t.Context(), tc.own)); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				err := own.Take(t.Context(), tc.more)
				if problem.CodeOf(err) != tc.code || err != nil && !strings.Contains(err.Error(), tc.detail) {
					t.Errorf("got %v, want %q: %q", err, tc.code, tc.detail)
				}
				if waited := time.Since(began); (waited > 0) != tc.waits {
					t.Errorf("waited %s", waited)
				}
				for _, c := range []*Call{others, kin, own} {
					c.End()
					c.End()
				}
				if a.used != 0 || len(a.tenants) != 0 || len(a.waiting) != 0 {
					t.Errorf("%d bytes are left of %d tenants, %d wait", a.used, len(a.tenants), len(a.waiting))
				}
			})
		})
	}
}

// TestTakeNow holds that what is there already is charged or refused at once, ahead of
// whoever waits.
func TestTakeNow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		own, more int64 // beside 60 of another call, and one that waits for 45
		code      problem.Code
	}{
		"as much as there is": {20, 20, ""},
		"more than there is":  {20, 21, problem.Overloaded},
		"more than ever":      {20, 81, problem.PayloadTooLarge},
		"nothing":             {20, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := New(200, time.Hour)
				kin, own, waits := a.Open("a"), a.Open("a"), a.Open("a")
				if err := errors.Join(kin.Take(t.Context(), 60), own.Take(t.Context(), tc.own)); err != nil {
					t.Fatal(err)
				}
				go func() { _ = waits.Take(t.Context(), 45) }()
				synctest.Wait()
				began := time.Now()
				if err := own.TakeNow(tc.more); problem.CodeOf(err) != tc.code || time.Since(began) > 0 {
					t.Errorf("got %v after %s", err, time.Since(began))
				}
				for _, c := range []*Call{kin, own, waits} {
					c.End()
				}
				if err := own.TakeNow(1); !errors.Is(err, errEnded) || a.used != 0 || len(a.tenants) != 0 {
					t.Errorf("%v, and %d bytes are left", err, a.used)
				}
			})
		})
	}
}

// TestWhoIsServedFirst holds that a call which holds bytes comes before its tenant's
// that hold none, that these are served in their order, and that another tenant's are
// held up by neither.
func TestWhoIsServedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := New(200, time.Hour)
		holder, begun, large, small := a.Open("a"), a.Open("a"), a.Open("a"), a.Open("a")
		for _, c := range []*Call{holder, begun} {
			if err := c.Take(t.Context(), 45); err != nil {
				t.Fatal(err)
			}
		}
		order := make(chan string, 3)
		take := func(name string, c *Call, n int64) {
			go func() {
				if err := c.Take(t.Context(), n); err == nil {
					order <- name
				}
			}()
			synctest.Wait()
		}
		take("large", large, 50)
		take("small", small, 1)
		take("begun", begun, 40)
		if other := a.Open("b"); other.Take(t.Context(), 60) != nil {
			t.Error("another tenant waits for them")
		} else {
			other.End()
		}
		synctest.Wait()
		if len(order) != 0 {
			t.Fatalf("%s does not wait", <-order)
		}
		for _, step := range []struct {
			end  *Call
			want []string
		}{{holder, []string{"begun"}}, {begun, []string{"large", "small"}}} {
			step.end.End()
			synctest.Wait()
			for _, want := range step.want {
				if got := <-order; got != want && len(step.want) == 1 {
					t.Errorf("%s was served, expected %s", got, want)
				}
			}
		}
		large.End()
		small.End()
		if a.used != 0 || len(a.tenants) != 0 {
			t.Errorf("%d bytes are left", a.used)
		}
	})
}

// TestCallsDoNotWaitForEachOther holds that where all that a tenant has is held by calls
// that wait, the one that holds least is refused, and no other.
func TestCallsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		other      int64   // held by another tenant
		hold, more []int64 // by each call; 0 more is one that does not wait
		refused    int     // -1 for none
	}{
		"all wait":                   {0, []int64{40, 35, 25}, []int64{10, 10, 10}, 2},
		"the one that came first":    {0, []int64{25, 35, 40}, []int64{10, 10, 10}, 0},
		"equals":                     {0, []int64{50, 50}, []int64{10, 10}, 1},
		"one that holds nothing too": {0, []int64{0, 60, 40}, []int64{10, 10, 10}, 2},
		"one does not wait":          {0, []int64{40, 35, 25}, []int64{10, 10, 0}, -1},
		"another has what they need": {100, []int64{25, 25}, []int64{25, 25}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := New(200, time.Hour)
				other := a.Open("b")
				if err := other.Take(t.Context(), tc.other); err != nil {
					t.Fatal(err)
				}
				calls, got := make([]*Call, len(tc.hold)), make([]chan error, len(tc.hold))
				for i, n := range tc.hold {
					calls[i], got[i] = a.Open("a"), make(chan error, 1)
					if err := calls[i].Take(t.Context(), n); err != nil {
						t.Fatal(err)
					}
				}
				for i, n := range tc.more {
					if n > 0 {
						go func() { got[i] <- calls[i].Take(t.Context(), n) }()
						synctest.Wait()
					}
				}
				for i := range calls {
					if (len(got[i]) > 0) != (i == tc.refused) {
						t.Errorf("call %d is answered: %v", i, len(got[i]) > 0)
					}
				}
				if tc.refused >= 0 {
					if err := <-got[tc.refused]; problem.CodeOf(err) != problem.Overloaded {
						t.Errorf("got %v", err)
					}
				}
				other.End()
				for _, c := range calls {
					c.End()
				}
				if a.used != 0 || len(a.tenants) != 0 || len(a.waiting) != 0 {
					t.Errorf("%d bytes are left of %d tenants, %d wait", a.used, len(a.tenants), len(a.waiting))
				}
			})
		})
	}
}

// TestManyCallsEnd holds that of many calls of a tenant, of which there is memory for one
// at a time, each is answered or may come again, and none waits in vain.
func TestManyCallsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := New(200, time.Hour)
		began := time.Now()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for whole := false; !whole && time.Since(began) < time.Hour; {
					c := a.Open("a")
					var err error
					for n := 0; n < 80 && err == nil; n += 20 {
						err = c.Take(t.Context(), 20)
						time.Sleep(time.Millisecond) // of the bubble's: all come at once
					}
					whole = err == nil
					c.End()
				}
			})
		}
		all.Wait()
		if time.Since(began) >= time.Hour {
			t.Error("one waited until its time was over")
		}
	})
}

// TestACallThatEndsIsServedNothing holds that what waits for a call which ended, or
// whose caller left, gets an error and no bytes.
func TestACallThatEndsIsServedNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := New(200, time.Hour)
		holder, ended, left := a.Open("a"), a.Open("a"), a.Open("a")
		if err := holder.Take(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 2)
		go func() { failed <- ended.Take(t.Context(), 1) }()
		go func() { failed <- left.Take(ctx, 1) }()
		synctest.Wait()
		ended.End()
		if err := <-failed; !errors.Is(err, errEnded) {
			t.Errorf("got %v", err)
		}
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := ended.Take(t.Context(), 1); !errors.Is(err, errEnded) {
			t.Errorf("got %v", err)
		}
		to := a.Open("b")
		holder.Move(to, 30)
		if to.taken != 30 || to.tenant.used != 30 || holder.taken != 70 || a.used != 100 {
			t.Errorf("30 bytes that moved are %d of %d", to.taken, a.used)
		}
		for _, c := range []*Call{holder, left, to} {
			c.End()
		}
		if a.used != 0 || len(a.tenants) != 0 || len(a.waiting) != 0 {
			t.Errorf("%d bytes are left", a.used)
		}
	})
}

// TestTheAccountIsKept holds, whoever comes, waits, leaves and goes, that no more is
// taken than there is, by a tenant no more than half, and that all comes back.
func TestTheAccountIsKept(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			a := New(1+r.Int64N(1000), time.Second)
			for i := range 40 {
				rnd := rand.New(rand.NewPCG(seed, uint64(i)+1))
				go func() {
					c := a.Open(strconv.Itoa(rnd.IntN(3)))
					defer c.End()
					for range 20 {
						if rnd.IntN(3) == 0 {
							c.Give(rnd.Int64N(50))
						} else if c.Take(t.Context(), 1+rnd.Int64N(100)) != nil && rnd.IntN(2) == 0 {
							return
						}
						time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
						a.mu.Lock()
						if a.used > a.size || c.tenant.used > a.Share() || c.taken > c.tenant.used {
							t.Errorf("seed %d: %d of %d bytes, %d of a tenant, %d of a call", seed, a.used, a.size, c.tenant.used, c.taken)
						}
						a.mu.Unlock()
					}
				}()
			}
			time.Sleep(time.Hour) // in the bubble: all have gone
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.used != 0 || len(a.tenants) != 0 || len(a.waiting) != 0 {
				t.Errorf("seed %d: %d bytes are left of %d tenants, %d wait", seed, a.used, len(a.tenants), len(a.waiting))
			}
		})
	}
}
