package memo_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/gateway/internal/memo"
)

func TestOneWhoGoesAwayDoesNotEndTheLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := memo.New(memo.Options{Fresh: time.Second, Max: 10, Timeout: time.Minute}, func(ctx context.Context, k int) (int, error) {
			select {
			case <-time.After(time.Second):
				return k, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		second := make(chan error, 1)
		go func() {
			_, err := c.Get(t.Context(), 1)
			second <- err
		}()
		if _, err := c.Get(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("the other one got %v", err)
		}
	})
}

func TestALoadThatHangsEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := memo.New(memo.Options{Fresh: time.Second, Max: 10, Timeout: 5 * time.Second}, func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		began := time.Now()
		if _, err := c.Get(t.Context(), 1); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestForgetIsSeenByLoadsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		value := 1
		c := memo.New(memo.Options{Fresh: time.Minute, Max: 10, Timeout: time.Minute}, func(context.Context, int) (int, error) {
			v := value
			time.Sleep(time.Second)
			return v, nil
		})
		early := make(chan int, 1)
		go func() {
			v, _ := c.Get(t.Context(), 1)
			early <- v
		}()
		synctest.Wait()
		value = 2
		c.Forget(1)
		if v, err := c.Get(t.Context(), 1); err != nil || v != 2 {
			t.Errorf("%d, %v", v, err)
		}
		if v := <-early; v != 1 {
			t.Errorf("the early one got %d", v)
		}
		if v, err := c.Get(t.Context(), 1); err != nil || v != 2 {
			t.Errorf("and later %d, %v", v, err)
		}
	})
}

func TestItIsBounded(t *testing.T) {
	t.Parallel()
	loads := map[int]int{}
	c := memo.New(memo.Options{Fresh: time.Hour, Max: 100, Timeout: time.Minute}, func(_ context.Context, k int) (int, error) {
		loads[k]++ // one at a time: each Get waits for it
		return k, nil
	})
	for k := range 10_000 {
		if v, err := c.Get(t.Context(), k); err != nil || v != k {
			t.Fatalf("%d, %v", v, err)
		}
	}
	again := 0
	for k := range 10_000 {
		if _, err := c.Get(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		again += loads[k] - 1
	}
	if again < 9_800 {
		t.Errorf("only %d of 10,000 had to be loaded again: more than 100 are kept", again)
	}
}

// TestAnEpochEndsWhatWasLoadedInIt, also while its last load is under way.
func TestAnEpochEndsWhatWasLoadedInIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		value, loads := 1, 0
		c := memo.New(memo.Options{Fresh: time.Minute, Max: 10, Timeout: time.Minute}, func(context.Context, int) (int, error) {
			v := value
			loads++
			time.Sleep(time.Duration(3-v) * time.Second) // the later is the faster
			return v, nil
		})
		early := make(chan int, 1)
		go func() {
			v, _ := c.GetIn(t.Context(), "a", 1)
			early <- v
		}()
		synctest.Wait()
		value = 2
		for range 3 {
			if v, err := c.GetIn(t.Context(), "b", 1); err != nil || v != 2 {
				t.Errorf("%d, %v", v, err)
			}
		}
		if v := <-early; v != 1 {
			t.Errorf("the early one got %d", v)
		}
		if v, err := c.GetIn(t.Context(), "b", 1); err != nil || v != 2 || loads != 2 {
			t.Errorf("and later %d, %v, after %d loads", v, err, loads)
		}
	})
}
