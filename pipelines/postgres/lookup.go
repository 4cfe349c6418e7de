package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/internal/postgresql"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/internal/stored"
	"github.com/modelserveai/modelserve/pipelines/postgres/db"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// Get implements record.Lookup.
func (s *Store) Get(ctx context.Context, tenant, id string) (*record.Loaded, error) {
	l, err := s.load(ctx, id)
	if err == nil && l.Execution.Tenant != tenant {
		err = record.ErrNotFound
	}
	if err != nil {
		return nil, s.failed(ctx, "get execution "+id, err)
	}
	return l, nil
}

// List implements record.Lookup.
func (s *Store) List(ctx context.Context, q record.Query) (*record.Page, error) {
	const what = "list executions"
	q.Limit = stored.Limit(q.Limit, record.MaxPage)
	ids, err := s.places(ctx, &q)
	if err != nil || len(ids) == 0 {
		return &record.Page{}, s.failed(ctx, what, err)
	}
	summaries, err := db.New(s.reading).Summaries(ctx, ids)
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	rows := make([]stored.Execution, 0, len(summaries))
	for _, r := range summaries {
		rows = append(rows, stored.Execution(r))
	}
	return stored.Page(rows, q.Limit), nil
}

// places are the ids of a page, and one more.
func (s *Store) places(ctx context.Context, q *record.Query) (ids []string, err error) {
	before, beforeID := stored.Before(q.After)
	labels := stored.Labels(q.Labels)
	if !postgresql.Storable(append(labels, q.Tenant, beforeID, string(q.Status))...) {
		return nil, nil
	}
	queries, most := db.New(s.reading), int64(q.Limit+1)
	switch {
	case len(labels) > 0:
		p := db.ListOfLabelsParams{
			Tenant: q.Tenant, Label: labels[0], Others: append([]string{}, labels[1:]...), Before: before, BeforeID: beforeID, Status: string(q.Status), Most: most,
		}
		if q.Pipeline != nil {
			p.OfPipeline, p.Pipeline = true, *q.Pipeline
		}
		rows, err := queries.ListOfLabels(ctx, p)
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		return ids, err //nolint:wrapcheck // its caller does
	case q.Pipeline != nil:
		rows, err := queries.ListOfPipeline(ctx, db.ListOfPipelineParams{
			Tenant: q.Tenant, Pipeline: *q.Pipeline, Outcomes: stored.OutcomesOf(q.Status), Before: before, BeforeID: beforeID, Status: string(q.Status), Most: most,
		})
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		return ids, err //nolint:wrapcheck // its caller does
	}
	rows, err := queries.ListExecutions(ctx, db.ListExecutionsParams{
		Tenant: q.Tenant, Outcomes: stored.OutcomesOf(q.Status), Before: before, BeforeID: beforeID, Status: string(q.Status), Most: most,
	})
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids, err //nolint:wrapcheck // its caller does
}

// Events implements record.Lookup.
func (s *Store) Events(ctx context.Context, tenant, id string, after int64) ([]execution.Event, error) {
	what := "read the events of execution " + id
	if !postgresql.Storable(tenant, id) {
		return nil, fmt.Errorf("%s: %w", what, record.ErrNotFound)
	}
	q := db.New(s.reading)
	owner, err := q.TenantOf(ctx, id)
	if err == nil && owner != tenant {
		err = record.ErrNotFound
	}
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	rows, err := q.EventsOf(ctx, db.EventsOfParams{Execution: id, After: after, Most: record.MaxPage})
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	events := make([]execution.Event, 0, len(rows))
	for _, r := range rows {
		row := stored.Event(r)
		events = append(events, row.Event())
	}
	return events, nil
}

// DeadLetters implements record.Lookup.
func (s *Store) DeadLetters(ctx context.Context, q record.DeadQuery) (*record.DeadPage, error) {
	const what = "list dead letters"
	q.Limit = stored.Limit(q.Limit, record.MaxPage)
	before, beforeID := stored.Before(q.After)
	if !postgresql.Storable(q.Tenant, q.Pipeline, q.Execution, beforeID) {
		return &record.DeadPage{}, nil
	}
	var letters []db.DeadLetter
	var err error
	queries, most := db.New(s.reading), int64(q.Limit+1)
	switch {
	case q.Execution != "":
		letters, err = queries.DeadLettersOfExecution(ctx, db.DeadLettersOfExecutionParams{
			Tenant: q.Tenant, Execution: q.Execution, Pipeline: q.Pipeline, Before: before, BeforeID: beforeID, Most: most,
		})
	case q.Pipeline != "":
		letters, err = queries.DeadLettersOfPipeline(ctx, db.DeadLettersOfPipelineParams{
			Tenant: q.Tenant, Pipeline: q.Pipeline, Before: before, BeforeID: beforeID, Most: most,
		})
	default:
		letters, err = queries.DeadLetters(ctx, db.DeadLettersParams{Tenant: q.Tenant, Before: before, BeforeID: beforeID, Most: most})
	}
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	rows := make([]stored.DeadLetter, 0, len(letters))
	for _, r := range letters {
		rows = append(rows, stored.DeadLetter(r))
	}
	return stored.DeadPage(rows, q.Limit), nil
}

// DeadLetter implements record.Lookup.
func (s *Store) DeadLetter(ctx context.Context, tenant, id string) (*record.DeadLetter, error) {
	what := "get dead letter " + id
	if !postgresql.Storable(tenant, id) {
		return nil, fmt.Errorf("%s: %w", what, record.ErrNotFound)
	}
	r, err := db.New(s.reading).DeadLetter(ctx, db.DeadLetterParams{Tenant: tenant, ID: id})
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	row := stored.DeadLetter(r)
	return row.DeadLetter(), nil
}

// Expired implements record.Retention.
func (s *Store) Expired(ctx context.Context, most int) ([]record.Ended, error) {
	rows, err := db.New(s.reading).Expired(ctx, int64(stored.Limit(most, record.MaxBatch)))
	if err != nil {
		return nil, s.failed(ctx, "find expired executions", err)
	}
	ended := make([]record.Ended, 0, len(rows))
	for _, r := range rows {
		ended = append(ended, record.Ended{Tenant: r.Tenant, ID: r.ID})
	}
	return ended, nil
}

// Keep implements record.Retention.
func (s *Store) Keep(ctx context.Context, ids []string, after time.Duration) error {
	err := db.New(s.quick).Keep(ctx, db.KeepParams{Ids: ids[:min(len(ids), record.MaxBatch)], After: after.Milliseconds()})
	return s.failed(ctx, "keep executions", err)
}

// Forget implements record.Retention.
func (s *Store) Forget(ctx context.Context, ids []string) (int64, error) {
	n, err := db.New(s.quick).Forget(ctx, ids[:min(len(ids), record.MaxBatch)])
	return n, s.failed(ctx, "forget executions", err)
}

// Trim implements record.Retention.
func (s *Store) Trim(ctx context.Context, most int) (int64, error) {
	n, err := db.New(s.quick).TrimKeys(ctx, int64(stored.Limit(most, record.MaxBatch)))
	return n, s.failed(ctx, "trim idempotency keys", err)
}
