package planner

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/sqlite"
	"github.com/modelserveai/modelserve/pipelines/start"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/pipelines/values/valuestest"
)

const pipeline = `{"apiVersion": "modelserve.dev/v1", "kind": "Pipeline", "metadata": {"name": "read"}, "spec": {"steps": [{"name": "a", "function": "f"}]}}`

// world is a planner over a SQLite file.
type world struct {
	*testing.T

	store   record.Store
	starter *start.Starter
	planner *Planner
	now     time.Time // when it was made

	registry *prometheus.Registry // of the replica that was made last
}

// counted is how many planned times have come to a result.
func (w *world) counted(result string) float64 {
	w.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "modelserve_pipelines_schedules_total" && m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	w.Fatalf("no planned times are counted that were %s", result)
	return 0
}

// broken is a store whose first saves of schedules fail, as if the process had died.
type broken struct {
	record.Store

	saves int
}

func (b *broken) SaveSchedule(ctx context.Context, s *record.Schedule) error {
	if b.saves--; b.saves >= 0 {
		return fmt.Errorf("save: %w", record.ErrUnavailable)
	}
	return b.Store.SaveSchedule(ctx, s)
}

func newWorld(t *testing.T, queued int) *world {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "pipelines.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{T: t, store: store, now: time.Now()}
	d, err := definition.Parse([]byte(pipeline))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Register(t.Context(), record.Registration{Tenant: "acme", Name: "read", Canonical: d.Canonical(), Digest: d.Digest()}); err != nil {
		t.Fatal(err)
	}
	kept := values.New(valuestest.New(), "b", 1<<20)
	decider, err := decide.New(decide.Config{MaxValues: 1 << 20}, store, kept)
	if err != nil {
		t.Fatal(err)
	}
	w.starter = start.New(queued, start.Deps{Store: store, Decider: decider, Values: kept, Logger: slog.New(slog.DiscardHandler)})
	w.planner = w.replica(store)
	return w
}

func (w *world) replica(store Store) *Planner {
	w.Helper()
	w.registry = prometheus.NewRegistry()
	p, err := New(store, w.starter, w.registry, slog.New(slog.DiscardHandler))
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// add makes a schedule whose next time was a while ago.
func (w *world) add(name, cron string, missed string, ago time.Duration) *record.Schedule {
	w.Helper()
	s := &record.Schedule{Tenant: "acme", Name: name, Pipeline: "read", Cron: cron, Input: json.RawMessage(`{"a":1}`), Missed: missed}
	s.Planned = w.now.Add(-ago).Truncate(time.Minute)
	s.Due = s.Planned
	if err := w.store.AddSchedule(w.Context(), s); err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) turn(p *Planner) {
	w.Helper()
	if err := p.turn(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) get(name string) *record.Schedule {
	w.Helper()
	s, err := w.store.Schedule(w.Context(), "acme", name)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) executions() []*execution.Execution {
	w.Helper()
	var all []*execution.Execution
	q := record.Query{Tenant: "acme", Limit: record.MaxPage}
	for {
		page, err := w.store.List(w.Context(), q)
		if err != nil {
			w.Fatal(err)
		}
		all = append(all, page.Executions...)
		if q.After = page.Next; q.After.IsZero() {
			return all
		}
	}
}

func TestWhatIsDueStarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	s := w.add("nightly", "* * * * *", "skip", 0)
	w.add("later", "* * * * *", "skip", -time.Hour)
	w.turn(w.planner)
	w.turn(w.planner)
	all := w.executions()
	if len(all) != 1 || all[0].Labels["schedule"] != "nightly" || all[0].Pipeline != "read" {
		t.Fatalf("%+v", all)
	}
	loaded, err := w.store.Load(t.Context(), all[0].ID)
	if err != nil || string(loaded.Execution.Input.JSON) != `{"a":1}` {
		t.Errorf("%+v, %v", loaded, err)
	}
	got := w.get("nightly")
	if !got.Last.Equal(s.Planned) || got.LastExecution != all[0].ID || !got.Planned.Equal(s.Planned.Add(time.Minute)) || !got.Due.Equal(got.Planned) {
		t.Errorf("%+v", got)
	}
	if n := w.counted("started"); n != 1 {
		t.Errorf("%v were started", n)
	}
}

// TestReplicasStartEachOnce holds that schedules of one minute start once each, whichever
// replica takes them.
func TestReplicasStartEachOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	const n = 150
	for i := range n {
		w.add(fmt.Sprintf("s%03d", i), "0 0 1 1 *", "one", 2*time.Hour)
	}
	var turns sync.WaitGroup
	for range 3 {
		p := w.replica(w.store)
		turns.Go(func() {
			for range 3 {
				if err := p.turn(t.Context()); err != nil && t.Context().Err() == nil {
					t.Log(err) // others write for longer than is waited for them: it comes again
				}
			}
		})
	}
	turns.Wait()
	for len(w.executions()) < n {
		w.turn(w.planner)
	}
	if got := len(w.executions()); got != n {
		t.Errorf("%d executions of %d schedules", got, n)
	}
}

// TestAReplicaThatDiesInBetweenStartsOnce holds that a time whose execution was stored by
// a process that died before it noted that is not started again.
func TestAReplicaThatDiesInBetweenStartsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	s := w.add("nightly", "0 0 1 1 *", "one", time.Hour)
	w.turn(w.replica(&broken{Store: w.store, saves: 1}))
	if got := w.get("nightly"); got.LastExecution != "" || len(w.executions()) != 1 {
		t.Fatalf("%+v, %d executions", got, len(w.executions()))
	}
	w.free(s)
	w.turn(w.planner)
	all := w.executions()
	if got := w.get("nightly"); len(all) != 1 || got.LastExecution != all[0].ID {
		t.Errorf("%+v, %d executions", got, len(all))
	}
}

// free has a schedule that a process took be anybody's, as when its hold has run out.
func (w *world) free(s *record.Schedule) {
	w.Helper()
	got := w.get(s.Name)
	if err := w.store.SaveSchedule(w.Context(), got); err != nil {
		w.Fatal(err)
	}
}

func TestMissedTimesOfASchedule(t *testing.T) {
	t.Parallel()
	for missed, want := range map[string]int{"skip": 0, "one": 1, "all": 4} {
		t.Run(missed, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 0)
			// Each minute of an hour that is over, but for the last.
			hour := w.now.UTC().Add(-2 * time.Hour).Truncate(time.Hour)
			s := w.add("s", fmt.Sprintf("10-13 %d * * *", hour.Hour()), missed, w.now.Sub(hour.Add(10*time.Minute)))
			for range 10 {
				w.turn(w.planner)
			}
			if got := len(w.executions()); got != want {
				t.Errorf("%d executions, want %d", got, want)
			}
			if got := w.get("s"); !got.Planned.Equal(hour.Add(24*time.Hour + 10*time.Minute)) {
				t.Errorf("it is planned for %v, after %v", got.Planned, s.Planned)
			}
		})
	}
}

func TestAScheduleThatCannotStart(t *testing.T) {
	t.Parallel()
	t.Run("its pipeline is gone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, 0)
		w.add("s", "* * * * *", "skip", 0)
		if err := w.store.DeletePipeline(t.Context(), "acme", "read"); err != nil {
			t.Fatal(err)
		}
		w.turn(w.planner)
		if got := w.get("s"); got.LastError == "" || !got.Last.IsZero() || got.Planned.Before(w.now) || len(w.executions()) != 0 {
			t.Errorf("%+v", got)
		}
		if n := w.counted("failed"); n != 1 {
			t.Errorf("%v failed", n)
		}
	})
	t.Run("the tenant has as many waiting as may be", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, 1)
		first := w.add("a", "0 0 1 1 *", "one", time.Hour)
		w.turn(w.planner)
		second := w.add("b", "0 0 1 1 *", "one", time.Hour)
		w.turn(w.planner)
		if a, b := w.get(first.Name), w.get(second.Name); a.LastExecution == "" || b.LastExecution != "" || !b.Planned.Equal(second.Planned) {
			t.Errorf("%+v, %+v: the second comes again", a, b)
		}
	})
	t.Run("its zone is gone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, 0)
		s := w.add("s", "* * * * *", "skip", 0)
		s.TimeZone = "Mars/Olympus"
		if err := w.planner.fire(t.Context(), s, w.now); err != nil {
			t.Fatal(err)
		}
		if got := w.get("s"); !got.Paused || got.LastError == "" {
			t.Errorf("%+v", got)
		}
	})
}

func TestItStartsByItselfAndStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	w.add("s", "* * * * *", "skip", 0)
	w.planner.Start(t.Context())
	for len(w.executions()) == 0 {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("nothing starts")
		}
	}
	w.planner.Stop()
	w.planner.Stop()
}
