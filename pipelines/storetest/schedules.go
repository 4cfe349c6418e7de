package storetest

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/record"
)

// newSchedule is a schedule that is due after a while.
func newSchedule(tenant, name string, in time.Duration) *record.Schedule {
	at := time.Now().Add(in).Truncate(time.Millisecond).UTC()
	return &record.Schedule{
		Tenant: tenant, Name: name, Pipeline: "read", Version: 3, Cron: "0 6 * * 1-5", TimeZone: "Europe/Berlin", Input: json.RawMessage(`{"a":[1]}`),
		Missed: "skip", Jitter: 1500 * time.Millisecond, ScheduleState: record.ScheduleState{Planned: at.Add(-time.Second), Due: at},
	}
}

func (b *bench) schedule(t *testing.T, tenant, name string, in time.Duration) *record.Schedule {
	t.Helper()
	s := newSchedule(tenant, name, in)
	if err := b.AddSchedule(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *bench) dueSchedules(t *testing.T, most int, hold time.Duration) []string {
	t.Helper()
	due, now, err := b.DueSchedules(t.Context(), most, hold)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(due))
	for _, s := range due {
		if s.Due.After(now) || time.Since(now).Abs() > time.Hour {
			t.Errorf("%s is due at %v; it is %v", s.Name, s.Due, now)
		}
		names = append(names, s.Name)
	}
	return names
}

func schedules(t *testing.T, b *bench) {
	s := b.schedule(t, "acme", "nightly", time.Hour)
	if s.Created.IsZero() || s.Revision != 1 {
		t.Errorf("added as %+v", s)
	}
	got, err := b.Schedule(t.Context(), "acme", "nightly")
	is(t, "get", err, nil)
	same(t, "it comes back as it was", s, got)
	is(t, "the same name", b.AddSchedule(t.Context(), newSchedule("acme", "nightly", 0)), record.ErrConflict)
	b.schedule(t, "other", "nightly", time.Hour)
	for _, of := range [][2]string{{"acme", "none"}, {"none", "nightly"}, {"acme", "nightly\x00"}} {
		_, err := b.Schedule(t.Context(), of[0], of[1])
		is(t, "get what is not there", err, record.ErrNotFound)
		is(t, "delete what is not there", b.DeleteSchedule(t.Context(), of[0], of[1]), record.ErrNotFound)
	}
	late, twice := *got, *got
	got.ScheduleState = record.ScheduleState{Paused: true, Last: got.Planned, LastExecution: "x1", LastError: "no"}
	is(t, "save", b.SaveSchedule(t.Context(), got), nil)
	again, err := b.Schedule(t.Context(), "acme", "nightly")
	is(t, "get again", err, nil)
	same(t, "it is as it was saved", got, again)
	is(t, "save an older one", b.SaveSchedule(t.Context(), &late), record.ErrConflict)
	is(t, "delete", b.DeleteSchedule(t.Context(), "acme", "nightly"), nil)
	b.schedule(t, "acme", "nightly", time.Hour)
	b.db.Do(t, "UPDATE schedules SET created_at = created_at + 1")
	is(t, "save one that was replaced", b.SaveSchedule(t.Context(), &twice), record.ErrConflict)
}

func schedulesListed(t *testing.T, b *bench) {
	for i := range 5 {
		b.schedule(t, "acme", fmt.Sprintf("s%d", i), time.Hour)
	}
	b.schedule(t, "other", "theirs", time.Hour)
	b.db.Do(t, "UPDATE schedules SET created_at = 1000000000000 WHERE name IN ('s1', 's2')")
	var names []string
	q := record.ScheduleQuery{Tenant: "acme", Limit: 2}
	for range 3 {
		page, err := b.Schedules(t.Context(), q)
		is(t, "list", err, nil)
		for _, s := range page.Schedules {
			names = append(names, s.Name)
		}
		q.After = page.Next
	}
	if !q.After.IsZero() || len(names) != 5 {
		t.Fatalf("%v, and more after %+v", names, q.After)
	}
	same(t, "of the same time, by name", []string{"s2", "s1"}, names[3:])
}

func schedulesBounded(t *testing.T, b *bench) {
	for i := range record.MaxSchedules {
		b.schedule(t, "acme", fmt.Sprintf("s%d", i), time.Hour)
	}
	is(t, "one more", b.AddSchedule(t.Context(), newSchedule("acme", "more", time.Hour)), record.ErrFull)
	b.schedule(t, "other", "more", time.Hour)
}

func schedulesDue(t *testing.T, b *bench) {
	first, second := b.schedule(t, "acme", "first", -2*time.Minute), b.schedule(t, "other", "second", -time.Minute)
	b.schedule(t, "acme", "later", time.Hour)
	paused := b.schedule(t, "acme", "paused", -time.Minute)
	paused.Paused = true
	is(t, "pause", b.SaveSchedule(t.Context(), paused), nil)
	never := b.schedule(t, "acme", "never", -time.Minute)
	never.Planned, never.Due = time.Time{}, time.Time{}
	is(t, "it has no time any more", b.SaveSchedule(t.Context(), never), nil)
	same(t, "the longest first", []string{"first"}, b.dueSchedules(t, 1, time.Hour))
	same(t, "the other", []string{"second"}, b.dueSchedules(t, 10, 0))
	same(t, "it comes again", []string{"second"}, b.dueSchedules(t, 10, time.Hour))
	same(t, "both are taken", []string{}, b.dueSchedules(t, 10, time.Hour))
	second.Planned, second.Due = second.Planned.Add(time.Second), second.Due.Add(time.Second)
	is(t, "one is moved, and due again", b.SaveSchedule(t.Context(), second), nil)
	same(t, "it is taken", []string{"second"}, b.dueSchedules(t, 10, time.Hour))
	first.Due = time.Now().Add(time.Hour)
	is(t, "the other is moved", b.SaveSchedule(t.Context(), first), nil)
	same(t, "nothing is due", []string{}, b.dueSchedules(t, 10, 0))
}

func schedulesRace(t *testing.T, b *bench) {
	const n, takers = 60, 5
	for i := range n {
		b.schedule(t, "acme", fmt.Sprintf("s%d", i), -time.Minute)
	}
	var mu sync.Mutex
	times := map[string]int{}
	counts := atOnce(t, takers, func(int) error {
		for {
			due, _, err := b.DueSchedules(t.Context(), 7, time.Hour)
			if err != nil || len(due) == 0 {
				return err
			}
			mu.Lock()
			for _, s := range due {
				times[s.Name]++
			}
			mu.Unlock()
		}
	})
	same(t, "errors", map[error]int{nil: takers}, counts)
	for range b.dueSchedules(t, 1000, time.Hour) { // one whom others held when it looked may have been left
		n := len(times)
		times[fmt.Sprint("left", n)]++
	}
	if len(times) != n {
		t.Errorf("%d of %d were taken", len(times), n)
	}
	for name, n := range times {
		if n != 1 {
			t.Errorf("%s was taken %d times", name, n)
		}
	}
	s, err := b.Schedule(t.Context(), "acme", "s0")
	is(t, "get", err, nil)
	counts = atOnce(t, takers, func(i int) error {
		mine := *s
		mine.LastExecution = fmt.Sprint("x", i)
		return b.SaveSchedule(t.Context(), &mine)
	})
	if diff := cmp.Diff(map[error]int{nil: 1, record.ErrConflict: takers - 1}, counts); diff != "" {
		t.Errorf("who save at once: -want +got:\n%s", diff)
	}
}
