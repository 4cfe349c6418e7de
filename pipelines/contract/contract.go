// Package contract has what is written on the wire of /v1/pipelines,
// /v1/executions, /v1/dead-letters and /v1/schedules: the JSON bodies as Go types, the paths, the
// parameters and the headers. Servers, the CLI and other clients share it.
//
// It is not for what is stored, nor for what travels between the steps of an
// execution, and it decides nothing. Times are RFC 3339 in UTC.
package contract

import (
	"encoding/json"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// Pipeline is a version of a pipeline: what POST /v1/pipelines answers, and what GET
// shows.
type Pipeline struct {
	Name      string            `json:"name" doc:"of the tenant, a DNS label"`
	Version   int               `json:"version" minimum:"1" doc:"counted for each name, from 1; a version never changes"`
	Digest    string            `json:"digest" doc:"sha256:… of the canonical JSON: the same of the same definition"`
	Default   bool              `json:"default" doc:"whether executions without a version are of this one: the one that was registered last"`
	Shared    bool              `json:"shared,omitempty" doc:"whether it ships with the platform and is everybody's, and nobody's to change"`
	Labels    map[string]string `json:"labels,omitempty" doc:"of the definition's metadata"`
	CreatedAt time.Time         `json:"created_at"`

	// DeprecatedAt is since when no execution of it is started. Those that run go on, and
	// may be replayed. Registering its definition again takes it away.
	DeprecatedAt *time.Time `json:"deprecated_at,omitempty" doc:"since when no execution of it is started; registering it again takes it away"`

	// Definition is the canonical JSON. Lists leave it out.
	Definition json.RawMessage `json:"definition,omitempty" doc:"the canonical form of what was registered; left out in lists"`
}

// Pipelines is a page of GET /v1/pipelines, newest first, the default version of each; and of
// GET /v1/pipelines/{name}/versions, newest first.
type Pipelines struct {
	Pipelines  []Pipeline `json:"pipelines"`
	NextCursor string     `json:"next_cursor,omitempty" doc:"of the next page; absent on the last one"`
}

// Execution is one run of a pipeline, or of one call that is answered later.
type Execution struct {
	ID       string  `json:"id"`
	Pipeline *string `json:"pipeline" doc:"null of a call that is answered later"`
	Version  int     `json:"version,omitempty"`
	Status   Status  `json:"status"`
	Priority int     `json:"priority" minimum:"-10" maximum:"10"`

	// Input and Output are left out in lists, of an erased execution, and where they are
	// too large to show; then the Ref beside them says where they are.
	Input     json.RawMessage `json:"input,omitempty" doc:"left out in lists, of an erased execution, and where it is large: then input_ref is there"`
	InputRef  *Ref            `json:"input_ref,omitempty"`
	Output    json.RawMessage `json:"output,omitempty" doc:"of one that succeeded; left out in lists, of an erased execution, and where it is large: then output_ref is there, and GET /v1/executions/{id}/result has it whole"`
	OutputRef *Ref            `json:"output_ref,omitempty"`

	Error *Failure `json:"error,omitempty" doc:"of one that failed or was cancelled"`
	Steps []Step   `json:"steps"`

	CreatedAt  time.Time         `json:"created_at"`
	RunAt      *time.Time        `json:"run_at,omitempty" doc:"before which it does not begin"`
	StartedAt  *time.Time        `json:"started_at,omitempty"`
	FinishedAt *time.Time        `json:"finished_at,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	ReplayOf   string            `json:"replay_of,omitempty" doc:"the execution that it is a replay of"`
	From       string            `json:"from,omitempty" doc:"the step that the replay began at"`
	Erased     bool              `json:"erased,omitempty" doc:"whether its payloads are gone"`
}

// Executions is a page of GET /v1/executions, newest first.
type Executions struct {
	Executions []Execution `json:"executions"`
	NextCursor string      `json:"next_cursor,omitempty" doc:"of the next page; absent on the last one"`
}

// Step is a step of an execution.
type Step struct {
	Name       string     `json:"name"`
	Status     Status     `json:"status"`
	Attempts   int        `json:"attempts" doc:"how often it was tried; of a forEach, the most of any item"`
	Model      string     `json:"model,omitempty" doc:"name@version;digest=sha256:… that answered last"`
	Device     string     `json:"device,omitempty" doc:"where it ran: cpu or cuda:0"`
	ComputeMS  float64    `json:"compute_ms,omitempty" doc:"of processors and GPU, of all items together"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	Error      *Failure   `json:"error,omitempty" doc:"of its last failure"`
	Items      *Items     `json:"items,omitempty" doc:"of a forEach that has begun"`
}

// Items is how far a forEach is. Lists have the total alone.
type Items struct {
	Total     int `json:"total"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
}

// Status is how far an execution or a step is.
type Status string

// The statuses. Skipped is of steps alone, whose condition was false; one that is queued
// has not begun.
const (
	Queued    Status = "queued"
	Running   Status = "running"
	Succeeded Status = "succeeded"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
	Skipped   Status = "skipped"
)

// Statuses are those of an execution, in the order in which it has them.
func Statuses() []Status { return []Status{Queued, Running, Succeeded, Failed, Cancelled} }

// Ended reports whether a status is one that does not change any more.
func (s Status) Ended() bool {
	return s == Succeeded || s == Failed || s == Cancelled || s == Skipped
}

// Ref is where a value lies. It is also what the input of an execution is whose body
// was no JSON.
type Ref struct {
	Ref         string `json:"ref" doc:"s3://…; functions of the tenant open it"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"size" doc:"bytes"`
	SHA256      string `json:"sha256,omitempty"`
}

// Failure is an error as part of a body (RFC 9457).
type Failure struct {
	Type   string          `json:"type"`
	Title  string          `json:"title"`
	Status int             `json:"status"`
	Detail string          `json:"detail"`
	Code   problem.Code    `json:"code"`
	Errors []problem.Field `json:"errors,omitempty"`
}

// FailureOf is an error as its caller may see it; nil where there is none.
func FailureOf(err error) *Failure {
	e := problem.From(err)
	if e == nil {
		return nil
	}
	row := e.Code.Row()
	return &Failure{
		Type: "https://modelserve.dev/problems/" + string(e.Code), Title: row.Title, Status: row.Status,
		Detail: e.Detail, Code: e.Code, Errors: e.Fields,
	}
}

// DeadLetter is a step, or an item of one, that failed for good.
type DeadLetter struct {
	ID         string    `json:"id"`
	Execution  string    `json:"execution"`
	Pipeline   *string   `json:"pipeline" doc:"null of a call that is answered later"`
	Version    int       `json:"version,omitempty"`
	Step       string    `json:"step"`
	Item       *int      `json:"item,omitempty" doc:"of a forEach, from 0"`
	Attempts   int       `json:"attempts"`
	Error      *Failure  `json:"error"`
	CreatedAt  time.Time `json:"created_at"`
	ReplayedBy string    `json:"replayed_by,omitempty" doc:"the execution that was started last to run it again"`
}

// DeadLetters is a page of GET /v1/dead-letters, newest first.
type DeadLetters struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
	NextCursor  string       `json:"next_cursor,omitempty" doc:"of the next page; absent on the last one"`
}

// Replays is the answer of POST /v1/dead-letters/replay: at most 200 at once.
type Replays struct {
	Replays []Replay `json:"replays"`

	// More is whether others may be left that the filter fits, which another call replays,
	// with NextCursor.
	More       bool   `json:"more" doc:"whether others may be left that the filter fits; another call with next_cursor replays them"`
	NextCursor string `json:"next_cursor,omitempty" doc:"where the next call goes on; absent where none are left"`
}

// Replay is what became of one dead letter.
type Replay struct {
	DeadLetter string   `json:"dead_letter"`
	Execution  string   `json:"execution,omitempty" doc:"that runs it again"`
	Error      *Failure `json:"error,omitempty" doc:"why it could not be replayed"`
}

// Event is the data line of an event of GET /v1/executions/{id}/events: a CloudEvent 1.0
// as JSON. It has ids and status, never inputs or outputs.
type Event struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source" doc:"/executions/ID"`
	Type        string    `json:"type" doc:"dev.modelserve.execution.….v1 or dev.modelserve.step.….v1"`
	Subject     string    `json:"subject,omitempty" doc:"of a step, its name"`
	Time        time.Time `json:"time"`
	ContentType string    `json:"datacontenttype"`
	ExecutionID string    `json:"executionid"`
	Pipeline    string    `json:"pipeline,omitempty"`
	Data        EventData `json:"data"`
}

// EventData is what an event of an execution says.
type EventData struct {
	Execution string   `json:"execution"`
	Pipeline  *string  `json:"pipeline"`
	Version   int      `json:"version,omitempty"`
	Status    Status   `json:"status" doc:"of the execution, or of the step where there is one"`
	Step      string   `json:"step,omitempty"`
	Item      *int     `json:"item,omitempty"`
	Attempt   int      `json:"attempt,omitempty"`
	Model     string   `json:"model,omitempty"`
	Error     *Failure `json:"error,omitempty"`
}
