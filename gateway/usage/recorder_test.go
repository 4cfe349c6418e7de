package usage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/gateway/usage/usagetest"
)

// recording is a Recorder that runs.
type recording struct {
	*usage.Recorder

	t        *testing.T
	store    *usagetest.Store
	registry *prometheus.Registry
	log      *bytes.Buffer
	end      func() // and wait for what is left to be stored
}

// record runs a Recorder, in a bubble.
func record(t *testing.T, store *usagetest.Store) *recording {
	t.Helper()
	r := &recording{t: t, store: store, registry: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	var err error
	if r.Recorder, err = usage.NewRecorder(store, 400*24*time.Hour, r.registry, slog.New(slog.NewTextHandler(r.log, nil))); err != nil {
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

// call counts one of acme's.
func (r *recording) call(model string) {
	r.Add("acme", model, time.Now(), usage.Counts{Requests: 1, Rows: 2, Compute: 3, BytesIn: 4, BytesOut: 5})
}

// requests are how many are stored, by tenant and model.
func (r *recording) requests() map[string]int64 {
	r.t.Helper()
	rows, err := r.Usage(r.t.Context(), &usage.Query{To: usage.DayOf(time.Now()) + 1, By: usage.By{Tenant: true, Model: true}, Limit: 1 << 30})
	if err != nil {
		r.t.Fatal(err)
	}
	sums := map[string]int64{}
	for _, row := range rows {
		sums[row.Tenant+" "+row.Model] = row.Requests
	}
	return sums
}

// stored holds what is stored.
func (r *recording) stored(what string, want map[string]int64) {
	r.t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, r.requests()); diff != "" {
		r.t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

func (r *recording) metric(name string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "modelserve_gateway_usage_"+name {
			return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	r.t.Fatalf("there is no metric %s", name)
	return 0
}

// logged holds how many lines have a text.
func (r *recording) logged(text string, times int) {
	r.t.Helper()
	if n := strings.Count(r.log.String(), text); n != times {
		r.t.Errorf("%q is logged %d times, want %d:\n%s", text, n, times, r.log)
	}
}

func quotaKey(combination string) usage.QuotaKey {
	return usage.QuotaKey{Limit: "monthly", Combination: combination, Period: "2026-11"}
}

func TestUsageIsStoredEachSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, &usagetest.Store{})
		for range 10 {
			r.call("m")
		}
		r.Add("other", "", time.Now(), usage.Counts{Requests: 1, Errors: 1})
		r.stored("before a second is over", map[string]int64{})
		time.Sleep(time.Second)
		r.stored("after a second", map[string]int64{"acme m": 10, "other ": 1})
		r.call("m")
		r.end()
		r.stored("in the end", map[string]int64{"acme m": 11, "other ": 1})
		if r.log.Len() > 0 || r.metric("failures_total")+r.metric("lost_total")+r.metric("waiting") > 0 {
			t.Errorf("something is wrong: %s", r.log)
		}
	})
}

// TestADayEndsAtMidnight holds that calls are of the day that they ended on.
func TestADayEndsAtMidnight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, &usagetest.Store{})
		midnight := (usage.DayOf(time.Now()) + 1).Start()
		r.Add("acme", "m", midnight.Add(-1), usage.Counts{Requests: 1})
		r.Add("acme", "m", midnight, usage.Counts{Requests: 2})
		r.end()
		rows, err := r.Usage(t.Context(), &usage.Query{To: usage.DayOf(midnight) + 1, By: usage.By{Day: true}, Limit: 10})
		want := []usage.Row{
			{Key: usage.Key{Day: usage.DayOf(midnight)}, Counts: usage.Counts{Requests: 2}},
			{Key: usage.Key{Day: usage.DayOf(midnight) - 1}, Counts: usage.Counts{Requests: 1}},
		}
		if diff := cmp.Diff(want, rows); diff != "" || err != nil {
			t.Errorf("%v, -want +got:\n%s", err, diff)
		}
	})
}

// TestAKilledReplicaLosesAtMostTheLastSecond has a Recorder end without a word.
func TestAKilledReplicaLosesAtMostTheLastSecond(t *testing.T) {
	t.Parallel()
	for _, life := range []time.Duration{10 * time.Millisecond, 999 * time.Millisecond, 1001 * time.Millisecond, 7500 * time.Millisecond, 9990 * time.Millisecond} {
		t.Run(life.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := record(t, &usagetest.Store{})
				var called []time.Time
				for end := time.Now().Add(life); time.Now().Before(end); time.Sleep(7 * time.Millisecond) {
					r.call("m")
					called = append(called, time.Now())
				}
				killed := time.Now()
				synctest.Wait()
				r.store.Fail(errors.New("nobody calls it any more"))
				r.end()
				r.store.Fail(nil)
				var due int64
				for _, at := range called {
					if !at.After(killed.Add(-time.Second)) {
						due++
					}
				}
				if got := r.requests()["acme m"]; got < due || got > int64(len(called)) {
					t.Errorf("%d of %d are stored; %d were made before the last second", got, len(called), due)
				}
			})
		})
	}
}

// TestADatabaseThatIsAwayLosesNothing holds that sums are kept while it is, that one of
// which it is not known whether it was added is added once, and that both are reported
// once.
func TestADatabaseThatIsAwayLosesNothing(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(*usagetest.Store, bool){
		"it takes nothing": func(s *usagetest.Store, is bool) {
			s.Fail(nil)
			if is {
				s.Fail(errors.New("away"))
			}
		},
		"its answers are lost": func(s *usagetest.Store, is bool) { s.LoseAnswers(is) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := record(t, &usagetest.Store{})
				var totals []usage.Quota
				r.OnTotals(func(q []usage.Quota) { totals = append(totals, q...) })
				r.call("m")
				time.Sleep(1500 * time.Millisecond)
				away(r.store, true)
				for n := range 300 {
					r.call(fmt.Sprint("m", n/100))
					r.AddQuota("monthly", "acme", "2026-11", 1)
					time.Sleep(time.Second)
				}
				if waiting, failures := r.metric("waiting"), r.metric("failures_total"); waiting == 0 || failures < 299 {
					t.Errorf("%v wait, %v failures", waiting, failures)
				}
				away(r.store, false)
				time.Sleep(2 * time.Second)
				r.stored("when it is back", map[string]int64{"acme m": 1, "acme m0": 100, "acme m1": 100, "acme m2": 100})
				r.end()
				if last := totals[len(totals)-1]; last != (usage.Quota{QuotaKey: quotaKey("acme"), Count: 300}) {
					t.Errorf("the last total is %+v", last)
				}
				r.logged("usage could not be stored", 1)
				r.logged("takes usage again", 1)
				if r.metric("waiting")+r.metric("lost_total") > 0 {
					t.Error("something is not stored")
				}
			})
		})
	}
}

func TestWhatIsLostInTheEndIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, &usagetest.Store{})
		r.store.Fail(errors.New("away"))
		r.call("m")
		r.end()
		r.logged("usage is lost", 1)
	})
}

func TestTotalsAreThoseOfAllReplicas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &usagetest.Store{}
		one, other := record(t, store), record(t, store)
		var totals [][]usage.Quota
		one.OnTotals(func(q []usage.Quota) { totals = append(totals, q) })
		other.AddQuota("monthly", "acme", "2026-11", 5)
		time.Sleep(1500 * time.Millisecond)
		one.AddQuota("monthly", "acme", "2026-11", 2)
		one.AddQuota("monthly", "acme", "2026-11", -100) // is no credit
		one.AddQuota("monthly", "b\xff", "2026-11", 1)
		one.AddQuota("monthly", "idle", "2026-11", 0)
		time.Sleep(time.Second)
		one.call("m") // has no totals
		one.end()
		other.end()
		want := [][]usage.Quota{{{QuotaKey: quotaKey("acme"), Count: 7}, {QuotaKey: quotaKey(usage.Plain("b\xff")), Count: 1}}}
		if diff := cmp.Diff(want, totals); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		found, err := store.Quotas(t.Context(), []usage.QuotaKey{quotaKey("acme"), quotaKey("idle")})
		if diff := cmp.Diff([]usage.Quota{{QuotaKey: quotaKey("acme"), Count: 7}}, found); diff != "" || err != nil {
			t.Errorf("%v, -want +got:\n%s", err, diff)
		}
	})
}

// TestMemoryIsBounded holds that no call is lost where there are more models and tenants
// than are kept apart, and what is of quotas.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, &usagetest.Store{})
		const models, tenants, quotas = 100_500, 11_000, 100_100
		for n := range models {
			r.call(fmt.Sprint("m", n))
		}
		for n := range tenants {
			r.Add(fmt.Sprint("t", n), "m", time.Now(), usage.Counts{Requests: 1})
		}
		for n := range quotas {
			r.AddQuota("monthly", fmt.Sprint(n), "2026-11", 1)
		}
		if got := r.metric("waiting"); got != 110_001+100_000 {
			t.Errorf("%v sums wait", got)
		}
		if got := r.metric("lost_total"); got != 100 {
			t.Errorf("%v counts of quotas are lost", got)
		}
		r.end()
		got := r.requests()
		var sum int64
		for _, n := range got {
			sum += n
		}
		if sum != models+tenants || got["acme "] != 500 || got["t0 "] != 1 || got[usage.Others+" "] != 1001 {
			t.Errorf("%d calls: %d of acme's without a model, %d of others", sum, got["acme "], got[usage.Others+" "])
		}
	})
}

// TestOldUsageGoes holds what a Recorder removes when it begins, and each hour.
func TestOldUsageGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &usagetest.Store{}
		today := usage.DayOf(time.Now())
		// flushed has a replica flush what is so many days old, in the midst of the day.
		flushed := func(sequence int64, days usage.Day, quota string) {
			f := &usage.Flush{Replica: "r", Sequence: sequence, At: (today - days).Start().Add(12 * time.Hour), Quotas: []usage.Quota{{QuotaKey: quotaKey(quota), Count: 1}}}
			for n := range usage.TrimPage + 1 {
				f.Sums = append(f.Sums, usage.Row{Key: usage.Key{Tenant: strconv.Itoa(int(days)), Model: fmt.Sprint("m", n), Day: today - days}, Counts: usage.Counts{Requests: 1}})
			}
			if _, err := store.AddUsage(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		holds := func(what string, tenants, quotas []string) {
			t.Helper()
			synctest.Wait()
			rows, err := store.Usage(t.Context(), &usage.Query{To: today + 1, By: usage.By{Tenant: true}, Limit: 10})
			var got []string
			for _, row := range rows {
				got = append(got, row.Tenant)
			}
			if diff := cmp.Diff(tenants, got); diff != "" || err != nil {
				t.Errorf("%s: %v, tenants -want +got:\n%s", what, err, diff)
			}
			found, err := store.Quotas(t.Context(), []usage.QuotaKey{quotaKey("old"), quotaKey("last"), quotaKey("new")})
			got = nil
			for _, q := range found {
				got = append(got, q.Combination)
			}
			if diff := cmp.Diff(quotas, got); diff != "" || err != nil {
				t.Errorf("%s: %v, quotas -want +got:\n%s", what, err, diff)
			}
		}
		flushed(1, 401, "old")
		flushed(2, 400, "old")
		flushed(3, 36, "old")
		flushed(4, 35, "last")
		flushed(5, 0, "new")
		r := record(t, store)
		holds("when it begins", []string{"0", "35", "36", "400"}, []string{"last", "new"})
		time.Sleep(25 * time.Hour)
		holds("a day later", []string{"0", "35", "36"}, []string{"new"})
		r.end()
	})
}

func TestWhatCannotBeRemovedStaysForLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &usagetest.Store{}
		store.Fail(errors.New("away"))
		r := record(t, store)
		time.Sleep(3*time.Hour + time.Minute)
		r.end()
		r.logged("old usage could not be removed", 4)
	})
}

func TestConcurrentCallsAreAllCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := record(t, &usagetest.Store{})
		var work sync.WaitGroup
		for n := range 8 {
			work.Go(func() {
				for range 500 {
					r.call(fmt.Sprint("m", n%2))
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		work.Wait()
		r.end()
		r.stored("all", map[string]int64{"acme m0": 2000, "acme m1": 2000})
	})
}
