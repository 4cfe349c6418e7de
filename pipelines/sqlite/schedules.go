package sqlite

import (
	"context"
	"time"

	"github.com/modelserveai/modelserve/pipelines/internal/stored"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/sqlite/db"
)

// AddSchedule implements record.Schedules.
func (s *Store) AddSchedule(ctx context.Context, add *record.Schedule) error {
	return s.write(ctx, "add schedule "+add.Name, durable, func(q *db.Queries, now int64) error {
		r := stored.ScheduleOf(add)
		n, err := q.AddSchedule(ctx, db.AddScheduleParams{
			Tenant: r.Tenant, Name: r.Name, Pipeline: r.Pipeline, Version: r.Version, Cron: r.Cron, TimeZone: r.TimeZone, Input: r.Input,
			Missed: r.Missed, Jitter: r.Jitter, CreatedAt: now, Paused: r.Paused, PlannedAt: r.PlannedAt, DueAt: r.DueAt, Most: record.MaxSchedules,
		})
		switch {
		case err != nil:
			return err //nolint:wrapcheck // above
		case n == 0:
			return record.ErrFull
		}
		add.Created, add.Revision = stored.Time(now), 1
		return nil
	})
}

// Schedule implements record.Schedules.
func (s *Store) Schedule(ctx context.Context, tenant, name string) (one *record.Schedule, err error) {
	err = s.read(ctx, "get schedule "+name, func(ctx context.Context, q *db.Queries) error {
		row, err := q.GetSchedule(ctx, db.GetScheduleParams{Tenant: tenant, Name: name})
		if err == nil {
			r := stored.Schedule(row)
			one = r.Of()
		}
		return err //nolint:wrapcheck // above
	})
	return one, err
}

// Schedules implements record.Schedules.
func (s *Store) Schedules(ctx context.Context, query record.ScheduleQuery) (page *record.SchedulePage, err error) {
	query.Limit = stored.Limit(query.Limit, record.MaxPage)
	before, beforeName := stored.Before(query.After)
	err = s.read(ctx, "list schedules", func(ctx context.Context, q *db.Queries) error {
		rows, err := q.SchedulesOf(ctx, db.SchedulesOfParams{Tenant: query.Tenant, Before: before, BeforeName: beforeName, Most: int64(query.Limit + 1)})
		page = stored.SchedulePage(schedules(rows), query.Limit)
		return err //nolint:wrapcheck // above
	})
	return page, err
}

func schedules(rows []db.Schedule) []stored.Schedule {
	all := make([]stored.Schedule, 0, len(rows))
	for _, r := range rows {
		all = append(all, stored.Schedule(r))
	}
	return all
}

// SaveSchedule implements record.Schedules.
func (s *Store) SaveSchedule(ctx context.Context, save *record.Schedule) error {
	return s.write(ctx, "save schedule "+save.Name, durable, func(q *db.Queries, _ int64) error {
		r := stored.ScheduleOf(save)
		n, err := q.SaveSchedule(ctx, db.SaveScheduleParams{
			Paused: r.Paused, PlannedAt: r.PlannedAt, DueAt: r.DueAt, LastAt: r.LastAt, LastExecution: r.LastExecution, LastError: r.LastError,
			Tenant: r.Tenant, Name: r.Name, CreatedAt: r.CreatedAt, Revision: r.Revision,
		})
		switch {
		case err != nil:
			return err //nolint:wrapcheck // above
		case n == 0:
			return record.ErrConflict
		}
		save.Revision++
		return nil
	})
}

// DeleteSchedule implements record.Schedules.
func (s *Store) DeleteSchedule(ctx context.Context, tenant, name string) error {
	return s.write(ctx, "delete schedule "+name, durable, func(q *db.Queries, _ int64) error {
		n, err := q.DeleteSchedule(ctx, db.DeleteScheduleParams{Tenant: tenant, Name: name})
		if err == nil && n == 0 {
			err = record.ErrNotFound
		}
		return err //nolint:wrapcheck // above
	})
}

// DueSchedules implements record.Planner. It looks before it takes: looking needs no turn
// among those who write.
func (s *Store) DueSchedules(ctx context.Context, most int, hold time.Duration) (due []*record.Schedule, at time.Time, err error) {
	const what = "take schedules that are due"
	most = stored.Limit(most, record.MaxBatch)
	at = stored.Time(s.now())
	var rows []db.Schedule
	err = s.read(ctx, what, func(ctx context.Context, q *db.Queries) (err error) {
		rows, err = q.SchedulesDue(ctx, db.SchedulesDueParams{Now: s.now(), Most: 1})
		return err //nolint:wrapcheck // above
	})
	if err != nil || len(rows) == 0 {
		return nil, at, err
	}
	err = s.write(ctx, what, quick, func(q *db.Queries, now int64) (err error) {
		at = stored.Time(now)
		if rows, err = q.SchedulesDue(ctx, db.SchedulesDueParams{Now: now, Most: int64(most)}); err != nil {
			return err //nolint:wrapcheck // above
		}
		for _, r := range rows {
			if err := q.HoldSchedule(ctx, db.HoldScheduleParams{FreeAt: now + hold.Milliseconds(), Tenant: r.Tenant, Name: r.Name}); err != nil {
				return err //nolint:wrapcheck // above
			}
		}
		return nil
	})
	if err != nil {
		return nil, at, err
	}
	return stored.Schedules(schedules(rows)), at, nil
}
