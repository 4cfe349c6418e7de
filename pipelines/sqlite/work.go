package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/internal/stored"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/sqlite/db"
)

// now is the database's time.
func (*Store) now() int64 { return time.Now().UnixMilli() }

// Claim implements record.Work. Nothing is written where nothing is due.
func (s *Store) Claim(ctx context.Context, most int, hold time.Duration) ([]execution.Branch, error) {
	most = stored.Limit(most, record.MaxBatch)
	const what = "claim what is due"
	var due []stored.Due
	err := s.read(ctx, what, func(ctx context.Context, q *db.Queries) (err error) {
		due, err = dueNow(ctx, q, 1, s.now())
		return err
	})
	if err != nil || len(due) == 0 {
		return nil, err
	}
	err = s.write(ctx, what, quick, func(q *db.Queries, now int64) (err error) {
		if due, err = dueNow(ctx, q, most, now); err != nil {
			return err
		}
		due = stored.Turns(due, most)
		for _, d := range due {
			p := db.HoldParams{FreeAt: now + hold.Milliseconds(), Execution: d.Execution, Segment: d.Segment, Item: d.Item}
			if err := q.Hold(ctx, p); err != nil {
				return err //nolint:wrapcheck // above
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return branches(due), nil
}

// dueNow is the first of what each tenant has due, by priority.
func dueNow(ctx context.Context, q *db.Queries, most int, now int64) (due []stored.Due, err error) {
	after := db.NextWorkParams{Priority: math.MinInt64}
	for {
		next, err := q.NextWork(ctx, after)
		if errors.Is(err, sql.ErrNoRows) {
			return due, nil
		}
		if err != nil {
			return nil, err //nolint:wrapcheck // its callers do
		}
		rows, err := q.Work(ctx, db.WorkParams{Tenant: next.Tenant, Priority: next.Priority, Now: now, Most: int64(most)})
		if err != nil {
			return nil, err //nolint:wrapcheck // its callers do
		}
		for _, r := range rows {
			due = append(due, stored.Due(r))
		}
		after = db.NextWorkParams(next)
	}
}

func branches(due []stored.Due) []execution.Branch {
	stored.InOrder(due)
	all := make([]execution.Branch, 0, len(due))
	for i := range due {
		all = append(all, due[i].Branch())
	}
	return all
}

// Admit implements record.Work. Nothing is written where nothing is queued.
func (s *Store) Admit(ctx context.Context, a record.Admission) ([]execution.Branch, error) {
	a.Most = stored.Limit(a.Most, record.MaxBatch)
	const what = "admit executions"
	var taken []stored.Due
	err := s.read(ctx, what, func(ctx context.Context, q *db.Queries) (err error) {
		taken, err = mayBegin(ctx, q, a, s.now())
		return err
	})
	if err != nil || len(taken) == 0 {
		return nil, err
	}
	err = s.write(ctx, what, quick, func(q *db.Queries, now int64) (err error) {
		if taken, err = mayBegin(ctx, q, a, now); err != nil {
			return err
		}
		for _, d := range taken {
			if err := q.Take(ctx, db.TakeParams{FreeAt: now + a.Hold.Milliseconds(), Execution: d.Execution}); err != nil {
				return err //nolint:wrapcheck // above
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return branches(taken), nil
}

// mayBegin are the executions that may begin, and those that were admitted and have not
// begun in time.
func mayBegin(ctx context.Context, q *db.Queries, a record.Admission, now int64) ([]stored.Due, error) {
	again, err := q.Again(ctx, db.AgainParams{Now: now, Most: int64(a.Most)})
	if err != nil {
		return nil, err //nolint:wrapcheck // its callers do
	}
	taken := make([]stored.Due, 0, a.Most)
	for _, r := range again {
		taken = append(taken, stored.Due(r))
	}
	if a.Most -= len(taken); a.Most == 0 {
		return taken, nil
	}
	queues, err := queues(ctx, q)
	if err != nil || len(queues) == 0 {
		return taken, err
	}
	counts, err := q.Running(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // its callers do
	}
	running := make(map[stored.Pipeline]int64, len(counts))
	for _, c := range counts {
		running[stored.Pipeline{Tenant: c.Tenant, Owner: c.Owner, Name: c.Pipeline, Version: c.Version}] = c.Running
	}
	room := stored.NewRoom(a, running)
	var heads []stored.Head
	rows := map[string]stored.Due{}
	for _, o := range room.Open(queues) {
		first, err := q.Heads(ctx, db.HeadsParams{
			Tenant: o.Tenant, Owner: o.Owner, Pipeline: o.Name, Version: o.Version, Priority: o.Priority, Now: now, Most: o.Most,
		})
		if err != nil {
			return nil, err //nolint:wrapcheck // its callers do
		}
		for _, r := range first {
			rows[r.Execution] = stored.Due(r)
			heads = append(heads, stored.Head{Pipeline: o.Pipeline, Priority: o.Priority, DueAt: r.DueAt, Execution: r.Execution})
		}
	}
	for _, id := range room.Choose(heads) {
		taken = append(taken, rows[id])
	}
	return taken, nil
}

func queues(ctx context.Context, q *db.Queries) (all []stored.Queue, err error) {
	after := db.NextQueueParams{Version: math.MinInt64, Priority: math.MinInt64}
	for {
		r, err := q.NextQueue(ctx, after)
		if errors.Is(err, sql.ErrNoRows) {
			return all, nil
		}
		if err != nil {
			return nil, err //nolint:wrapcheck // its callers do
		}
		all = append(all, stored.Queue{
			Pipeline: stored.Pipeline{Tenant: r.Tenant, Owner: r.Owner, Name: r.Pipeline, Version: r.Version}, Priority: r.Priority, Concurrency: r.Concurrency,
		})
		after = db.NextQueueParams{Tenant: r.Tenant, Owner: r.Owner, Pipeline: r.Pipeline, Version: r.Version, Priority: r.Priority}
	}
}

// Sent implements record.Work.
func (s *Store) Sent(ctx context.Context, sent []execution.Branch) ([]execution.Branch, error) {
	if len(sent) == 0 {
		return nil, nil
	}
	stands := make(map[execution.BranchID]bool, len(sent))
	err := s.write(ctx, "store what is sent", quick, func(q *db.Queries, _ int64) error {
		for i := range sent {
			b := &sent[i]
			n, err := q.Sent(ctx, db.SentParams{
				Step: int64(b.Step), Epoch: int64(b.Epoch), DueAt: stored.Millis(b.Due), Execution: b.Execution, Segment: int64(b.Segment), Item: int64(b.Item),
			})
			if err != nil {
				return err //nolint:wrapcheck // above
			}
			stands[b.BranchID] = n > 0
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return stored.Standing(sent, stands), nil
}

// Return implements record.Work.
func (s *Store) Return(ctx context.Context, taken []execution.Branch, after time.Duration) error {
	return s.write(ctx, "give back what was taken", quick, func(q *db.Queries, now int64) error {
		for i := range taken {
			b := &taken[i]
			err := q.PutBack(ctx, db.PutBackParams{
				Attempts: int64(b.Attempts), At: now + after.Milliseconds(), Later: after.Milliseconds(), Execution: b.Execution,
				Segment: int64(b.Segment), Item: int64(b.Item), What: string(b.What), Epoch: int64(b.Epoch),
			})
			if err != nil {
				return err //nolint:wrapcheck // above
			}
		}
		return nil
	})
}

// Voids implements record.Work.
func (s *Store) Voids(ctx context.Context) (n int64, err error) {
	err = s.write(ctx, "void leases", durable, func(q *db.Queries, now int64) (err error) {
		if n, err = q.VoidLeases(ctx, now); err != nil {
			return err //nolint:wrapcheck // above
		}
		return q.GiveBack(ctx) //nolint:wrapcheck // above
	})
	return n, err
}

// Waiting implements record.Work.
func (s *Store) Waiting(ctx context.Context, tenant string, most int) (n int, err error) {
	err = s.read(ctx, "count queued executions", func(ctx context.Context, q *db.Queries) error {
		count, err := q.Waiting(ctx, db.WaitingParams{Tenant: tenant, Most: int64(most)})
		n = int(count)
		return err //nolint:wrapcheck // above
	})
	return n, err
}

// Backlog implements record.Survey.
func (s *Store) Backlog(ctx context.Context) (record.Backlog, error) {
	var n db.BacklogRow
	err := s.read(ctx, "count what waits", func(ctx context.Context, q *db.Queries) (err error) {
		n, err = q.Backlog(ctx, s.now())
		return err //nolint:wrapcheck // read does
	})
	return record.Backlog{Queued: n.Queued, Running: n.Running, Due: n.Due, Age: time.Duration(n.Age) * time.Millisecond}, err
}
