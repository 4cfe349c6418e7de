// Package stored is what the databases of pipelines have in common: rows, what they
// come to, and what is decided between two statements.
//
// It speaks to no database: packages sqlite and postgres do, and their generated rows
// convert to the ones here. It decides nothing about executions.
package stored

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// Execution is a row of executions. Times are milliseconds since 1970, 0 is never; so in
// every row.
type Execution struct {
	ID          string
	Tenant      string
	Owner       string
	Pipeline    string
	Version     int64
	Digest      string
	Status      string
	Outcome     string // the status of one that has ended, else ""
	Priority    int64
	Revision    int64
	CreatedAt   int64
	StartedAt   int64
	FinishedAt  int64
	RunAt       int64
	Deadline    int64
	Retention   int64
	ExpiresAt   int64
	ReplayOf    string
	FromStep    string
	Traceparent string
	Labels      string
	Error       string
	State       string
	Erased      bool
	Input       []byte
	InputClaim  string
	Event       []byte
	Headers     string
	Output      []byte
	OutputClaim string
}

// OutcomesOf are those that rows of a status may have; "" is of all.
func OutcomesOf(s execution.Status) []string {
	if s == "" {
		return []string{"", string(execution.Succeeded), string(execution.Failed), string(execution.Cancelled)}
	}
	return []string{outcome(s)}
}

func outcome(s execution.Status) string {
	if s.Ended() {
		return string(s)
	}
	return ""
}

// ExecutionRow is the row of an execution that is accepted.
func ExecutionRow(a *record.Acceptance) (Execution, error) {
	x := a.Execution
	state, err := execution.EncodeState(x)
	if err != nil {
		return Execution{}, err //nolint:wrapcheck // it says all
	}
	row := Execution{
		ID: x.ID, Tenant: x.Tenant, Owner: a.Owner, Pipeline: x.Pipeline, Version: int64(x.Version), Digest: x.Digest,
		Status: string(x.Status), Priority: int64(x.Priority), Revision: 1, RunAt: Millis(x.RunAt), Retention: a.Retention.Milliseconds(),
		ReplayOf: x.ReplayOf, FromStep: x.From, Traceparent: x.Traceparent, Labels: texts(x.Labels), State: string(state),
		Event: filled(x.Event), Headers: texts(x.Headers), Output: []byte{},
	}
	row.Input, row.InputClaim = value(x.Input)
	return row, nil
}

// Execution is the row's execution, as far as it can be read.
func (r *Execution) Execution() *execution.Execution {
	x := &execution.Execution{
		ID: r.ID, Tenant: r.Tenant, Pipeline: r.Pipeline, Version: int(r.Version), Digest: r.Digest,
		Status: execution.Status(r.Status), Priority: int(r.Priority), Revision: r.Revision,
		Created: Time(r.CreatedAt), Started: Time(r.StartedAt), Finished: Time(r.FinishedAt), RunAt: Time(r.RunAt), Deadline: Time(r.Deadline),
		ReplayOf: r.ReplayOf, From: r.FromStep, Traceparent: r.Traceparent, Event: empty(r.Event),
	}
	errs := [6]error{execution.DecodeState([]byte(r.State), x)}
	x.Labels, errs[1] = parseTexts(r.Labels)
	x.Headers, errs[2] = parseTexts(r.Headers)
	x.Error, errs[3] = parse[execution.Problem](r.Error)
	x.Input, errs[4] = parseValue(r.Input, r.InputClaim)
	if len(r.Output) > 0 || r.OutputClaim != "" {
		x.Output = &envelope.Value{}
		*x.Output, errs[5] = parseValue(r.Output, r.OutputClaim)
	}
	if err := errors.Join(errs[:]...); err != nil {
		x.Damage = &execution.Damage{Why: err.Error(), State: r.State}
		x.Segments, x.Steps = nil, nil
	}
	return x
}

// Loaded is the row's execution with what is due of it.
func (r *Execution) Loaded(due []Due, now int64) *record.Loaded {
	l := &record.Loaded{Execution: r.Execution(), Owner: r.Owner, Erased: r.Erased, Now: Time(now)}
	for i := range due {
		l.Branches = append(l.Branches, due[i].Branch())
	}
	return l
}

// Stub is what is left of an execution's texts once its payloads are erased. What cannot be
// read may have one.
func (r *Execution) Stub() (state, problem string, err error) {
	x := r.Execution()
	x.Damage = nil
	for i := range x.Steps {
		if p := x.Steps[i].Error; p != nil {
			p.Detail = ""
		}
	}
	if x.Error != nil {
		x.Error.Detail = ""
	}
	text, err := execution.EncodeState(x)
	return string(text), problemText(x.Error), err //nolint:wrapcheck // it says all
}

// Labels are the rows of an execution's labels, in order.
func Labels(labels map[string]string) []string {
	rows := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		rows = append(rows, key+"="+labels[key])
	}
	return rows
}

// Due is a row of what is due.
type Due struct {
	Execution   string
	Segment     int64
	Item        int64
	Stage       int64
	Tenant      string
	Owner       string
	Pipeline    string
	Version     int64
	Concurrency int64
	Step        int64
	Epoch       int64
	Attempts    int64
	Breaks      int64
	What        string
	DueAt       int64
	FreeAt      int64
	Priority    int64
}

// Stages of a row of what is due, beside that of an admitted execution, 1.
const (
	queued  = 0 // an execution
	running = 2 // an execution
	branch  = 3
)

// dueRow is the row of a branch of an execution.
func dueRow(x *execution.Execution, b *execution.Branch) Due {
	d := Due{
		Execution: x.ID, Segment: int64(b.Segment), Item: int64(b.Item), Stage: branch, Tenant: x.Tenant, Pipeline: x.Pipeline, Version: int64(x.Version),
		Step: int64(b.Step), Epoch: int64(b.Epoch), Attempts: int64(b.Attempts), Breaks: int64(b.Breaks),
		What: string(b.What), DueAt: Millis(b.Due), FreeAt: Millis(b.Due), Priority: int64(b.Priority),
	}
	switch {
	case b.Segment >= 0:
	case b.What == execution.Start:
		d.Stage = queued
	default:
		d.Stage = running
	}
	return d
}

// Branch is the row's branch.
func (d *Due) Branch() execution.Branch {
	return execution.Branch{
		BranchID: execution.BranchID{Execution: d.Execution, Segment: int(d.Segment), Item: int(d.Item)},
		Step:     int(d.Step), Epoch: int(d.Epoch), Attempts: int(d.Attempts), Breaks: int(d.Breaks),
		What: execution.What(d.What), Due: Time(d.DueAt), Priority: int(d.Priority),
	}
}

// Output is a row of outputs.
type Output struct {
	Execution string
	Step      string
	Item      int64
	Epoch     int64
	Value     []byte
	Claim     string
	Record    string
}

func outputRow(id string, v *execution.StepValue) Output {
	o := Output{Execution: id, Step: v.Step, Item: int64(v.Item), Epoch: int64(v.Epoch), Record: text(v.Record)}
	o.Value, o.Claim = value(v.Value)
	return o
}

// StepValue is the row's output.
func (o *Output) StepValue() (execution.StepValue, error) {
	v := execution.StepValue{Step: o.Step, Item: int(o.Item), Epoch: int(o.Epoch)}
	r, err := parse[envelope.Record](o.Record)
	if err == nil && r != nil {
		v.Record = *r
	}
	if err == nil {
		v.Value, err = parseValue(o.Value, o.Claim)
	}
	if err != nil {
		return v, fmt.Errorf("read the output of step %s of %s: %w", o.Step, o.Execution, err)
	}
	return v, nil
}

// Event is a row of events.
type Event struct {
	Execution string
	Number    int64
	Type      string
	Step      string
	Status    string
	At        int64
}

// Event is the row's event.
func (e *Event) Event() execution.Event {
	return execution.Event{Number: e.Number, Type: e.Type, Step: e.Step, Status: execution.Status(e.Status), At: Time(e.At)}
}

// Late is a row of late answers.
type Late struct {
	Execution string
	Segment   int64
	Item      int64
	Epoch     int64
	Step      string
	At        int64
}

// DeadLetter is a row of dead letters.
type DeadLetter struct {
	ID         string
	Tenant     string
	Execution  string
	Pipeline   string
	Version    int64
	Step       string
	Segment    int64
	Item       int64
	Epoch      int64
	Attempts   int64
	Breaks     int64
	Error      string
	At         int64
	ReplayedBy string
}

// DeadLetter is the row's dead letter, as far as it can be read.
func (d *DeadLetter) DeadLetter() *record.DeadLetter {
	p, err := parse[execution.Problem](d.Error)
	if err != nil {
		p = &execution.Problem{Detail: "the reason cannot be read any more"}
	}
	letter := &record.DeadLetter{
		ID: d.ID, Tenant: d.Tenant, Execution: d.Execution, Pipeline: d.Pipeline, Version: int(d.Version), ReplayedBy: d.ReplayedBy,
		DeadLetter: execution.DeadLetter{
			Step: d.Step, Segment: int(d.Segment), Item: int(d.Item), Epoch: int(d.Epoch), Attempts: int(d.Attempts), Breaks: int(d.Breaks), At: Time(d.At),
		},
	}
	if p != nil {
		letter.Error = *p
	}
	return letter
}

// ErasedError is the error of a dead letter whose execution was erased.
func ErasedError() string { return text(execution.Problem{}) }

// Key is an idempotency key as a row has it: what bytes it has is the caller's, so it
// is hashed.
func Key(k *record.Key) (key, body string) {
	sum := sha256.Sum256([]byte(k.Text))
	return hex.EncodeToString(sum[:]), hex.EncodeToString(k.Body[:])
}
