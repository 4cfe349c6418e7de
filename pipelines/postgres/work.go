package postgres

import (
	"context"
	"time"

	"github.com/modelserveai/modelserve/internal/postgresql"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/internal/stored"
	"github.com/modelserveai/modelserve/pipelines/postgres/db"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// Claim implements record.Work.
func (s *Store) Claim(ctx context.Context, most int, hold time.Duration) ([]execution.Branch, error) {
	rows, err := db.New(s.quick).Claim(ctx, db.ClaimParams{Most: int64(stored.Limit(most, record.MaxBatch)), Hold: hold.Milliseconds()})
	if err != nil {
		return nil, s.failed(ctx, "claim what is due", err)
	}
	return branches(rows), nil
}

func branches(rows []db.Due) []execution.Branch {
	due := make([]stored.Due, 0, len(rows))
	for _, r := range rows {
		due = append(due, stored.Due(r))
	}
	stored.InOrder(due)
	all := make([]execution.Branch, 0, len(due))
	for i := range due {
		all = append(all, due[i].Branch())
	}
	return all
}

// Admit implements record.Work.
func (s *Store) Admit(ctx context.Context, a record.Admission) ([]execution.Branch, error) {
	a.Most = stored.Limit(a.Most, record.MaxBatch)
	queued, err := db.New(s.quick).AnyQueued(ctx)
	if err != nil || !queued {
		return nil, s.failed(ctx, "admit executions", err)
	}
	var taken []db.Due
	err = within(ctx, s.quick, func(q *db.Queries) (err error) {
		taken, err = admit(ctx, q, a)
		return err
	})
	if err != nil {
		return nil, s.failed(ctx, "admit executions", err)
	}
	return branches(taken), nil
}

func admit(ctx context.Context, q *db.Queries, a record.Admission) ([]db.Due, error) {
	hold := a.Hold.Milliseconds()
	if err := q.Admitting(ctx); err != nil { // those that another admitted are counted, or are not there yet
		return nil, err //nolint:wrapcheck // its caller does
	}
	taken, err := q.Again(ctx, db.AgainParams{Hold: hold, Most: int64(a.Most)})
	if a.Most -= len(taken); err != nil || a.Most == 0 {
		return taken, err //nolint:wrapcheck // its caller does
	}
	queues, err := q.Queues(ctx)
	if err != nil || len(queues) == 0 {
		return taken, err //nolint:wrapcheck // its caller does
	}
	counts, err := q.Running(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // its caller does
	}
	running := make(map[stored.Pipeline]int64, len(counts))
	for _, c := range counts {
		running[stored.Pipeline{Tenant: c.Tenant, Owner: c.Owner, Name: c.Pipeline, Version: c.Version}] = c.Running
	}
	all := make([]stored.Queue, 0, len(queues))
	for _, r := range queues {
		all = append(all, stored.Queue{
			Pipeline: stored.Pipeline{Tenant: r.Tenant, Owner: r.Owner, Name: r.Pipeline, Version: r.Version}, Priority: r.Priority, Concurrency: r.Concurrency,
		})
	}
	room := stored.NewRoom(a, running)
	var params db.HeadsParams
	for _, o := range room.Open(all) {
		params.Tenants, params.Owners, params.Pipelines = append(params.Tenants, o.Tenant), append(params.Owners, o.Owner), append(params.Pipelines, o.Name)
		params.Versions, params.Priorities, params.Mosts = append(params.Versions, o.Version), append(params.Priorities, o.Priority), append(params.Mosts, o.Most)
	}
	if len(params.Tenants) == 0 {
		return taken, nil
	}
	rows, err := q.Heads(ctx, params)
	if err != nil {
		return nil, err //nolint:wrapcheck // its caller does
	}
	heads := make([]stored.Head, 0, len(rows))
	for _, r := range rows {
		heads = append(heads, stored.Head{
			Pipeline: stored.Pipeline{Tenant: r.Tenant, Owner: r.Owner, Name: r.Pipeline, Version: r.Version}, Priority: r.Priority, DueAt: r.DueAt, Execution: r.Execution,
		})
	}
	begin, err := q.Take(ctx, db.TakeParams{Ids: room.Choose(heads), Hold: hold})
	return append(taken, begin...), err //nolint:wrapcheck // its caller does
}

// Sent implements record.Work.
func (s *Store) Sent(ctx context.Context, sent []execution.Branch) ([]execution.Branch, error) {
	var p db.SentParams
	for i := range sent {
		b := &sent[i]
		p.Executions, p.Segments, p.Items = append(p.Executions, b.Execution), append(p.Segments, int64(b.Segment)), append(p.Items, int64(b.Item))
		p.Steps, p.Epochs, p.Dues = append(p.Steps, int64(b.Step)), append(p.Epochs, int64(b.Epoch)), append(p.Dues, stored.Millis(b.Due))
	}
	if len(sent) == 0 {
		return nil, nil
	}
	rows, err := db.New(s.quick).Sent(ctx, p)
	if err != nil {
		return nil, s.failed(ctx, "store what is sent", err)
	}
	stands := make(map[execution.BranchID]bool, len(rows))
	for _, r := range rows {
		stands[execution.BranchID{Execution: r.Execution, Segment: int(r.Segment), Item: int(r.Item)}] = true
	}
	return stored.Standing(sent, stands), nil
}

// Return implements record.Work.
func (s *Store) Return(ctx context.Context, taken []execution.Branch, after time.Duration) error {
	p := db.PutBackParams{After: after.Milliseconds()}
	for i := range taken {
		b := &taken[i]
		p.Executions, p.Segments, p.Items = append(p.Executions, b.Execution), append(p.Segments, int64(b.Segment)), append(p.Items, int64(b.Item))
		p.Whats, p.Epochs, p.Attempts = append(p.Whats, string(b.What)), append(p.Epochs, int64(b.Epoch)), append(p.Attempts, int64(b.Attempts))
	}
	return s.failed(ctx, "give back what was taken", db.New(s.quick).PutBack(ctx, p))
}

// Voids implements record.Work.
func (s *Store) Voids(ctx context.Context) (int64, error) {
	var n int64
	err := within(ctx, s.durable, func(q *db.Queries) (err error) {
		if n, err = q.VoidLeases(ctx); err != nil {
			return err //nolint:wrapcheck // below
		}
		return q.GiveBack(ctx) //nolint:wrapcheck // below
	})
	return n, s.failed(ctx, "void leases", err)
}

// Waiting implements record.Work.
func (s *Store) Waiting(ctx context.Context, tenant string, most int) (int, error) {
	if !postgresql.Storable(tenant) {
		return 0, nil
	}
	n, err := db.New(s.reading).Waiting(ctx, db.WaitingParams{Tenant: tenant, Most: int64(most)})
	return int(n), s.failed(ctx, "count queued executions", err)
}

// Backlog implements record.Survey.
func (s *Store) Backlog(ctx context.Context) (record.Backlog, error) {
	n, err := db.New(s.reading).Backlog(ctx)
	return record.Backlog{Queued: n.Queued, Running: n.Running, Due: n.Due, Age: time.Duration(n.Age) * time.Millisecond}, s.failed(ctx, "count what waits", err)
}
