package execution

import (
	"encoding/json"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
)

// What a row of due work is for.
type What string

// What is due.
const (
	Start What = "start" // the execution may begin (Machine.Begin), once it is admitted
	End   What = "end"   // the execution's deadline has come (Machine.TimeOut)
	Send  What = "send"  // the branch is to be sent (Machine.Send)
	Lease What = "lease" // the branch was sent and should have answered (Machine.Expired)
)

// BranchID names a row of due work.
type BranchID struct {
	Execution string
	// Segment is the plan's index; -1 is the execution as a whole, which has one row:
	// Start while it is queued, then End.
	Segment int
	Item    int // of a forEach, from 0; 0 for others
}

// Whole is the row of the execution itself.
func Whole(execution string) BranchID { return BranchID{Execution: execution, Segment: -1} }

// Branch is a segment that runs, or one item of a forEach; and the row of what is
// due of it next.
type Branch struct {
	BranchID
	Step int // the index in the segment's Steps from which it is to be sent, or was last
	// Epoch is raised by every send. Only an answer of this epoch, while What is
	// Lease, counts.
	Epoch int
	// Of the step that it is at: the attempts that failed, and those apart that a
	// process or connection broke.
	Attempts, Breaks int
	What             What
	Due              time.Time // by the database's clock
	Priority         int       // the execution's
}

// Change is what a transition makes of everything but the execution's row, with
// which it is one commit. The zero Change with a nil error means that nothing is to
// be saved.
type Change struct {
	// Changed reports whether the execution's row, or anything else, changed.
	Changed bool
	Put     []Branch    // inserted, or replaced
	Remove  []BranchID  // those that are there
	Values  []StepValue // inserted; never twice for a step and item
	Dead    *DeadLetter
	Events  []Event
	Late    []Late
}

// StepValue is what a step answered: a row for each step, or item of a forEach.
// A step that was skipped has none, nor has an item that failed or was not waited
// for; of a forEach that joins any, one item alone has one.
type StepValue struct {
	Step   string
	Item   int
	Epoch  int // whose chain it was
	Value  envelope.Value
	Record envelope.Record // zero where the step is not ours
}

// DeadLetter is a step, or an item of one, that is not tried again.
type DeadLetter struct {
	Step     string
	Segment  int
	Item     int
	Epoch    int // the last that was sent; 0 where it never was
	Attempts int // that failed
	Breaks   int
	Error    Problem
	At       time.Time
}

// Types of events.
const (
	ExecutionAccepted  = "dev.modelserve.execution.accepted.v1"
	ExecutionStarted   = "dev.modelserve.execution.started.v1"
	ExecutionSucceeded = "dev.modelserve.execution.succeeded.v1"
	ExecutionFailed    = "dev.modelserve.execution.failed.v1"
	ExecutionCancelled = "dev.modelserve.execution.cancelled.v1"
	StepStarted        = "dev.modelserve.step.started.v1"
	StepSucceeded      = "dev.modelserve.step.succeeded.v1"
	StepFailed         = "dev.modelserve.step.failed.v1"
)

// Event is something that happened to an execution, with ids and status only.
type Event struct {
	Number int64  // from 1, without gaps, for each execution
	Type   string // one of the constants
	Step   string // "" for the execution itself
	Status Status // of the step, or of the execution
	At     time.Time
}

// Ends reports whether no event follows.
func (e Event) Ends() bool {
	return e.Type == ExecutionSucceeded || e.Type == ExecutionFailed || e.Type == ExecutionCancelled
}

// MaxLate bounds the answers of epochs that were over which are noted for an
// execution; what comes after them leaves nothing.
const MaxLate = 32

// Late is the note of an answer that changed nothing: its epoch was over, or its
// branch had ended.
type Late struct {
	Segment, Item, Epoch int
	Step                 string // that failed; "" of a chain that answered
	At                   time.Time
}

// Answer is what came back of a branch: of the whole chain of a segment's steps
// from where it was sent, or, in a Failure, of those before the one that failed.
type Answer struct {
	Segment, Item, Epoch int
	Values               map[string]envelope.Value // outputs, by step
	Records              []envelope.Record
}

// eventData is the data of an Event on the wire.
type eventData struct {
	Execution string `json:"execution"`
	Pipeline  string `json:"pipeline"`
	Version   int    `json:"version"`
	Step      string `json:"step,omitempty"`
	Status    Status `json:"status"`
}

// Data is the event's data as JSON: ids and status, never inputs or outputs.
func (e Event) Data(x *Execution) (json.RawMessage, error) {
	return json.Marshal(eventData{Execution: x.ID, Pipeline: x.Pipeline, Version: x.Version, Step: e.Step, Status: e.Status})
}
