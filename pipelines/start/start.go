// Package start accepts executions, for callers (package api) and for what starts them
// without one: it makes their rows of a version of a pipeline and an input, within the
// bounds of the tenant.
//
// It knows no HTTP but headers, and runs nothing: executions that it accepts are begun by
// package dispatch.
package start

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/registry"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/problem"
)

// Store is what a Starter needs of the record.
type Store interface {
	// Accept stores a new execution, or returns the one that its key is of.
	Accept(ctx context.Context, a *record.Acceptance) (*record.Accepted, error)

	// Started returns the execution that a key is of.
	Started(ctx context.Context, tenant, pipeline string, key *record.Key) (*record.Loaded, error)

	// Resolve returns a version that a tenant sees.
	Resolve(ctx context.Context, tenant, name string, number int) (*record.Version, error)

	// Waiting counts a tenant's queued executions, up to a number.
	Waiting(ctx context.Context, tenant string, most int) (int, error)
}

// Deps are what a Starter works with. All are required but Accepted.
type Deps struct {
	Store   Store
	Decider *decide.Decider
	Values  *values.Values
	Logger  *slog.Logger

	// Accepted is called after an execution was stored, and waits for nothing.
	Accepted func(execution string)
}

// Starter accepts executions. It is safe for concurrent use.
type Starter struct {
	deps   Deps
	queues *queues
	most   int
}

// New makes a Starter. Of a tenant at most so many executions wait to begin; 0 is 10,000.
func New(most int, deps Deps) *Starter {
	if most <= 0 {
		most = 10_000
	}
	if deps.Accepted == nil {
		deps.Accepted = func(string) {}
	}
	return &Starter{deps: deps, most: most, queues: &queues{count: deps.Store.Waiting, most: most, tenants: map[string]*queue{}}}
}

// Request is an execution that is to start.
type Request struct {
	Tenant   string
	Input    *Input
	Header   http.Header       // those of which the pipeline carries some to its steps, and its traceparent
	Labels   map[string]string // beside the pipeline's, and before them
	Priority *int              // nil is the pipeline's
	RunAt    time.Time         // zero is at once
	Key      *record.Key       // nil where there is none
}

// Version is a version that a tenant may start, compiled; number 0 is the default. Errors
// are problems.
func (s *Starter) Version(ctx context.Context, tenant, name string, number int) (*decide.Version, error) {
	v, err := s.deps.Store.Resolve(ctx, tenant, name, number)
	if err != nil {
		return nil, registry.Problem(err) //nolint:wrapcheck // a problem
	}
	if !v.DeprecatedAt.IsZero() {
		return nil, problem.New(problem.Conflict, "version %d of the pipeline is deprecated: start another, or register it again", v.Number)
	}
	return s.deps.Decider.Version(ctx, v.VersionID) //nolint:wrapcheck // it says what
}

// Known is the execution that was started with a key already, whatever has become of its
// pipeline since; nil is none.
func (s *Starter) Known(ctx context.Context, tenant, pipeline string, key *record.Key) (*record.Loaded, error) {
	known, err := s.deps.Store.Started(ctx, tenant, pipeline, key)
	if errors.Is(err, record.ErrNotFound) {
		return nil, nil //nolint:nilnil // as it says
	}
	return known, registry.Problem(err)
}

// Room refuses an execution of a tenant that has as many waiting as it may.
func (s *Starter) Room(ctx context.Context, tenant string) error {
	waiting, err := s.queues.waiting(ctx, tenant, time.Now())
	switch {
	case err != nil:
		return registry.Problem(err)
	case waiting >= s.most:
		return problem.New(problem.Overloaded, "%d executions of the tenant wait to begin, as many as may", waiting).WithRetryAfter(10 * time.Second)
	}
	return nil
}

// Start stores an execution of a version, and its input before it. Nothing stays of one
// that is refused. Errors are problems.
func (s *Starter) Start(ctx context.Context, v *decide.Version, r *Request, now time.Time) (*record.Accepted, error) {
	d := v.Definition
	x := NewExecution(v, r.Tenant, r.Header.Get("Traceparent"), now)
	x.RunAt, x.Priority = r.RunAt, d.Priority
	if r.Priority != nil {
		x.Priority = *r.Priority
	}
	var err error
	if x.Labels, err = merged(d.Labels, r.Labels); err != nil {
		return nil, err
	}
	if x.Headers, err = carried(r.Header, d.Headers); err != nil {
		return nil, err
	}
	if x.Input, err = r.Input.Keep(ctx, s.deps.Values, r.Tenant, x.ID); err != nil {
		return nil, err
	}
	acceptance := Of(v, x)
	acceptance.Change = v.Machine.Accept(x, now)
	acceptance.Key = r.Key
	return s.Accept(ctx, acceptance)
}

// scheduleLabel is the label of the executions that a schedule starts: its name.
const scheduleLabel = "schedule"

// OfSchedule are the labels of an execution that a schedule starts, unless the pipeline has
// that label itself, or as many as may be.
func OfSchedule(name string, v *decide.Version) map[string]string {
	of := v.Definition.Labels
	if _, taken := of[scheduleLabel]; taken || len(of) >= definition.MaxLabels {
		return nil
	}
	return map[string]string{scheduleLabel: name}
}

// NewExecution is the row of an execution, but for what it begins with.
func NewExecution(v *decide.Version, tenant, traceparent string, now time.Time) *execution.Execution {
	return &execution.Execution{
		ID: newID(now), Tenant: tenant, Pipeline: v.ID.Name, Version: v.ID.Number, Digest: v.Digest, Traceparent: traceparent,
	}
}

// Of is the acceptance of an execution of a version, but for its change.
func Of(v *decide.Version, x *execution.Execution) *record.Acceptance {
	return &record.Acceptance{Execution: x, Owner: v.ID.Owner, Concurrency: v.Definition.Concurrency, Retention: v.Definition.Retention}
}

// Accept stores an execution. Where it is not stored, as where its key is of another one
// already, nothing of it stays: but where the store does not say, its payload may be a
// stored row's, and is left to the sweep.
func (s *Starter) Accept(ctx context.Context, acceptance *record.Acceptance) (*record.Accepted, error) {
	accepted, err := s.deps.Store.Accept(ctx, acceptance)
	x := acceptance.Execution
	refused := problem.CodeOf(registry.Problem(err))
	if err == nil && accepted.Existing || refused == problem.KeyReused || refused == problem.NotFound {
		if failed := s.deps.Values.Erase(context.WithoutCancel(ctx), x.Tenant, x.ID); failed != nil {
			s.deps.Logger.WarnContext(ctx, "the payload of an execution that was not accepted stays until the sweep", "execution", x.ID, "error", failed)
		}
	}
	if err != nil {
		return nil, registry.Problem(err)
	}
	if !accepted.Existing {
		s.queues.accepted(x.Tenant)
		s.deps.Accepted(x.ID)
	}
	return accepted, nil
}

// newID makes the id of an execution: 26 characters, of which the first are the time in
// milliseconds, so that those of a time lie together in the database, and the others are
// random.
func newID(now time.Time) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(raw[6:]) // never fails
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(raw[:]))
}

// merged are a pipeline's labels with those of a start, which count where both have one.
func merged(of, given map[string]string) (map[string]string, error) {
	if len(of) == 0 {
		return given, nil
	}
	all := maps.Clone(of)
	maps.Copy(all, given)
	if len(all) > definition.MaxLabels {
		return nil, problem.Invalid(contract.ParamLabel, "expected at most %d with the %d of the pipeline", definition.MaxLabels, len(of))
	}
	return all, nil
}

// maxCarried bounds a header that is carried to every step, in bytes.
const maxCarried = 1024

// carried are the headers of a start that its pipeline names.
func carried(h http.Header, names []string) (map[string]string, error) {
	var kept map[string]string
	for _, name := range names {
		values := h.Values(name)
		switch {
		case len(values) == 0:
			continue
		case len(values) > 1 || len(values[0]) > maxCarried:
			return nil, problem.Invalid(name, "expected the header once, with at most %d bytes", maxCarried)
		case kept == nil:
			kept = map[string]string{}
		}
		kept[name] = strings.ToValidUTF8(values[0], "")
	}
	return kept, nil
}
