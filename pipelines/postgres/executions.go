package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/modelserveai/modelserve/internal/postgresql"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/internal/stored"
	"github.com/modelserveai/modelserve/pipelines/postgres/db"
	"github.com/modelserveai/modelserve/pipelines/record"
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
	what := "accept execution " + row.ID
	params := acceptParams(a, &row, rows)
	if isPlain(a, rows) {
		var accepted db.AcceptPlainRow
		if accepted, err = db.New(s.durable).AcceptPlain(ctx, plainParams(params)); err == nil {
			row.CreatedAt, row.RunAt = accepted.CreatedAt, accepted.RunAt
		}
	} else {
		var accepted db.AcceptRow
		if accepted, err = db.New(s.durable).Accept(ctx, *params); err == nil {
			row.CreatedAt, row.RunAt = accepted.CreatedAt, accepted.RunAt
		}
	}
	switch {
	case err == nil:
		x := a.Execution
		x.Created, x.RunAt, x.Revision = stored.Time(row.CreatedAt), stored.Time(row.RunAt), row.Revision
		start := execution.Branch{BranchID: execution.Whole(x.ID), What: execution.Start, Due: x.RunAt, Priority: x.Priority}
		return &record.Accepted{Loaded: &record.Loaded{Execution: x, Branches: []execution.Branch{start}, Owner: a.Owner, Now: x.Created}}, nil
	case errors.Is(err, pgx.ErrNoRows) && a.Key != nil:
		return s.existing(ctx, what, params)
	}
	return nil, s.failed(ctx, what, err)
}

func acceptParams(a *record.Acceptance, row *stored.Execution, rows *stored.Change) *db.AcceptParams {
	params := &db.AcceptParams{
		ID: row.ID, Tenant: row.Tenant, Owner: row.Owner, Pipeline: row.Pipeline, Version: row.Version, Digest: row.Digest, Status: row.Status,
		Priority: row.Priority, RunAt: row.RunAt, Retention: row.Retention, ReplayOf: row.ReplayOf, FromStep: row.FromStep,
		Traceparent: row.Traceparent, Labels: row.Labels, State: row.State, Input: row.Input, InputClaim: row.InputClaim, Event: row.Event,
		Headers: row.Headers, Concurrency: int64(a.Concurrency), LabelList: stored.Labels(a.Execution.Labels),
		KeyLifetime: record.KeyLifetime.Milliseconds(), Replays: a.Replays,
	}
	outputs(rows.Outputs, &params.ValueSteps, &params.ValueItems, &params.ValueEpochs, &params.ValueValues, &params.ValueClaims, &params.ValueRecords)
	for _, e := range rows.Events {
		params.EventNumbers, params.EventTypes = append(params.EventNumbers, e.Number), append(params.EventTypes, e.Type)
		params.EventSteps, params.EventStatuses = append(params.EventSteps, e.Step), append(params.EventStatuses, e.Status)
	}
	if a.Key != nil {
		params.Key, params.Body = stored.Key(a.Key)
	}
	return params
}

// isPlain reports whether AcceptPlain stores all of it.
func isPlain(a *record.Acceptance, rows *stored.Change) bool {
	return a.Key == nil && a.Replays == "" && len(a.Execution.Labels) == 0 && len(rows.Outputs) == 0 && len(rows.Events) == 1
}

func plainParams(p *db.AcceptParams) db.AcceptPlainParams {
	return db.AcceptPlainParams{
		ID: p.ID, Tenant: p.Tenant, Owner: p.Owner, Pipeline: p.Pipeline, Version: p.Version, Digest: p.Digest, Status: p.Status,
		Priority: p.Priority, RunAt: p.RunAt, Retention: p.Retention, ReplayOf: p.ReplayOf, FromStep: p.FromStep,
		Traceparent: p.Traceparent, State: p.State, Input: p.Input, InputClaim: p.InputClaim, Event: p.Event, Headers: p.Headers, Concurrency: p.Concurrency,
		EventNumber: p.EventNumbers[0], EventType: p.EventTypes[0], EventStep: p.EventSteps[0], EventStatus: p.EventStatuses[0],
	}
}

// existing is the execution that an idempotency key is of already.
func (s *Store) existing(ctx context.Context, what string, params *db.AcceptParams) (*record.Accepted, error) {
	l, err := s.started(ctx, s.durable, db.KeyOfParams{Tenant: params.Tenant, Pipeline: params.Pipeline, Key: params.Key}, params.Body)
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	return &record.Accepted{Loaded: l, Existing: true}, nil
}

func (s *Store) started(ctx context.Context, on db.DBTX, key db.KeyOfParams, body string) (*record.Loaded, error) {
	known, err := db.New(on).KeyOf(ctx, key)
	switch {
	case err != nil:
		return nil, err //nolint:wrapcheck // its callers do
	case known.Body != body:
		return nil, record.ErrOtherBody
	}
	return s.load(ctx, known.Execution)
}

// Started implements record.Executions.
func (s *Store) Started(ctx context.Context, tenant, pipeline string, k *record.Key) (*record.Loaded, error) {
	if !postgresql.Storable(tenant) || !postgresql.Storable(pipeline) {
		return nil, record.ErrNotFound
	}
	key, body := stored.Key(k)
	l, err := s.started(ctx, s.reading, db.KeyOfParams{Tenant: tenant, Pipeline: pipeline, Key: key}, body)
	return l, s.failed(ctx, "look an idempotency key up", err)
}

// Load implements record.Executions.
func (s *Store) Load(ctx context.Context, id string) (*record.Loaded, error) {
	l, err := s.load(ctx, id)
	return l, s.failed(ctx, "load execution "+id, err)
}

// load reads the row before what is due of it: where that has moved meanwhile, so has
// the row's revision.
func (s *Store) load(ctx context.Context, id string) (*record.Loaded, error) {
	if !postgresql.Storable(id) {
		return nil, record.ErrNotFound
	}
	q := db.New(s.reading)
	row, err := q.GetExecution(ctx, id)
	if err != nil {
		return nil, err //nolint:wrapcheck // its callers do
	}
	x := stored.Execution(row.Execution)
	var due []stored.Due
	if x.Outcome == "" {
		rows, err := q.BranchesOf(ctx, id)
		if err != nil {
			return nil, err //nolint:wrapcheck // its callers do
		}
		for _, r := range rows {
			due = append(due, stored.Due(r))
		}
	}
	l := x.Loaded(due, row.Now)
	if l.Execution.Damage != nil { // how many events it has had is in what cannot be read
		if l.Execution.Events, err = q.LastEvent(ctx, id); err != nil {
			return nil, err //nolint:wrapcheck // its callers do
		}
	}
	return l, nil
}

// Values implements record.Executions.
func (s *Store) Values(ctx context.Context, id string, steps []string) ([]execution.StepValue, error) {
	what := "read the outputs of execution " + id
	if len(steps) == 0 || !postgresql.Storable(append(steps, id)...) {
		return nil, nil
	}
	rows, err := db.New(s.reading).OutputsOf(ctx, db.OutputsOfParams{Execution: id, Steps: steps})
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	values := make([]execution.StepValue, 0, len(rows))
	for _, r := range rows {
		row := stored.Output(r)
		v, err := row.StepValue()
		if err != nil {
			return nil, err //nolint:wrapcheck // it says all
		}
		values = append(values, v)
	}
	return values, nil
}

// Save implements record.Executions.
func (s *Store) Save(ctx context.Context, x *execution.Execution, change *execution.Change) error {
	rows, err := stored.ChangeOf(x, change)
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	pool := s.quick
	if rows.Durable {
		pool = s.durable
	}
	n, err := save(ctx, db.New(pool), saveParams(rows))
	if err == nil && n == 0 {
		err = s.notSaved(ctx, x.ID)
	}
	if err != nil {
		return s.failed(ctx, "save execution "+x.ID, err)
	}
	x.Revision = rows.Next
	return nil
}

// save stores a change by the statement that can store all of it, and no more: most
// changes begin a segment or end the execution, and what a statement could write costs
// the database nearly as much as what it writes.
func save(ctx context.Context, q *db.Queries, p *db.SaveParams) (int64, error) {
	switch {
	case p.DeadID != "" || len(p.LateSegments) > 0:
	case p.Outcome != "":
		return q.SaveEnd(ctx, db.SaveEndParams{ //nolint:wrapcheck // its caller does
			ID: p.ID, Revision: p.Revision, Next: p.Next, Status: p.Status, Outcome: p.Outcome, StartedAt: p.StartedAt, FinishedAt: p.FinishedAt,
			Deadline: p.Deadline, Error: p.Error, State: p.State, Output: p.Output, OutputClaim: p.OutputClaim,
			ValueSteps: p.ValueSteps, ValueItems: p.ValueItems, ValueEpochs: p.ValueEpochs, ValueValues: p.ValueValues, ValueClaims: p.ValueClaims,
			ValueRecords: p.ValueRecords, EventNumbers: p.EventNumbers, EventTypes: p.EventTypes, EventSteps: p.EventSteps,
			EventStatuses: p.EventStatuses, EventAts: p.EventAts,
		})
	case len(p.ValueSteps) == 0 && len(p.RemovedSegments) == 0 && len(p.Output) == 0 && p.OutputClaim == "":
		return q.SaveDue(ctx, db.SaveDueParams{ //nolint:wrapcheck // its caller does
			ID: p.ID, Revision: p.Revision, Next: p.Next, Status: p.Status, StartedAt: p.StartedAt, FinishedAt: p.FinishedAt, Deadline: p.Deadline,
			Error: p.Error, State: p.State, Segments: p.Segments, Items: p.Items, Stages: p.Stages, Steps: p.Steps, Epochs: p.Epochs,
			Attempts: p.Attempts, Breaks: p.Breaks, Whats: p.Whats, Dues: p.Dues, Priorities: p.Priorities,
			EventNumbers: p.EventNumbers, EventTypes: p.EventTypes, EventSteps: p.EventSteps, EventStatuses: p.EventStatuses, EventAts: p.EventAts,
		})
	}
	return q.Save(ctx, *p) //nolint:wrapcheck // its caller does
}

// notSaved is why no row was of the revision.
func (s *Store) notSaved(ctx context.Context, id string) error {
	if _, err := db.New(s.reading).TenantOf(ctx, id); err != nil {
		return err //nolint:wrapcheck // its caller does
	}
	return record.ErrConflict
}

func saveParams(c *stored.Change) *db.SaveParams {
	p := &db.SaveParams{
		ID: c.Row.ID, Revision: c.Row.Revision, Next: c.Next, Status: c.Row.Status, Outcome: c.Row.Outcome, StartedAt: c.Row.StartedAt, FinishedAt: c.Row.FinishedAt,
		Deadline: c.Row.Deadline, Error: c.Row.Error, State: c.Row.State, Output: c.Row.Output, OutputClaim: c.Row.OutputClaim,
	}
	for _, d := range c.Due {
		p.Segments, p.Items, p.Stages, p.Steps = append(p.Segments, d.Segment), append(p.Items, d.Item), append(p.Stages, d.Stage), append(p.Steps, d.Step)
		p.Epochs, p.Attempts, p.Breaks = append(p.Epochs, d.Epoch), append(p.Attempts, d.Attempts), append(p.Breaks, d.Breaks)
		p.Whats, p.Dues, p.Priorities = append(p.Whats, d.What), append(p.Dues, d.DueAt), append(p.Priorities, d.Priority)
	}
	for _, b := range c.Removed {
		p.RemovedSegments, p.RemovedItems = append(p.RemovedSegments, int64(b.Segment)), append(p.RemovedItems, int64(b.Item))
	}
	outputs(c.Outputs, &p.ValueSteps, &p.ValueItems, &p.ValueEpochs, &p.ValueValues, &p.ValueClaims, &p.ValueRecords)
	for _, e := range c.Events {
		p.EventNumbers, p.EventTypes, p.EventSteps = append(p.EventNumbers, e.Number), append(p.EventTypes, e.Type), append(p.EventSteps, e.Step)
		p.EventStatuses, p.EventAts = append(p.EventStatuses, e.Status), append(p.EventAts, e.At)
	}
	for _, l := range c.Late {
		p.LateSegments, p.LateItems, p.LateEpochs = append(p.LateSegments, l.Segment), append(p.LateItems, l.Item), append(p.LateEpochs, l.Epoch)
		p.LateSteps, p.LateAts = append(p.LateSteps, l.Step), append(p.LateAts, l.At)
	}
	if d := c.Dead; d != nil {
		p.DeadID, p.DeadStep, p.DeadSegment, p.DeadItem, p.DeadEpoch = d.ID, d.Step, d.Segment, d.Item, d.Epoch
		p.DeadAttempts, p.DeadBreaks, p.DeadError, p.DeadAt = d.Attempts, d.Breaks, d.Error, d.At
	}
	return p
}

// outputs are the columns of rows.
func outputs(rows []stored.Output, steps *[]string, items, epochs *[]int64, values *[][]byte, claims, records *[]string) {
	for _, o := range rows {
		*steps, *items, *epochs = append(*steps, o.Step), append(*items, o.Item), append(*epochs, o.Epoch)
		*values, *claims, *records = append(*values, o.Value), append(*claims, o.Claim), append(*records, o.Record)
	}
}

// Delete implements record.Executions.
func (s *Store) Delete(ctx context.Context, tenant, id string) error {
	what := "delete execution " + id
	if !postgresql.Storable(tenant, id) {
		return fmt.Errorf("%s: %w", what, record.ErrNotFound)
	}
	for range 2 { // of two that delete it at once, the second finds it erased
		row, err := db.New(s.durable).GetExecution(ctx, id)
		x := stored.Execution(row.Execution)
		switch {
		case err != nil:
			return s.failed(ctx, what, err)
		case x.Tenant != tenant:
			return fmt.Errorf("%s: %w", what, record.ErrNotFound)
		case x.Outcome == "":
			return fmt.Errorf("%s: %w", what, record.ErrInUse)
		case x.Erased:
			return nil
		}
		state, problem, err := x.Stub()
		if err != nil {
			return err //nolint:wrapcheck // it says all
		}
		n, err := db.New(s.durable).Erase(ctx, db.EraseParams{ID: id, Revision: x.Revision, State: state, Error: problem, DeadError: stored.ErasedError()})
		if err != nil || n > 0 {
			return s.failed(ctx, what, err)
		}
	}
	return fmt.Errorf("%s: %w", what, record.ErrConflict)
}
