package stored

import (
	"math/rand/v2"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// Change is what a commit makes of an execution's row, and of others.
type Change struct {
	Row     Execution // what changes of it; and ID, and the Revision that it is of
	Next    int64     // the row's Revision from now on
	Due     []Due
	Removed []execution.BranchID // where the execution has ended, all are
	Outputs []Output
	Events  []Event
	Late    []Late
	Dead    *DeadLetter

	// Durable reports whether it must outlive a crash of the database's machine. What
	// else is lost comes again.
	Durable bool
}

// next is a revision that the row never had. A crash of the database takes back commits
// that were not durable, and a count would come to their numbers again: whoever had
// loaded one of them would write over what came since.
func next(revision int64) int64 {
	for {
		if r := rand.Int64(); r > 1 && r != revision { //nolint:gosec // nobody has to guess it
			return r
		}
	}
}

// ChangeOf are the rows of a change.
func ChangeOf(x *execution.Execution, c *execution.Change) (*Change, error) {
	state, err := execution.EncodeState(x)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	rows := &Change{
		Row: Execution{
			ID: x.ID, Revision: x.Revision, Status: string(x.Status), Outcome: outcome(x.Status),
			StartedAt: Millis(x.Started), FinishedAt: Millis(x.Finished), Deadline: Millis(x.Deadline),
			Error: problemText(x.Error), State: string(state), Output: []byte{},
		},
		Next:    next(x.Revision),
		Durable: x.Status.Ended() || len(c.Values) > 0 || c.Dead != nil,
	}
	if x.Output != nil {
		rows.Row.Output, rows.Row.OutputClaim = value(*x.Output)
	}
	if !x.Status.Ended() {
		for i := range c.Put {
			rows.Due = append(rows.Due, dueRow(x, &c.Put[i]))
		}
		rows.Removed = c.Remove
	}
	for i := range c.Values {
		rows.Outputs = append(rows.Outputs, outputRow(x.ID, &c.Values[i]))
	}
	for _, e := range c.Events {
		rows.Events = append(rows.Events, Event{x.ID, e.Number, e.Type, e.Step, string(e.Status), Millis(e.At)})
	}
	for _, l := range c.Late {
		rows.Late = append(rows.Late, Late{x.ID, int64(l.Segment), int64(l.Item), int64(l.Epoch), l.Step, Millis(l.At)})
	}
	if d := c.Dead; d != nil {
		rows.Dead = &DeadLetter{
			ID: record.DeadID(x.ID, d), Tenant: x.Tenant, Execution: x.ID, Pipeline: x.Pipeline, Version: int64(x.Version),
			Step: d.Step, Segment: int64(d.Segment), Item: int64(d.Item), Epoch: int64(d.Epoch), Attempts: int64(d.Attempts), Breaks: int64(d.Breaks),
			Error: text(d.Error), At: Millis(d.At),
		}
	}
	return rows, nil
}
