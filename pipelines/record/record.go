// Package record is what is stored of pipelines: their versions, executions with all
// that is due of them, outputs, events and dead letters; and the interfaces of the
// stores that keep it (pipelines/postgres, pipelines/sqlite).
//
// A row is the truth: what is not stored did not happen. Each method is one
// transaction, and times are by the database's clock. It decides nothing about
// executions: pipelines/execution does.
package record

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/pipelines/execution"
)

// Why a store refused. Each is wrapped with what was being done.
var (
	// ErrNotFound is of what is not there, or is another tenant's.
	ErrNotFound = errors.New("there is none")

	// ErrConflict is of a row that changed since it was loaded: load it, and decide
	// again.
	ErrConflict = errors.New("it was changed meanwhile")

	// ErrOtherBody is of an idempotency key that came with another body.
	ErrOtherBody = errors.New("the idempotency key was used with another body")

	// ErrInUse is of what executions still need: a pipeline with ones that have not
	// ended, or an execution that has not.
	ErrInUse = errors.New("it has not ended")

	// ErrFull is of what there are as many of as may be.
	ErrFull = errors.New("there are as many as may be")

	// ErrUnavailable is of a database that cannot be reached, or takes no writes now:
	// it is read-only, a standby, full, or too busy. A write may then have been stored
	// all the same, whole; never half of one.
	ErrUnavailable = errors.New("the database is not available")
)

// Bounds of what one call stores or returns.
const (
	// MaxPage is the most rows of a page.
	MaxPage = 200

	// MaxBatch is the most rows that one call claims, admits or removes.
	MaxBatch = 1000

	// KeyLifetime is how long an idempotency key counts.
	KeyLifetime = 24 * time.Hour
)

// Executions keeps executions.
type Executions interface {
	// Accept stores a new execution and its first row of due work, durably, or returns
	// the one that its idempotency key is of already: Existing is then true. What it
	// stored is in a.Execution as well: Created, RunAt and Revision. ErrOtherBody where
	// the key came with another body, ErrNotFound where a.Replays is of no dead letter
	// of the tenant.
	Accept(ctx context.Context, a *Acceptance) (*Accepted, error)

	// Started returns the execution that an idempotency key of a tenant's pipeline is of,
	// ErrNotFound where it is of none (any more), or ErrOtherBody.
	Started(ctx context.Context, tenant, pipeline string, key *Key) (*Loaded, error)

	// Load returns an execution of any tenant with what is due of it, or ErrNotFound.
	// Outputs of steps are not in it: Values has them. A row that cannot be read whole is
	// no error: it has Damage, and keeps neither a page nor its own end from anybody.
	Load(ctx context.Context, id string) (*Loaded, error)

	// Values returns outputs of steps, of all their items, by step and item. Of steps
	// that have none it returns nothing.
	Values(ctx context.Context, id string, steps []string) ([]execution.StepValue, error)

	// Save stores a changed execution and what changes with it: all, or nothing. It
	// returns ErrConflict where the row has another Revision than x, and else sets
	// x.Revision anew. Input, Event, Headers, Labels, Created and what names the execution
	// are never changed. It is durable when it returns where it ends the execution or
	// keeps outputs or a dead letter; what else it stores may be lost in a crash of the
	// database's machine, and comes again.
	Save(ctx context.Context, x *execution.Execution, change *execution.Change) error

	// Delete erases the payloads of a tenant's execution that has ended (input,
	// outputs, what came with them, and errors' details), and keeps the rest of it: a
	// stub. ErrInUse where it has not ended. Payloads that lie elsewhere are removed
	// before, by who keeps them. Deleting twice is no error.
	Delete(ctx context.Context, tenant, id string) error
}

// Acceptance is an execution that is to be stored.
type Acceptance struct {
	// Execution is the new row. The store sets Created, a RunAt that is past, and
	// Revision.
	Execution *execution.Execution

	// Change is what Machine.Accept or Replay made: its first event, and the outputs
	// that a replay takes over, are stored with it. Its row of due work
	// (execution.Whole, Start at RunAt) always is; no other may be in it.
	Change execution.Change

	// Owner is whose the pipeline's version is: the execution's tenant, or "" of one
	// that is shipped.
	Owner string

	Concurrency int           // of the pipeline: how many of it run at once for the tenant; 0 is no bound
	Retention   time.Duration // how long the row stays once it has ended; 0 is forever
	Key         *Key          // nil where there is none
	Replays     string        // the id of the dead letter that it replays, which notes it; ""
}

// Key is an idempotency key: of a tenant and a pipeline, for KeyLifetime.
type Key struct {
	Text string
	Body [32]byte // SHA-256 of what came with it
}

// Accepted is what Accept stored or found.
type Accepted struct {
	*Loaded

	Existing bool // it was there
}

// Loaded is an execution as it is stored.
type Loaded struct {
	Execution *execution.Execution
	Branches  []execution.Branch // what is due of it, the whole execution's row first; by segment and item
	Owner     string             // of its pipeline's version
	Erased    bool               // a stub
	Now       time.Time          // when it was read, by the database's clock
}

// Work is what is due. Any number of processes take from it: a row that one has taken
// is nobody else's until it is given back by its time.
type Work interface {
	// Claim takes rows whose time has come: branches to send, leases that have run out
	// and executions whose deadline is over (execution.Send, Lease, End), at most
	// `most`. Each tenant has its turn; of one tenant, those of a higher priority come
	// first, and then those that are due longest. They come again after hold, unless
	// Sent or Save replaces or removes them before.
	Claim(ctx context.Context, most int, hold time.Duration) ([]execution.Branch, error)

	// Admit takes queued executions that may begin (execution.Start): those whose time
	// has come, within the concurrency of their pipeline and the tenant's. Tenants and
	// priorities as in Claim. Each counts as running from now on, and comes again after
	// Hold, unless Save begins or ends it before.
	Admit(ctx context.Context, a Admission) ([]execution.Branch, error)

	// Sent stores branches as Machine.Send made them, before they are sent, and returns
	// those that are to be: of a row that is no longer of the epoch before, or no longer
	// to be sent, it stores nothing. It moves no Revision, and may be lost in a crash of
	// the database's machine; then the branch is sent again.
	Sent(ctx context.Context, sent []execution.Branch) ([]execution.Branch, error)

	// Return gives back rows that Claim or Admit took: they come again after a while, 0 is
	// at once. Executions are queued again, with the Attempts that they have here, and
	// those that are to come later behind the others of that time. Rows that are not as
	// they were taken stay as they are.
	Return(ctx context.Context, taken []execution.Branch, after time.Duration) error

	// Voids makes every lease due now, and gives back all that is taken: what was sent
	// before this moment will not answer. It returns how many leases there were.
	Voids(ctx context.Context) (int64, error)

	// Waiting counts a tenant's queued executions, up to a number.
	Waiting(ctx context.Context, tenant string, most int) (int, error)
}

// Survey counts, for an operator.
type Survey interface {
	// Backlog counts what all executions that have not ended wait for.
	Backlog(ctx context.Context) (Backlog, error)
}

// Backlog is what waits, of all tenants.
type Backlog struct {
	Queued, Running int64         // executions; queued are those of a later time too
	Due             int64         // rows whose time has come and that nobody has taken
	Age             time.Duration // how long the longest of these has been due; 0 where there are none
}

// Admission is how many executions Admit takes.
type Admission struct {
	Most      int           // together
	PerTenant int           // that run at once for one tenant; 0 is no bound
	Hold      time.Duration // for which they are taken
}

// Lookup is what callers see of executions: each method reads those of one tenant, and
// returns ErrNotFound for another's.
type Lookup interface {
	// Get returns an execution, as Executions.Load does.
	Get(ctx context.Context, tenant, id string) (*Loaded, error)

	// List returns a page of executions, newest first, without Input, Event, Headers
	// and Output.
	List(ctx context.Context, q Query) (*Page, error)

	// Events returns what happened to an execution after an event's number, in order,
	// at most MaxPage.
	Events(ctx context.Context, tenant, id string, after int64) ([]execution.Event, error)

	// DeadLetters returns a page of dead letters, newest first.
	DeadLetters(ctx context.Context, q DeadQuery) (*DeadPage, error)

	// DeadLetter returns one.
	DeadLetter(ctx context.Context, tenant, id string) (*DeadLetter, error)
}

// Query selects executions. What is left out selects all.
type Query struct {
	Tenant   string
	Pipeline *string // its name; "" is of those that no pipeline has
	Status   execution.Status
	Labels   map[string]string // all of them
	After    Cursor            // the last of the page before
	Limit    int               // 1 to MaxPage
}

// Page is a page of executions.
type Page struct {
	Executions []*execution.Execution
	Next       Cursor // of the page that follows; zero where this is the last
}

// DeadQuery selects dead letters, likewise.
type DeadQuery struct {
	Tenant    string
	Pipeline  string
	Execution string
	After     Cursor
	Limit     int
}

// DeadPage is a page of dead letters.
type DeadPage struct {
	Letters []*DeadLetter
	Next    Cursor
}

// DeadLetter is a step that is not tried again, and its execution.
type DeadLetter struct {
	execution.DeadLetter

	ID         string // EXECUTION.STEP.ITEM
	Tenant     string
	Execution  string
	Pipeline   string
	Version    int
	ReplayedBy string // the execution that replays it; ""
}

// Pipelines keeps the pipelines of tenants. Those of tenant "" are shipped: every
// tenant sees them, unless they have one of that name themselves.
type Pipelines interface {
	// Register makes a pipeline's newest version its default, and returns it. The same
	// digest is the same version: it becomes the default again, and is deprecated no
	// longer; created is then false.
	Register(ctx context.Context, r Registration) (v *Version, created bool, err error)

	// Resolve returns a version that a tenant sees under a name: their own before one
	// that is shipped, and the default where number is 0.
	Resolve(ctx context.Context, tenant, name string, number int) (*Version, error)

	// Pipelines returns a page of the defaults that a tenant sees, newest pipeline
	// first, without Canonical.
	Pipelines(ctx context.Context, q PipelineQuery) (*VersionPage, error)

	// Deprecate marks a version of a tenant's own, or takes the mark away.
	Deprecate(ctx context.Context, tenant, name string, number int, deprecated bool) error

	// DeletePipeline removes a tenant's own pipeline from their sight. It returns
	// ErrInUse while executions of it have not ended. Its versions stay to be found by
	// Versions.Version, and their numbers are not used again.
	DeletePipeline(ctx context.Context, tenant, name string) error
}

// Registration is a definition that becomes a version.
type Registration struct {
	Tenant    string // "" where it is shipped
	Name      string
	Canonical []byte // the definition's canonical form
	Digest    string // of it
}

// VersionID names a version among all of every tenant's.
type VersionID struct {
	Owner  string // whose it is; "" where it is shipped
	Name   string
	Number int
}

// Version is a version of a pipeline.
type Version struct {
	VersionID

	Canonical    []byte
	Digest       string
	Created      time.Time
	DeprecatedAt time.Time // zero where it is not
	Default      bool
	Removed      bool // its pipeline was deleted
}

// PipelineQuery selects pipelines, or versions of one.
type PipelineQuery struct {
	Tenant string
	After  Cursor
	Limit  int // 1 to MaxPage
}

// VersionPage is a page of versions.
type VersionPage struct {
	Versions []*Version
	Next     Cursor
}

// Versions finds versions, also those of pipelines that were deleted.
type Versions interface {
	// Version returns a version.
	Version(ctx context.Context, id VersionID) (*Version, error)

	// Versions returns a page of the versions of a pipeline that a tenant sees, newest
	// first, without Canonical.
	Versions(ctx context.Context, name string, q PipelineQuery) (*VersionPage, error)

	// InUse returns the versions that something needs, by owner, name and number, at
	// most MaxBatch of those that come after one: defaults, and versions of executions
	// that have not ended.
	InUse(ctx context.Context, after VersionID) ([]VersionID, error)
}

// Retention removes what is over, in bounded batches.
type Retention interface {
	// Expired returns executions that have ended longer ago than their retention, at
	// most `most`. Their payloads that lie elsewhere are removed first, then Forget
	// removes the rows: so nothing is left that nobody knows of.
	Expired(ctx context.Context, most int) ([]Ended, error)

	// Keep has executions that have ended expire a while from now: those whose payloads
	// could not be removed, so that others have their turn. Others it leaves.
	Keep(ctx context.Context, ids []string, after time.Duration) error

	// Forget removes executions that have ended and all that is stored of them, and
	// returns how many there were. Others it leaves.
	Forget(ctx context.Context, ids []string) (int64, error)

	// Trim removes idempotency keys that count no longer, at most `most`, and returns
	// how many there were.
	Trim(ctx context.Context, most int) (int64, error)
}

// Ended names an execution that has ended.
type Ended struct{ Tenant, ID string }

// Store is all that a database keeps of pipelines.
type Store interface {
	Executions
	Work
	Survey
	Lookup
	Pipelines
	Versions
	Retention
	Schedules
	Planner

	// Ping reports whether the database answers.
	Ping(ctx context.Context) error
	// Close closes it. Closing twice is safe.
	Close() error
}

// DeadID is the id of a dead letter of an execution.
func DeadID(id string, d *execution.DeadLetter) string {
	return id + "." + d.Step + "." + strconv.Itoa(d.Item)
}
