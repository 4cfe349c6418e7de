// Package execution is the state machine of a pipeline's execution: what an
// answer, a failure, a lease that ran out or a cancellation makes of it.
//
// It is pure. Nothing here reads a clock, a database or the network: each
// transition gets the execution as it was loaded, the time by the database's
// clock, and an Evaluator for what the pipeline's expressions say; it changes the
// execution in place and returns a Change, which is committed together with the
// execution's row or not at all. Where the row has moved meanwhile, the caller
// loads again and decides again.
//
// It is not for sending events, for storing, or for reading expressions.
package execution

import (
	"encoding/json"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/definition"
)

// Status is where an execution, a segment or a step is.
type Status string

// The states. Executions are never skipped. What an ended execution never began,
// or did not wait for, is cancelled.
const (
	Queued    Status = "queued" // not begun
	Running   Status = "running"
	Succeeded Status = "succeeded"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
	Skipped   Status = "skipped" // its condition was false; its output is null
)

// Ended reports whether nothing changes any more.
func (s Status) Ended() bool { return s.known() && s != Queued && s != Running }

// Execution is one run of a version of a pipeline: its row. Times are the
// database's, in UTC; zero ones have not come.
type Execution struct {
	ID       string
	Tenant   string
	Pipeline string // its name
	Version  int
	Digest   string // of the version's canonical definition, "sha256:…"

	Status   Status
	Priority int // -10 to 10; higher ones are sent first
	Labels   map[string]string

	Created, Started, Finished time.Time
	RunAt                      time.Time // not before
	Deadline                   time.Time // Started and the pipeline's timeout; zero while queued

	Input       envelope.Value
	Event       json.RawMessage   // the attributes of the event that began it; nil
	Headers     map[string]string // carried to every step
	Traceparent string

	Output *envelope.Value // of one that succeeded
	Error  *Problem        // of one that failed

	ReplayOf string // the execution that it runs again; ""
	From     string // the step from which; ""

	// What follows is the state that EncodeState writes into one column.
	Segments []Segment // as the plan's
	Steps    []Step    // as the definition's
	Events   int64     // how many events it has had: the number of the last
	Lates    int       // how many answers of epochs that were over are noted, at most MaxLate

	// Damage is of a row that could not be read whole; nil of others. Segments and Steps
	// are not known then. No transition goes on with it, but it ends (Cancel, TimeOut,
	// Fail).
	Damage *Damage

	// Revision is the row's. It is the store's alone: Save refuses another than the row
	// has, and sets a new one. That is never one that the row had before, nor one of a
	// commit that a crash of the database took back: somebody may still decide on what
	// they loaded then, and a count would come to the same number again.
	Revision int64
}

// Damage is why a row could not be read, and its column as it is, which is kept: a newer
// program may have written it.
type Damage struct {
	Why   string
	State string
}

// Segment is what the machine knows of one of the plan's segments.
type Segment struct {
	Status Status `json:"status"`
	// Of a forEach: the first item that has not begun, and how many items have
	// succeeded and failed. How many there are is its step's.
	Next   int `json:"next,omitempty"`
	Done   int `json:"done,omitempty"`
	Failed int `json:"failed,omitempty"`
}

// Step is what is known of one of the definition's steps. Of a forEach it is of
// all items: the most attempts of any, the first start and the last end, and the
// sums of what they used.
type Step struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Join is a forEach's; "" for other steps. Items is how many it has, once begun.
	Join  definition.Join `json:"join,omitempty"`
	Items int             `json:"items,omitempty"`
	// Attempts is how often the step was tried, the one that succeeded included,
	// those without that a process or connection broke; Breaks is how many of these
	// there were.
	Attempts int `json:"attempts,omitempty"`
	Breaks   int `json:"breaks,omitempty"`

	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	Model      string    `json:"model,omitempty"`  // name@version that answered last
	Device     string    `json:"device,omitempty"` // where it ran
	ComputeMS  float64   `json:"compute_ms,omitempty"`
	Rows       int64     `json:"rows,omitempty"`
	Error      *Problem  `json:"error,omitempty"` // of one that failed
}

// Problem is a failure as clients see it: an RFC 9457 problem object. Detail is
// at most MaxDetail bytes.
type Problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title,omitempty"`
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail"`
	Code   string `json:"code,omitempty"`
}

// Step is the step of that name; nil is none.
func (x *Execution) Step(name string) *Step {
	for i := range x.Steps {
		if x.Steps[i].Name == name {
			return &x.Steps[i]
		}
	}
	return nil
}
