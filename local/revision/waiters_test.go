package revision_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/local/revision"
)

// load has callers of a tenant hold a slot for so long, again and again, until the test
// ends. served counts what they had.
func load(t *testing.T, r *revision.Revision, tenant string, callers int, held time.Duration, served *atomic.Int64) {
	t.Helper()
	for range callers {
		go func() {
			for t.Context().Err() == nil {
				l, err := r.Acquire(t.Context(), tenant, true)
				if err != nil {
					return
				}
				time.Sleep(held)
				served.Add(int64(held))
				l.Release()
			}
		}()
	}
}

// TestALightTenantIsNotBehindAnother is the attack of many slow calls at once: a light
// tenant's calls wait for a slot to be free, and never for the calls that came first.
func TestALightTenantIsNotBehindAnother(t *testing.T) {
	t.Parallel()
	for name, slots := range map[string]int{"one slot": 1, "several": 16} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const slow = 260 * time.Millisecond
				f := &fakes{}
				r := begin(t, f, func(c *revision.Config) {
					c.ContainerConcurrency, c.MaxWaiting = slots, 1000
					c.Annotations = map[string]string{"autoscaling.knative.dev/max-scale": "1"}
				})
				acquire(t, r).Release()
				var many atomic.Int64
				load(t, r, "many", 120, slow, &many)
				time.Sleep(2 * time.Second)
				for range 20 {
					l, err := r.Acquire(t.Context(), "few", true)
					if err != nil {
						t.Fatal(err)
					}
					if l.Waited > slow {
						t.Errorf("waited %v, longer than one call of the other takes", l.Waited)
					}
					time.Sleep(time.Millisecond)
					l.Release()
					time.Sleep(70 * time.Millisecond)
				}
			})
		})
	}
}

// TestTenantsShareTheTimeOfSlots holds that tenants who ask for more than there is have
// the slots for as long, whatever their calls take, also where one was alone before.
func TestTenantsShareTheTimeOfSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{}
		r := begin(t, f, func(c *revision.Config) {
			c.ContainerConcurrency, c.MaxWaiting = 4, 1000
			c.Annotations = map[string]string{"autoscaling.knative.dev/max-scale": "1"}
		})
		var long, short atomic.Int64
		load(t, r, "long", 40, time.Second, &long)
		time.Sleep(time.Minute)
		alone := long.Load()
		load(t, r, "short", 40, 50*time.Millisecond, &short)
		time.Sleep(time.Minute)
		of, other := time.Duration(short.Load()), time.Duration(long.Load()-alone)
		if share := float64(of) / float64(of+other); share < 0.4 || share > 0.6 {
			t.Errorf("short calls had slots for %v and long ones for %v, want about as long", of, other)
		}
	})
}
