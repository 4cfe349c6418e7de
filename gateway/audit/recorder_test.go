package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/rights/rightstest"
)

// recording is a Recorder that runs.
type recording struct {
	*audit.Recorder

	t     *testing.T
	store *rightstest.Store
	log   *bytes.Buffer
	end   func() // and wait for what is left to be stored
}

// record runs a Recorder, in a bubble.
func record(t *testing.T, retention audit.Retention) *recording {
	t.Helper()
	r := &recording{t: t, store: &rightstest.Store{}, log: &bytes.Buffer{}}
	var err error
	r.Recorder, err = audit.NewRecorder(r.store, retention, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(r.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	r.end = func() {
		stop()
		running.Wait()
	}
	return r
}

// refused notes a refusal that happens now.
func (r *recording) refused(tenant, actor, action, address string) {
	r.Refused(audit.Entry{At: time.Now(), Tenant: tenant, Actor: actor, Action: action, Address: address, Reason: "permission_denied"})
}

// stored are the refusals of a chain, the oldest first, as short texts.
func (r *recording) stored(tenant string) (texts []string) {
	r.t.Helper()
	_, err := audit.Read(r.t.Context(), r.store, tenant, func(e *audit.Entry) error {
		if e.Outcome == audit.Refused {
			texts = append(texts, fmt.Sprintf("%s %s %s ×%d", e.Actor, e.Action, e.Address, e.Count))
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, of := range []string{tenant, audit.Platform} {
		if v, err := audit.Verify(r.t.Context(), r.store, of); err != nil || !v.Holds {
			r.t.Errorf("the chain %q does not hold: %+v %v", of, v, err)
		}
	}
	return texts
}

// atSecond waits for a second to begin.
func atSecond() {
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second + 100*time.Millisecond)))
}

func TestRefusalsOfASecondAreOneEntry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, audit.Retention{})
		atSecond()
		for range 1000 {
			r.refused("acme", "key:a", "infer", "192.0.2.1")
		}
		r.refused("acme", "key:a", "infer", "192.0.2.2")
		r.refused("acme", "key:a", "key.create", "192.0.2.1")
		r.refused("acme", "key:b", "key.create", "192.0.2.1")
		time.Sleep(time.Second)
		r.refused("acme", "key:a", "infer", "192.0.2.1")
		r.end()
		want := map[string]bool{
			"key:a infer 192.0.2.1 ×1000": true, "key:a infer 192.0.2.2 ×1": true, " key.create 192.0.2.1 ×2": true, "key:a infer 192.0.2.1 ×1": true,
		}
		got := map[string]bool{}
		for _, text := range r.stored("acme") {
			got[text] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestAFloodIsCounted holds that a chain gets 21 entries a second, and that what others have
// is not less for it.
func TestAFloodIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, audit.Retention{})
		atSecond()
		for i := range 10_000 {
			r.refused(audit.Platform, "", "", fmt.Sprintf("2001:db8::%x", i))
		}
		r.refused("acme", "key:a", "infer", "192.0.2.1")
		r.end()
		flood := r.stored(audit.Platform)
		if len(flood) != 21 {
			t.Fatalf("%d entries: %v", len(flood), flood)
		}
		if all := strings.Join(flood, "\n"); !strings.Contains(all, " refusals.others  ×9980") {
			t.Error(all)
		}
		if got := r.stored("acme"); len(got) != 1 {
			t.Error(got)
		}
	})
}

// TestRefusalsOutliveAnAbsentDatabase holds that they are stored when it is back, and that those
// of too long ago are counted.
func TestRefusalsOutliveAnAbsentDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, audit.Retention{})
		atSecond()
		r.store.Fail(errors.New("it is away"))
		r.refused("acme", "key:old", "infer", "192.0.2.1")
		time.Sleep(4 * time.Minute)
		r.refused("acme", "key:new", "infer", "192.0.2.1")
		time.Sleep(2 * time.Minute)
		r.store.Fail(nil)
		time.Sleep(2 * time.Second)
		r.end()
		if diff := cmp.Diff([]string{"key:new infer 192.0.2.1 ×1"}, r.stored("acme")); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"gateway refusals.lost  ×1"}, r.stored(audit.Platform)); diff != "" {
			t.Error(diff)
		}
		if n := strings.Count(r.log.String(), "could not be stored"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

// TestWhatWaitsIsBounded holds that a database that is away does not have the process grow.
func TestWhatWaitsIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, audit.Retention{})
		r.store.Fail(errors.New("it is away"))
		const tenants = 12_000
		for i := range tenants {
			r.refused(fmt.Sprintf("t%d", i), "key:a", "infer", "192.0.2.1")
		}
		time.Sleep(5 * time.Second)
		r.store.Fail(nil)
		time.Sleep(2 * time.Second)
		r.end()
		if diff := cmp.Diff([]string{fmt.Sprintf("gateway refusals.lost  ×%d", tenants-10_000)}, r.stored(audit.Platform)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestHeadsAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, audit.Retention{})
		atSecond()
		r.refused("acme", "key:a", "infer", "192.0.2.1")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if log := r.log.String(); strings.Count(log, "chain=acme seq=1 hash=") != 1 || strings.Count(log, `chain="" seq=1`) != 1 {
			t.Error(log)
		}
		r.log.Reset()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if log := r.log.String(); log != "" {
			t.Errorf("chains that did not move: %s", log)
		}
		r.end()
	})
}

func TestWhatIsOldIsRemoved(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		retention audit.Retention
		least     int64 // the seq of the first entry that is left
	}{
		"all is kept":  {audit.Retention{}, 1},
		"by age":       {audit.Retention{Age: time.Hour}, 31},
		"by number":    {audit.Retention{Entries: 10}, 51},
		"by the lower": {audit.Retention{Age: time.Hour, Entries: math.MaxInt64}, 31},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := record(t, tc.retention)
				for range 60 {
					if err := r.store.Append(t.Context(), []audit.Entry{{At: time.Now(), Tenant: "acme", Action: "key.create"}}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Minute)
				}
				time.Sleep(time.Second)
				r.end()
				var first int64
				_, err := audit.Read(t.Context(), r.store, "acme", func(e *audit.Entry) error {
					if first == 0 {
						first = e.Seq
					}
					return nil
				})
				if v, err2 := audit.Verify(t.Context(), r.store, "acme"); err != nil || err2 != nil || !v.Holds {
					t.Errorf("it does not hold: %+v %v %v", v, err, err2)
				}
				if first < tc.least-3 || first > tc.least+3 {
					t.Errorf("the first is %d, want about %d", first, tc.least)
				}
			})
		})
	}
}
