package rights_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/rights/rightstest"
	"github.com/modelserveai/modelserve/problem"
)

// slow is a store whose every change takes its time.
type slow struct{ *rightstest.Store }

func (s slow) Commit(ctx context.Context, p rights.Position, decide func(*rights.Update) (*rights.Stored, error)) (rights.Position, error) {
	time.Sleep(100 * time.Millisecond)
	return s.Store.Commit(ctx, p, decide)
}

// TestATenantsChangesKeepNobodyElsesOut holds that one tenant's changes, however many,
// are one of those that wait, and that more than wait for each other are refused.
func TestATenantsChangesKeepNobodyElsesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := rightstest.Mirror(t, slow{&rightstest.Store{}})
		var (
			changes sync.WaitGroup
			mu      sync.Mutex
			order   []string
			refused int
		)
		change := func(tenant string) {
			changes.Go(func() {
				err := m.UpdateFor(t.Context(), tenant, func(*access.State) (*rights.Stored, error) {
					mu.Lock()
					defer mu.Unlock()
					order = append(order, tenant)
					return &rights.Stored{}, nil
				})
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					refused++
					if code := problem.CodeOf(err); code != problem.Overloaded {
						t.Errorf("error %v, want %s", err, problem.Overloaded)
					}
				}
			})
		}
		for range 40 {
			change("greedy")
		}
		synctest.Wait() // one is being stored, and one of the tenant's waits for the database
		change("modest")
		changes.Wait()
		if at := slices.Index(order, "modest"); at < 0 || at > 1 {
			t.Errorf("the other tenant's was number %d of %d", at+1, len(order))
		}
		if refused != 8 {
			t.Errorf("%d of 40 were refused, want 8", refused)
		}
		change("greedy") // whose have all ended
		changes.Wait()
		if got := len(order); got != 34 {
			t.Errorf("%d changes were made, want 34", got)
		}
	})
}
