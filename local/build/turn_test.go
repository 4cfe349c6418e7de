package build

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// TestTheBuildThatIsWaitedForGoesFirst holds the order of builds: the wanted ones
// as they came, even where they are wanted only once they wait, then the others; one
// that is given up holds up nobody.
func TestTheBuildThatIsWaitedForGoesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var turns turns
		if err := turns.take(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		givenUp, giveUp := context.WithCancel(t.Context())
		var wanted [5]atomic.Bool
		var order []int // each has its turn alone
		for i := range wanted {
			ctx := t.Context()
			if i == 3 {
				ctx = givenUp
			}
			go func() {
				if err := turns.take(ctx, wanted[i].Load); err != nil {
					if i != 3 || !errors.Is(err, context.Canceled) {
						t.Errorf("%d: %v", i, err)
					}
					return
				}
				order = append(order, i)
				turns.give()
			}()
			synctest.Wait() // it waits
		}
		for _, i := range []int{4, 2, 3} {
			wanted[i].Store(true)
		}
		giveUp()
		synctest.Wait()
		turns.give()
		synctest.Wait()
		if diff := cmp.Diff([]int{2, 4, 0, 1}, order); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := turns.take(t.Context(), nil); err != nil { // nobody has it
			t.Error(err)
		}
	})
}
