package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/internal/stored"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/sqlite/db"
)

// Accept implements record.Executions.
func (s *Store) Accept(ctx context.Context, a *record.Acceptance) (*record.Accepted, error) {
	row, err := stored.ExecutionRow(a)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	rows, err := stored.ChangeOf(a.Execution, &a.Change)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	var existing *record.Loaded
	err = s.write(ctx, "accept execution "+row.ID, durable, func(q *db.Queries, now int64) error {
		if a.Key != nil {
			if existing, err = keyed(ctx, q, a, &row, now); err != nil || existing != nil {
				return err
			}
		}
		row.CreatedAt, row.RunAt = now, max(now, row.RunAt)
		return accept(ctx, q, a, &row, rows)
	})
	switch {
	case err != nil:
		return nil, err
	case existing != nil:
		return &record.Accepted{Loaded: existing, Existing: true}, nil
	}
	x := a.Execution
	x.Created, x.RunAt, x.Revision = stored.Time(row.CreatedAt), stored.Time(row.RunAt), row.Revision
	start := execution.Branch{BranchID: execution.Whole(x.ID), What: execution.Start, Due: x.RunAt, Priority: x.Priority}
	return &record.Accepted{Loaded: &record.Loaded{Execution: x, Branches: []execution.Branch{start}, Owner: a.Owner, Now: x.Created}}, nil
}

// keyed takes the idempotency key, or returns the execution that it is of already.
func keyed(ctx context.Context, q *db.Queries, a *record.Acceptance, row *stored.Execution, now int64) (*record.Loaded, error) {
	existing, err := started(ctx, q, row.Tenant, row.Pipeline, a.Key, now)
	if !errors.Is(err, sql.ErrNoRows) {
		return existing, err
	}
	key, body := stored.Key(a.Key)
	return nil, q.PutKey(ctx, db.PutKeyParams{ //nolint:wrapcheck // its caller does
		Tenant: row.Tenant, Pipeline: row.Pipeline, Key: key, Body: body, Execution: row.ID, ExpiresAt: now + record.KeyLifetime.Milliseconds(),
	})
}

// started is the execution that a key is of, or sql.ErrNoRows.
func started(ctx context.Context, q *db.Queries, tenant, pipeline string, k *record.Key, now int64) (*record.Loaded, error) {
	key, body := stored.Key(k)
	known, err := q.KeyOf(ctx, db.KeyOfParams{Tenant: tenant, Pipeline: pipeline, Key: key})
	switch {
	case err != nil:
		return nil, err //nolint:wrapcheck // its callers do
	case known.ExpiresAt <= now:
		return nil, sql.ErrNoRows
	case known.Body != body:
		return nil, record.ErrOtherBody
	}
	return load(ctx, q, known.Execution, now)
}

// Started implements record.Executions.
func (s *Store) Started(ctx context.Context, tenant, pipeline string, key *record.Key) (l *record.Loaded, err error) {
	err = s.read(ctx, "look an idempotency key up", func(ctx context.Context, q *db.Queries) (err error) {
		l, err = started(ctx, q, tenant, pipeline, key, s.now())
		return err
	})
	return l, err
}

func accept(ctx context.Context, q *db.Queries, a *record.Acceptance, row *stored.Execution, rows *stored.Change) error {
	if a.Replays != "" {
		n, err := q.NoteReplay(ctx, db.NoteReplayParams{ReplayedBy: row.ID, ID: a.Replays, Tenant: row.Tenant})
		if err == nil && n == 0 {
			err = record.ErrNotFound
		}
		if err != nil {
			return err //nolint:wrapcheck // its caller does
		}
	}
	if err := q.AddExecution(ctx, db.AddExecutionParams(*row)); err != nil {
		return err //nolint:wrapcheck // its caller does
	}
	err := q.PutDue(ctx, db.PutDueParams{
		Execution: row.ID, Segment: -1, Tenant: row.Tenant, Owner: row.Owner, Pipeline: row.Pipeline, Version: row.Version,
		Concurrency: int64(a.Concurrency), What: string(execution.Start), DueAt: row.RunAt, FreeAt: row.RunAt, Priority: row.Priority,
	})
	if err != nil {
		return err //nolint:wrapcheck // its caller does
	}
	for _, label := range stored.Labels(a.Execution.Labels) {
		if err := q.AddLabel(ctx, db.AddLabelParams{Tenant: row.Tenant, Label: label, CreatedAt: row.CreatedAt, Execution: row.ID}); err != nil {
			return err //nolint:wrapcheck // its caller does
		}
	}
	for i := range rows.Events {
		rows.Events[i].At = row.CreatedAt
	}
	return happened(ctx, q, rows)
}

// happened stores what comes with a row.
func happened(ctx context.Context, q *db.Queries, c *stored.Change) error {
	for _, o := range c.Outputs {
		if err := q.AddOutput(ctx, db.AddOutputParams(o)); err != nil {
			return err //nolint:wrapcheck // its caller does
		}
	}
	for _, e := range c.Events {
		if err := q.AddEvent(ctx, db.AddEventParams(e)); err != nil {
			return err //nolint:wrapcheck // its caller does
		}
	}
	for _, l := range c.Late {
		if err := q.AddLate(ctx, db.AddLateParams(l)); err != nil {
			return err //nolint:wrapcheck // its caller does
		}
	}
	if c.Dead != nil {
		return q.AddDeadLetter(ctx, db.AddDeadLetterParams(*c.Dead)) //nolint:wrapcheck // its caller does
	}
	return nil
}

// Load implements record.Executions.
func (s *Store) Load(ctx context.Context, id string) (l *record.Loaded, err error) {
	err = s.read(ctx, "load execution "+id, func(ctx context.Context, q *db.Queries) (err error) {
		l, err = load(ctx, q, id, s.now())
		return err
	})
	return l, err
}

func load(ctx context.Context, q *db.Queries, id string, now int64) (*record.Loaded, error) {
	row, err := q.GetExecution(ctx, id)
	if err != nil {
		return nil, err //nolint:wrapcheck // its callers do
	}
	x := stored.Execution(row)
	rows, err := q.BranchesOf(ctx, id)
	if err != nil {
		return nil, err //nolint:wrapcheck // its callers do
	}
	due := make([]stored.Due, 0, len(rows))
	for _, r := range rows {
		due = append(due, stored.Due(r))
	}
	l := x.Loaded(due, now)
	if l.Execution.Damage != nil { // how many events it has had is in what cannot be read
		if l.Execution.Events, err = q.LastEvent(ctx, id); err != nil {
			return nil, err //nolint:wrapcheck // its callers do
		}
	}
	return l, nil
}

// Values implements record.Executions.
func (s *Store) Values(ctx context.Context, id string, steps []string) (values []execution.StepValue, err error) {
	if len(steps) == 0 {
		return nil, nil
	}
	err = s.read(ctx, "read the outputs of execution "+id, func(ctx context.Context, q *db.Queries) error {
		rows, err := q.OutputsOf(ctx, db.OutputsOfParams{Execution: id, Steps: steps})
		for _, r := range rows {
			row := stored.Output(r)
			v, err := row.StepValue()
			if err != nil {
				return err //nolint:wrapcheck // it says all
			}
			values = append(values, v)
		}
		return err //nolint:wrapcheck // above
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

// Save implements record.Executions.
func (s *Store) Save(ctx context.Context, x *execution.Execution, change *execution.Change) error {
	rows, err := stored.ChangeOf(x, change)
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	err = s.write(ctx, "save execution "+x.ID, !rows.Durable, func(q *db.Queries, now int64) error {
		row := &rows.Row
		n, err := q.SaveExecution(ctx, db.SaveExecutionParams{
			ID: row.ID, Revision: row.Revision, Next: rows.Next, Status: row.Status, Outcome: row.Outcome, StartedAt: row.StartedAt, FinishedAt: row.FinishedAt,
			Deadline: row.Deadline, Now: now, Error: row.Error, State: row.State, Output: row.Output, OutputClaim: row.OutputClaim,
		})
		if err != nil {
			return err //nolint:wrapcheck // above
		}
		if n == 0 {
			if _, err := q.TenantOf(ctx, row.ID); err != nil {
				return err //nolint:wrapcheck // above
			}
			return record.ErrConflict
		}
		if err := work(ctx, q, rows); err != nil {
			return err
		}
		return happened(ctx, q, rows)
	})
	if err != nil {
		return err
	}
	x.Revision = rows.Next
	return nil
}

// work stores what is due.
func work(ctx context.Context, q *db.Queries, c *stored.Change) error {
	if c.Row.Outcome != "" {
		return q.RemoveAllDue(ctx, c.Row.ID) //nolint:wrapcheck // its caller does
	}
	for _, b := range c.Removed {
		if err := q.RemoveDue(ctx, db.RemoveDueParams{Execution: c.Row.ID, Segment: int64(b.Segment), Item: int64(b.Item)}); err != nil {
			return err //nolint:wrapcheck // its caller does
		}
	}
	for _, d := range c.Due {
		if err := q.PutDue(ctx, db.PutDueParams(d)); err != nil {
			return err //nolint:wrapcheck // its caller does
		}
	}
	return nil
}

// Delete implements record.Executions.
func (s *Store) Delete(ctx context.Context, tenant, id string) error {
	return s.write(ctx, "delete execution "+id, durable, func(q *db.Queries, _ int64) error {
		row, err := q.GetExecution(ctx, id)
		x := stored.Execution(row)
		switch {
		case err != nil:
			return err //nolint:wrapcheck // above
		case x.Tenant != tenant:
			return record.ErrNotFound
		case x.Outcome == "":
			return record.ErrInUse
		case x.Erased:
			return nil
		}
		state, problem, err := x.Stub()
		if err != nil {
			return err //nolint:wrapcheck // it says all
		}
		if err := q.Erase(ctx, db.EraseParams{ID: id, State: state, Error: problem}); err != nil {
			return err //nolint:wrapcheck // above
		}
		if err := q.RemoveOutputs(ctx, id); err != nil {
			return err //nolint:wrapcheck // above
		}
		return q.EraseDeadLetters(ctx, db.EraseDeadLettersParams{Error: stored.ErasedError(), Execution: id}) //nolint:wrapcheck // above
	})
}

// Expired implements record.Retention.
func (s *Store) Expired(ctx context.Context, most int) (ended []record.Ended, err error) {
	err = s.read(ctx, "find expired executions", func(ctx context.Context, q *db.Queries) error {
		rows, err := q.Expired(ctx, db.ExpiredParams{Now: s.now(), Most: int64(stored.Limit(most, record.MaxBatch))})
		for _, r := range rows {
			ended = append(ended, record.Ended{Tenant: r.Tenant, ID: r.ID})
		}
		return err //nolint:wrapcheck // above
	})
	return ended, err
}

// Keep implements record.Retention.
func (s *Store) Keep(ctx context.Context, ids []string, after time.Duration) error {
	return s.write(ctx, "keep executions", quick, func(q *db.Queries, now int64) error {
		for _, id := range ids[:min(len(ids), record.MaxBatch)] {
			if err := q.Keep(ctx, db.KeepParams{ExpiresAt: now + after.Milliseconds(), ID: id}); err != nil {
				return err //nolint:wrapcheck // above
			}
		}
		return nil
	})
}

// Forget implements record.Retention.
func (s *Store) Forget(ctx context.Context, ids []string) (n int64, err error) {
	err = s.write(ctx, "forget executions", quick, func(q *db.Queries, _ int64) error {
		n = 0
		for _, id := range ids[:min(len(ids), record.MaxBatch)] {
			was, err := q.ForgetExecution(ctx, id)
			if err != nil {
				return err //nolint:wrapcheck // above
			}
			if was == 0 {
				continue
			}
			n++
			for _, forget := range []func(context.Context, string) error{
				q.RemoveOutputs, q.ForgetEvents, q.ForgetLate, q.ForgetDeadLetters, q.ForgetLabels, q.ForgetKeys,
			} {
				if err := forget(ctx, id); err != nil {
					return fmt.Errorf("%s: %w", id, err)
				}
			}
		}
		return nil
	})
	return n, err
}

// Trim implements record.Retention.
func (s *Store) Trim(ctx context.Context, most int) (n int64, err error) {
	err = s.write(ctx, "trim idempotency keys", quick, func(q *db.Queries, now int64) (err error) {
		n, err = q.TrimKeys(ctx, db.TrimKeysParams{Now: now, Most: int64(stored.Limit(most, record.MaxBatch))})
		return err //nolint:wrapcheck // above
	})
	return n, err
}
