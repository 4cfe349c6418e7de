package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/modelserveai/modelserve/internal/postgresql"
	"github.com/modelserveai/modelserve/pipelines/internal/stored"
	"github.com/modelserveai/modelserve/pipelines/postgres/db"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// AddSchedule implements record.Schedules.
func (s *Store) AddSchedule(ctx context.Context, add *record.Schedule) error {
	r := stored.ScheduleOf(add)
	at, err := db.New(s.durable).AddSchedule(ctx, db.AddScheduleParams{
		Tenant: r.Tenant, Name: r.Name, Pipeline: r.Pipeline, Version: r.Version, Cron: r.Cron, TimeZone: r.TimeZone, Input: r.Input,
		Missed: r.Missed, Jitter: r.Jitter, Paused: r.Paused, PlannedAt: r.PlannedAt, DueAt: r.DueAt, Most: record.MaxSchedules,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = record.ErrFull
	}
	if err != nil {
		return s.failed(ctx, "add schedule "+add.Name, err)
	}
	add.Created, add.Revision = stored.Time(at), 1
	return nil
}

// Schedule implements record.Schedules.
func (s *Store) Schedule(ctx context.Context, tenant, name string) (*record.Schedule, error) {
	if !postgresql.Storable(tenant, name) {
		return nil, fmt.Errorf("get schedule %q: %w", name, record.ErrNotFound)
	}
	row, err := db.New(s.reading).GetSchedule(ctx, db.GetScheduleParams{Tenant: tenant, Name: name})
	if err != nil {
		return nil, s.failed(ctx, "get schedule "+name, err)
	}
	r := stored.Schedule(row)
	return r.Of(), nil
}

// Schedules implements record.Schedules.
func (s *Store) Schedules(ctx context.Context, q record.ScheduleQuery) (*record.SchedulePage, error) {
	q.Limit = stored.Limit(q.Limit, record.MaxPage)
	before, beforeName := stored.Before(q.After)
	if !postgresql.Storable(q.Tenant, beforeName) {
		return &record.SchedulePage{}, nil
	}
	rows, err := db.New(s.reading).SchedulesOf(ctx, db.SchedulesOfParams{Tenant: q.Tenant, Before: before, BeforeName: beforeName, Most: int64(q.Limit + 1)})
	if err != nil {
		return nil, s.failed(ctx, "list schedules", err)
	}
	all := make([]stored.Schedule, 0, len(rows))
	for _, r := range rows {
		all = append(all, stored.Schedule(r))
	}
	return stored.SchedulePage(all, q.Limit), nil
}

// SaveSchedule implements record.Schedules.
func (s *Store) SaveSchedule(ctx context.Context, save *record.Schedule) error {
	r := stored.ScheduleOf(save)
	n, err := db.New(s.durable).SaveSchedule(ctx, db.SaveScheduleParams{
		Paused: r.Paused, PlannedAt: r.PlannedAt, DueAt: r.DueAt, LastAt: r.LastAt, LastExecution: r.LastExecution, LastError: r.LastError,
		Tenant: r.Tenant, Name: r.Name, CreatedAt: r.CreatedAt, Revision: r.Revision,
	})
	if err == nil && n == 0 {
		err = record.ErrConflict
	}
	if err != nil {
		return s.failed(ctx, "save schedule "+save.Name, err)
	}
	save.Revision++
	return nil
}

// DeleteSchedule implements record.Schedules.
func (s *Store) DeleteSchedule(ctx context.Context, tenant, name string) error {
	if !postgresql.Storable(tenant, name) {
		return fmt.Errorf("delete schedule %q: %w", name, record.ErrNotFound)
	}
	n, err := db.New(s.durable).DeleteSchedule(ctx, db.DeleteScheduleParams{Tenant: tenant, Name: name})
	if err == nil && n == 0 {
		err = record.ErrNotFound
	}
	return s.failed(ctx, "delete schedule "+name, err)
}

// DueSchedules implements record.Planner.
func (s *Store) DueSchedules(ctx context.Context, most int, hold time.Duration) ([]*record.Schedule, time.Time, error) {
	rows, err := db.New(s.quick).TakeSchedules(ctx, db.TakeSchedulesParams{Most: int64(stored.Limit(most, record.MaxBatch)), Hold: hold.Milliseconds()})
	if err != nil || len(rows) == 0 {
		return nil, time.Time{}, s.failed(ctx, "take schedules that are due", err)
	}
	all := make([]stored.Schedule, 0, len(rows))
	for _, r := range rows {
		all = append(all, stored.Schedule(r.Schedule))
	}
	due := stored.Schedules(all)
	slices.SortFunc(due, func(a, b *record.Schedule) int { return a.Due.Compare(b.Due) })
	return due, stored.Time(rows[0].Now), nil
}
