package sqlite

import (
	"context"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/internal/stored"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/sqlite/db"
)

// Get implements record.Lookup.
func (s *Store) Get(ctx context.Context, tenant, id string) (*record.Loaded, error) {
	var l *record.Loaded
	err := s.read(ctx, "get execution "+id, func(ctx context.Context, q *db.Queries) (err error) {
		l, err = load(ctx, q, id, s.now())
		if err == nil && l.Execution.Tenant != tenant {
			err = record.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// List implements record.Lookup.
func (s *Store) List(ctx context.Context, query record.Query) (*record.Page, error) {
	query.Limit = stored.Limit(query.Limit, record.MaxPage)
	var rows []stored.Execution
	err := s.read(ctx, "list executions", func(ctx context.Context, q *db.Queries) error {
		places, err := places(ctx, q, &query)
		if err != nil || len(places) == 0 {
			return err
		}
		var ids []string
		for _, p := range stored.Newest(places, query.Limit+1) {
			ids = append(ids, p.ID)
		}
		summaries, err := q.Summaries(ctx, ids)
		for _, r := range summaries {
			rows = append(rows, stored.Execution(r))
		}
		return err //nolint:wrapcheck // above
	})
	if err != nil {
		return nil, err
	}
	return stored.Page(rows, query.Limit), nil
}

// places are where the executions of a page are, among others.
func places(ctx context.Context, q *db.Queries, query *record.Query) (all []stored.Place, err error) {
	before, beforeID := stored.Before(query.After)
	most := int64(query.Limit + 1)
	if len(query.Labels) > 0 {
		return labelled(ctx, q, query)
	}
	for _, outcome := range stored.OutcomesOf(query.Status) {
		if query.Pipeline == nil {
			rows, err := q.ListExecutions(ctx, db.ListExecutionsParams{
				Tenant: query.Tenant, Outcome: outcome, Before: before, BeforeID: beforeID, Status: string(query.Status), Most: most,
			})
			if err != nil {
				return nil, err //nolint:wrapcheck // its caller does
			}
			for _, r := range rows {
				all = append(all, stored.Place(r))
			}
			continue
		}
		rows, err := q.ListOfPipeline(ctx, db.ListOfPipelineParams{
			Tenant: query.Tenant, Pipeline: *query.Pipeline, Outcome: outcome, Before: before, BeforeID: beforeID, Status: string(query.Status), Most: most,
		})
		if err != nil {
			return nil, err //nolint:wrapcheck // its caller does
		}
		for _, r := range rows {
			all = append(all, stored.Place(r))
		}
	}
	return all, nil
}

// labelled goes by one label, and compares the rest.
func labelled(ctx context.Context, q *db.Queries, query *record.Query) (all []stored.Place, err error) {
	before, beforeID := stored.Before(query.After)
	p := db.ListOfLabelParams{
		Tenant: query.Tenant, Label: stored.Labels(query.Labels)[0], Before: before, BeforeID: beforeID, Status: string(query.Status), Most: int64(query.Limit + 1),
	}
	if query.Pipeline != nil {
		p.OfPipeline, p.Pipeline = 1, *query.Pipeline
	}
	for len(all) <= query.Limit {
		rows, err := q.ListOfLabel(ctx, p)
		if err != nil {
			return nil, err //nolint:wrapcheck // its caller does
		}
		for _, r := range rows {
			if stored.HasLabels(r.Labels, query.Labels) {
				all = append(all, stored.Place{CreatedAt: r.CreatedAt, ID: r.ID})
			}
			p.Before, p.BeforeID = r.CreatedAt, r.ID
		}
		if int64(len(rows)) < p.Most {
			break
		}
	}
	return all, nil
}

// Events implements record.Lookup.
func (s *Store) Events(ctx context.Context, tenant, id string, after int64) ([]execution.Event, error) {
	var events []execution.Event
	err := s.read(ctx, "read the events of execution "+id, func(ctx context.Context, q *db.Queries) error {
		owner, err := q.TenantOf(ctx, id)
		if err == nil && owner != tenant {
			err = record.ErrNotFound
		}
		if err != nil {
			return err //nolint:wrapcheck // above
		}
		rows, err := q.EventsOf(ctx, db.EventsOfParams{Execution: id, After: after, Most: record.MaxPage})
		for _, r := range rows {
			row := stored.Event(r)
			events = append(events, row.Event())
		}
		return err //nolint:wrapcheck // above
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// DeadLetters implements record.Lookup.
func (s *Store) DeadLetters(ctx context.Context, query record.DeadQuery) (*record.DeadPage, error) {
	query.Limit = stored.Limit(query.Limit, record.MaxPage)
	before, beforeID := stored.Before(query.After)
	most := int64(query.Limit + 1)
	var rows []stored.DeadLetter
	err := s.read(ctx, "list dead letters", func(ctx context.Context, q *db.Queries) (err error) {
		var letters []db.DeadLetter
		switch {
		case query.Execution != "":
			letters, err = q.DeadLettersOfExecution(ctx, db.DeadLettersOfExecutionParams{
				Tenant: query.Tenant, Execution: query.Execution, Pipeline: query.Pipeline, Before: before, BeforeID: beforeID, Most: most,
			})
		case query.Pipeline != "":
			letters, err = q.DeadLettersOfPipeline(ctx, db.DeadLettersOfPipelineParams{
				Tenant: query.Tenant, Pipeline: query.Pipeline, Before: before, BeforeID: beforeID, Most: most,
			})
		default:
			letters, err = q.DeadLetters(ctx, db.DeadLettersParams{Tenant: query.Tenant, Before: before, BeforeID: beforeID, Most: most})
		}
		for _, r := range letters {
			rows = append(rows, stored.DeadLetter(r))
		}
		return err //nolint:wrapcheck // above
	})
	if err != nil {
		return nil, err
	}
	return stored.DeadPage(rows, query.Limit), nil
}

// DeadLetter implements record.Lookup.
func (s *Store) DeadLetter(ctx context.Context, tenant, id string) (*record.DeadLetter, error) {
	var row stored.DeadLetter
	err := s.read(ctx, "get dead letter "+id, func(ctx context.Context, q *db.Queries) error {
		r, err := q.DeadLetter(ctx, db.DeadLetterParams{Tenant: tenant, ID: id})
		row = stored.DeadLetter(r)
		return err //nolint:wrapcheck // above
	})
	if err != nil {
		return nil, err
	}
	return row.DeadLetter(), nil
}
