package nice_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/modelserveai/modelserve/internal/nice"
)

// TestWhoWaitsHasTheNextThreadInTurn holds that of those who wait each has one thing done
// after the other, however much another has waiting, and that no more is done at once than
// may be.
func TestWhoWaitsHasTheNextThreadInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		threads := nice.New(1)
		var mu sync.Mutex
		var order []string
		hold := make(chan struct{})
		var all sync.WaitGroup
		do := func(who, what string) {
			all.Go(func() {
				err := threads.Do(t.Context(), who, func() {
					<-hold
					mu.Lock()
					defer mu.Unlock()
					order = append(order, what)
				})
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		do("first", "begun")
		for i := range 3 {
			do("many", fmt.Sprint("many ", i))
		}
		do("few", "few 0")
		do("other", "other 0")
		close(hold)
		all.Wait()
		want := []string{"begun", "many 0", "few 0", "other 0", "many 1", "many 2"}
		if !slices.Equal(order, want) {
			t.Errorf("got %q, want %q", order, want)
		}
	})
}

// TestWhoLeavesIsNotRun holds that what waits is not done for who is gone, and that what
// has begun is waited for.
func TestWhoLeavesIsNotRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		threads := nice.New(1)
		hold := make(chan struct{})
		ctx, leave := context.WithCancel(t.Context())
		results := make(chan error, 2)
		go func() { results <- threads.Do(ctx, "a", func() { <-hold }) }()
		synctest.Wait()
		ran := false
		go func() { results <- threads.Do(ctx, "a", func() { ran = true }) }()
		synctest.Wait()
		leave()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("who waits gets %v", err)
		}
		close(hold)
		if err := <-results; err != nil {
			t.Errorf("who has begun gets %v", err)
		}
		if err := threads.Do(ctx, "a", func() { ran = true }); !errors.Is(err, context.Canceled) {
			t.Errorf("who comes when they are gone gets %v", err)
		}
		if ran {
			t.Error("it was done for who is gone")
		}
		if err := threads.Do(t.Context(), "a", func() {}); err != nil {
			t.Error(err)
		}
	})
}

// TestALentThreadIsAnothers holds that who waits for something amid what is done keeps
// nobody waiting, and goes on when that is there.
func TestALentThreadIsAnothers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		threads := nice.New(1)
		there := make(chan struct{})
		var all sync.WaitGroup
		ended := 0
		for range 3 {
			all.Go(func() {
				if err := threads.Do(t.Context(), "slow", func() { threads.Lend(func() { <-there }); ended++ }); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		if err := threads.Do(t.Context(), "quick", func() {}); err != nil {
			t.Error(err)
		}
		close(there)
		all.Wait()
		if ended != 3 {
			t.Errorf("%d of 3 ended", ended)
		}
		most, at := 0, 0
		var mu sync.Mutex
		count := func(by int) {
			mu.Lock()
			defer mu.Unlock()
			at += by
			most = max(most, at)
		}
		for range 8 { // as many at once as before
			all.Go(func() {
				if err := threads.Do(t.Context(), "after", func() { count(1); defer count(-1); synctest.Wait() }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if most != 1 {
			t.Errorf("%d at once", most)
		}
	})
}

// TestAPanicIsTheCallers holds that a panic comes to who asked, with where it was, and
// that the thread goes on.
func TestAPanicIsTheCallers(t *testing.T) {
	t.Parallel()
	threads := nice.New(1)
	func() {
		defer func() {
			p, ok := recover().(*nice.Panic)
			if !ok || p.Value != "broken" || !strings.Contains(p.Error(), "TestAPanicIsTheCallers") {
				t.Errorf("got %v", p)
			}
		}()
		_ = threads.Do(t.Context(), "a", func() { panic("broken") })
	}()
	if err := threads.Do(t.Context(), "a", func() {}); err != nil {
		t.Error(err)
	}
}

// TestWithoutThreads holds that no Threads run all where they are asked.
func TestWithoutThreads(t *testing.T) {
	t.Parallel()
	var threads *nice.Threads
	ran := 0
	if err := threads.Do(t.Context(), "a", func() { threads.Lend(func() { ran++ }) }); err != nil || ran != 1 {
		t.Errorf("%v, and it ran %d times", err, ran)
	}
	if err := nice.Large(nil).Of(nice.LargeBytes, func() { ran++ }); err != nil || ran != 2 {
		t.Errorf("%v, and it ran %d times", err, ran)
	}
}

// TestOnlyWhatIsLargeIsDoneAside holds from where on a reader goes aside, that it reads all
// the same, and whose errors it has.
func TestOnlyWhatIsLargeIsDoneAside(t *testing.T) {
	t.Parallel()
	broken, gone := errors.New("broken"), errors.New("gone")
	for name, tc := range map[string]struct {
		size  int
		fails error // of the reader, at the end
		large error
		aside bool
		want  error
	}{
		"few bytes":               {size: 1000},
		"one less than large":     {size: nice.LargeBytes - 1},
		"large":                   {size: 3 * nice.LargeBytes, aside: true},
		"large, and broken":       {size: 3 * nice.LargeBytes, fails: broken, aside: true, want: broken},
		"few, and broken":         {size: 1000, fails: broken, want: broken},
		"large, who asks is gone": {size: 3 * nice.LargeBytes, large: gone, aside: true, want: gone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := bytes.Repeat([]byte("abcdefg"), tc.size/7+1)[:tc.size]
			from := iotest.HalfReader(bytes.NewReader(data))
			if tc.fails != nil {
				from = io.MultiReader(from, iotest.ErrReader(tc.fails))
			}
			aside := false
			large := nice.Large(func(f func()) error {
				aside = true
				if tc.large == nil {
					f()
				}
				return tc.large
			})
			got, err := io.ReadAll(large.Reader(from))
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if tc.large == nil && !bytes.Equal(got, data) {
				t.Errorf("read %d bytes of %d, or others", len(got), len(data))
			}
			if aside != tc.aside {
				t.Errorf("it went aside: %v", aside)
			}
		})
	}
}
