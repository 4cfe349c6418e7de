package api

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/registry"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// newID makes the id of an execution: 26 characters, of which the first are the time in
// milliseconds, so that those of a time lie together in the database, and the others are
// random.
func newID(now time.Time) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(raw[6:]) // never fails
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(raw[:]))
}

// started is what a start says of the execution.
type started struct {
	priority *int
	labels   map[string]string
	runAt    time.Time
	key      string
	wait     time.Duration
}

func (c *call) started(now time.Time) (*started, error) {
	s := &started{}
	var err error
	if len(c.query[contract.ParamPriority]) > 0 {
		n, err := c.query.number(contract.ParamPriority, -10, 10, 0)
		if err != nil {
			return nil, err
		}
		s.priority = &n
	}
	if s.labels, err = c.query.labels(); err != nil {
		return nil, err
	}
	if s.runAt, err = c.query.runAt(now); err != nil {
		return nil, err
	}
	if s.key, err = idempotencyKey(c.Header); err != nil {
		return nil, err
	}
	s.wait = wait(c.Header, c.left())
	return s, nil
}

// left is how much time the request has at the gateway; 0 is not known.
func (c *call) left() time.Duration {
	ms, err := strconv.ParseInt(c.Header.Get(infer.TimeoutHeader), 10, 32)
	if err != nil || ms < 0 {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

// version is the number in a request's path; 0 is none.
func (c *call) version() (int, error) {
	text := c.PathValue("version")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxVersion || text[0] == '+' || text[0] == '0' {
		return 0, problem.New(problem.NotFound, "there is no such version: expected a number")
	}
	return n, nil
}

// start is POST /v1/pipelines/{name}[/versions/{version}]/executions. Nothing is stored
// of a request that is refused: the payload is before the row, and is removed with it.
func (a *API) start(w http.ResponseWriter, c *call) error {
	ctx, now := c.Context(), time.Now()
	of, err := c.started(now)
	if err != nil {
		return err
	}
	number, err := c.version()
	if err != nil {
		return err
	}
	var in *input
	var key *record.Key
	if of.key != "" {
		if in, err = a.readInput(ctx, c); err != nil {
			return err
		}
		key = &record.Key{Text: of.key, Body: in.hash()}
		switch known, err := a.known(ctx, c.tenant, c.PathValue("name"), key); {
		case err != nil:
			return err
		case known != nil:
			return a.begun(w, c, known, of.wait)
		}
	}
	v, err := a.deps.Store.Resolve(ctx, c.tenant, c.PathValue("name"), number)
	if err != nil {
		return registry.Problem(err)
	}
	if !v.DeprecatedAt.IsZero() {
		return problem.New(problem.Conflict, "version %d of the pipeline is deprecated: start another, or register it again", v.Number)
	}
	compiled, err := a.deps.Decider.Version(ctx, v.VersionID)
	if err != nil {
		return err //nolint:wrapcheck // it says what
	}
	if err := a.admits(ctx, c.tenant); err != nil {
		return err
	}
	if in == nil {
		if in, err = a.readInput(ctx, c); err != nil {
			return err
		}
	}
	d := compiled.Definition
	x := newExecution(c, compiled, now)
	x.RunAt, x.Priority = of.runAt, d.Priority
	if of.priority != nil {
		x.Priority = *of.priority
	}
	if x.Labels, err = merged(d.Labels, of.labels); err != nil {
		return err
	}
	if x.Headers, err = carried(c.Header, d.Headers); err != nil {
		return err
	}
	if x.Input, err = a.keep(ctx, c.tenant, x.ID, in); err != nil {
		return err
	}
	acceptance := accepting(compiled, x)
	acceptance.Change = compiled.Machine.Accept(x, now)
	acceptance.Key = key
	accepted, err := a.accept(ctx, acceptance)
	if err != nil {
		return err
	}
	return a.begun(w, c, accepted.Loaded, of.wait)
}

// known is the execution that was started with a key already, whatever has become of its
// pipeline since; nil is none.
func (a *API) known(ctx context.Context, tenant, pipeline string, key *record.Key) (*record.Loaded, error) {
	known, err := a.deps.Store.Started(ctx, tenant, pipeline, key)
	if errors.Is(err, record.ErrNotFound) {
		return nil, nil //nolint:nilnil // as it says
	}
	return known, registry.Problem(err)
}

// newExecution is the row of a call's execution, but for what it begins with.
func newExecution(c *call, v *decide.Version, now time.Time) *execution.Execution {
	return &execution.Execution{
		ID: newID(now), Tenant: c.tenant, Pipeline: v.ID.Name, Version: v.ID.Number, Digest: v.Digest, Traceparent: c.Header.Get("Traceparent"),
	}
}

func accepting(v *decide.Version, x *execution.Execution) *record.Acceptance {
	return &record.Acceptance{Execution: x, Owner: v.ID.Owner, Concurrency: v.Definition.Concurrency, Retention: v.Definition.Retention}
}

// admits refuses an execution of a tenant that has as many waiting as it may.
func (a *API) admits(ctx context.Context, tenant string) error {
	waiting, err := a.queues.waiting(ctx, tenant, time.Now())
	switch {
	case err != nil:
		return registry.Problem(err)
	case waiting >= a.cfg.MaxQueued:
		return problem.New(problem.Overloaded, "%d executions of the tenant wait to begin, as many as may", waiting).WithRetryAfter(10 * time.Second)
	}
	return nil
}

// accept stores an execution. Where it is not stored, as where its key is of another one
// already, nothing of it stays: but where the store does not say, its payload may be a
// stored row's, and is left to the sweep.
func (a *API) accept(ctx context.Context, acceptance *record.Acceptance) (*record.Accepted, error) {
	accepted, err := a.deps.Store.Accept(ctx, acceptance)
	x := acceptance.Execution
	refused := problem.CodeOf(registry.Problem(err))
	if err == nil && accepted.Existing || refused == problem.KeyReused || refused == problem.NotFound {
		if failed := a.deps.Values.Erase(context.WithoutCancel(ctx), x.Tenant, x.ID); failed != nil {
			a.deps.Logger.WarnContext(ctx, "the payload of an execution that was not accepted stays until the sweep", "execution", x.ID, "error", failed)
		}
	}
	if err != nil {
		return nil, registry.Problem(err)
	}
	if !accepted.Existing {
		a.queues.accepted(x.Tenant)
		a.deps.Accepted(x.ID)
	}
	return accepted, nil
}

// begun answers with an execution that was accepted: at once, or when it has ended within
// a time.
func (a *API) begun(w http.ResponseWriter, c *call, loaded *record.Loaded, wait time.Duration) error {
	if wait > 0 && !loaded.Execution.Status.Ended() {
		ctx, cancel := context.WithTimeout(c.Context(), wait)
		defer cancel()
		_, err := a.deps.Live.Await(ctx, c.tenant, loaded.Execution.ID, func(ctx context.Context) (bool, error) {
			now, err := a.deps.Store.Get(ctx, c.tenant, loaded.Execution.ID)
			if err != nil {
				return false, err //nolint:wrapcheck // it was accepted: what became of it is asked again
			}
			loaded = now
			return now.Execution.Status.Ended(), nil
		})
		if err != nil && c.Context().Err() == nil {
			a.deps.Logger.DebugContext(c.Context(), "a caller gets an execution before its end", "error", err)
		}
	}
	status := http.StatusAccepted
	if loaded.Execution.Status.Ended() {
		status = http.StatusOK
	}
	if wait > 0 {
		w.Header().Set(contract.PreferenceAppliedHeader, fmt.Sprintf("wait=%d", int(wait.Seconds())))
	}
	w.Header().Set("Location", contract.PathOf(contract.ExecutionPath, loaded.Execution.ID))
	return writeJSON(w, status, a.whole(c, loaded))
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
