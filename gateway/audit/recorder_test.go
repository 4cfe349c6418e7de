package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
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
	return recordTo(t, retention, func(s *rightstest.Store) audit.Store { return s })
}

// recordTo runs a Recorder whose store is not all of the recording's.
func recordTo(t *testing.T, retention audit.Retention, to func(*rightstest.Store) audit.Store) *recording {
	t.Helper()
	r := &recording{t: t, store: &rightstest.Store{}, log: &bytes.Buffer{}}
	var err error
	r.Recorder, err = audit.NewRecorder(to(r.store), retention, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(r.log, nil)))
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
	for _, e := range r.all(tenant) {
		if e.Outcome == audit.Refused {
			texts = append(texts, fmt.Sprintf("%s %s %s ×%d", e.Actor, e.Action, e.Address, e.Count))
		}
	}
	for _, of := range []string{tenant, audit.Platform} {
		if v, err := audit.Verify(r.t.Context(), r.store, of); err != nil || !v.Holds {
			r.t.Errorf("the chain %q does not hold: %+v %v", of, v, err)
		}
	}
	return texts
}

// all are the entries of a chain.
func (r *recording) all(tenant string) (all []audit.Entry) {
	r.t.Helper()
	_, err := audit.Read(r.t.Context(), r.store, tenant, func(e *audit.Entry) error {
		all = append(all, *e)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
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

// TestWhatWaitsIsShared holds that those who are refused the most while the database is away do
// not push out what others were refused.
func TestWhatWaitsIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, audit.Retention{})
		atSecond()
		r.store.Fail(errors.New("it is away"))
		const seconds = 270
		first := time.Now().Add(-seconds * time.Second)
		for i := range seconds {
			at := first.Add(time.Duration(i) * time.Second)
			if i >= seconds-30 {
				r.Refused(audit.Entry{At: at, Tenant: "victim", Action: "infer", Address: "9.9.9.9"})
			}
			for _, tenant := range []string{"x", "y"} {
				for j := range 21 {
					r.Refused(audit.Entry{At: at, Tenant: tenant, Action: fmt.Sprint("action", j), Address: "6.6.6.6"})
				}
			}
		}
		time.Sleep(2 * time.Second)
		r.store.Fail(nil)
		time.Sleep(2 * time.Second)
		r.end()
		if got := r.stored("victim"); len(got) != 30 {
			t.Errorf("%d of the victim's 30 are stored", len(got))
		}
		total := int64(30)
		for _, e := range append(r.all("x"), append(r.all("y"), r.all(audit.Platform)...)...) {
			if e.Outcome == audit.Refused {
				total += e.Count
			}
		}
		if want := int64(seconds*2*21 + 30); total != want {
			t.Errorf("%d refusals are stored or counted as lost, of %d", total, want)
		}
	})
}

// meanwhile is a log that has something happen while it is added to.
type meanwhile struct {
	*rightstest.Store

	do func()
}

func (m meanwhile) Append(ctx context.Context, entries []audit.Entry) error {
	m.do()
	return m.Store.Append(ctx, entries)
}

// TestRefusalsOfOneSecondAreAddedUp holds that what was tried in vain is not stored in the place of
// what was refused meanwhile.
func TestRefusalsOfOneSecondAreAddedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		atSecond()
		at := time.Now()
		var r *recording
		refused := func(n int, actor string) {
			for range n {
				r.Refused(audit.Entry{At: at, Tenant: "acme", Actor: actor, Action: "infer", Address: "192.0.2.1"})
			}
		}
		more := sync.OnceFunc(func() { refused(3, "key:b") })
		r = recordTo(t, audit.Retention{}, func(s *rightstest.Store) audit.Store { return meanwhile{s, more} })
		r.store.Fail(errors.New("it is away"))
		refused(5, "key:a")
		time.Sleep(3 * time.Second)
		r.store.Fail(nil)
		time.Sleep(2 * time.Second)
		r.end()
		if diff := cmp.Diff([]string{" infer 192.0.2.1 ×8"}, r.stored("acme")); diff != "" {
			t.Error(diff)
		}
	})
}

// damaged is a log one chain of which cannot be changed.
type damaged struct{ *rightstest.Store }

const damagedChain = "damaged"

func (d damaged) Append(ctx context.Context, entries []audit.Entry) error {
	if slices.ContainsFunc(entries, func(e audit.Entry) bool { return e.Tenant == damagedChain }) {
		return errors.New("UNIQUE constraint failed: audit.tenant, audit.seq")
	}
	return d.Store.Append(ctx, entries)
}

func (d damaged) Trim(ctx context.Context, tenant string, before time.Time, most int64) (int64, error) {
	if tenant == damagedChain {
		return 0, errors.New("UNIQUE constraint failed: audit.tenant, audit.seq")
	}
	return d.Store.Trim(ctx, tenant, before, most)
}

// TestOneChainDoesNotStopOthers holds that a chain that cannot be changed neither loses what
// others were refused nor keeps what is old of theirs.
func TestOneChainDoesNotStopOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := recordTo(t, audit.Retention{Entries: 10}, func(s *rightstest.Store) audit.Store { return damaged{s} })
		if err := r.store.Append(t.Context(), []audit.Entry{{At: time.Now(), Tenant: damagedChain, Action: "x"}}); err != nil {
			t.Fatal(err)
		}
		atSecond()
		const refusals = 100
		for range refusals {
			for _, tenant := range []string{"before", damagedChain, "later"} {
				r.refused(tenant, "key:a", "infer", "192.0.2.1")
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, tenant := range []string{"before", "later"} {
			if n := len(r.stored(tenant)); n != refusals {
				t.Errorf("%s: %d of %d are stored", tenant, n, refusals)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, tenant := range []string{"before", "later"} {
			if n := len(r.all(tenant)); n != 10 {
				t.Errorf("%s: %d of 10 are left", tenant, n)
			}
		}
		r.end()
		if n := strings.Count(r.log.String(), "could not be stored"); n != 1 {
			t.Errorf("logged %d times", n)
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
