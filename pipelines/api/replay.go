package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/start"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/problem"
)

// again is how an execution is replayed.
type again struct {
	from    string       // a step; "" is the beginning
	version int          // 0 is that of the execution
	letter  string       // the dead letter that it is for; "" is none
	input   *start.Input // in place of the execution's own; nil is that
	once    bool         // an execution that was replayed with this already is not again
}

// replay is POST /v1/executions/{id}/replay.
func (a *API) replay(w http.ResponseWriter, c *call) error {
	of, err := a.get(c)
	if err != nil {
		return err
	}
	how, err := a.again(c)
	if err != nil {
		return err
	}
	accepted, err := a.replayed(c, of, *how)
	if err != nil {
		return err
	}
	return a.begun(w, c, accepted.Loaded, 0)
}

// again is what a request says of a replay. A body is an input as that of a start is, in
// place of the execution's own; outputs that are taken over stay as they were recorded.
func (a *API) again(c *call) (*again, error) {
	var how again
	var err error
	if how.from, err = c.query.id(contract.ParamFrom, envelope.IsStep); err != nil {
		return nil, err
	}
	if how.version, err = c.query.number(contract.ParamVersion, 1, maxVersion, 0); err != nil {
		return nil, err
	}
	if how.input, err = a.readInput(c.Context(), c); err != nil {
		return nil, err
	}
	if len(how.input.Body) == 0 {
		how.input = nil
	}
	return &how, nil
}

// replayed stores an execution that runs another of the call's tenant again.
func (a *API) replayed(c *call, of *record.Loaded, how again) (*record.Accepted, error) {
	ctx, now, old := c.Context(), time.Now(), of.Execution
	switch {
	case !old.Status.Ended():
		return nil, problem.New(problem.Conflict, "the execution has not ended: wait for it, or cancel it first")
	case of.Erased:
		return nil, errErased()
	}
	if how.input != nil && old.Pipeline == "" {
		return nil, problem.New(problem.Conflict, "expected no body: a call that is answered later has no other input; make the call again")
	}
	v, err := a.versionAgain(ctx, c.tenant, of, how.version)
	if err != nil {
		return nil, err
	}
	if err := a.starter.Room(ctx, c.tenant); err != nil {
		return nil, err
	}
	x := start.NewExecution(v, c.tenant, c.Header.Get("Traceparent"), now)
	x.Event, x.Headers, x.Labels, x.Priority = old.Event, old.Headers, old.Labels, old.Priority
	var outputs []execution.StepValue
	if how.from != "" {
		if outputs, err = a.outputs(ctx, old); err != nil {
			return nil, err
		}
	}
	acceptance := start.Of(v, x)
	acceptance.Replays = how.letter
	if how.once {
		acceptance.Key = &record.Key{Text: "\x00 replay of " + old.ID} // no caller's key has a NUL
	}
	if acceptance.Change, err = v.Machine.Replay(x, old, outputs, how.from, now); err != nil {
		return nil, err //nolint:wrapcheck // a problem
	}
	if err := a.copied(c, old, x, how.input, acceptance.Change.Values); err != nil {
		if failed := a.deps.Values.Erase(context.WithoutCancel(ctx), x.Tenant, x.ID); failed != nil {
			a.deps.Logger.WarnContext(ctx, "copied payloads of an execution that was not accepted stay until the sweep", "execution", x.ID, "error", failed)
		}
		if errors.Is(err, values.ErrMissing) { // erased since it was looked at
			err = errErased()
		}
		return nil, err
	}
	return a.starter.Accept(ctx, acceptance)
}

func errErased() error {
	return problem.New(problem.Conflict, "the execution's payloads were erased: start another")
}

// versionAgain is the version that a replay is of: the execution's own, also where its
// pipeline was deleted, or another by its number.
func (a *API) versionAgain(ctx context.Context, tenant string, of *record.Loaded, number int) (*decide.Version, error) {
	if number == 0 || of.Execution.Pipeline == "" { // a call has no other
		return a.versionOf(ctx, of)
	}
	v, err := a.deps.Store.Resolve(ctx, tenant, of.Execution.Pipeline, number)
	if err != nil {
		return nil, err //nolint:wrapcheck // serve does
	}
	return a.deps.Decider.Version(ctx, v.VersionID) //nolint:wrapcheck // it says what
}

// outputs are those that an execution has recorded.
func (a *API) outputs(ctx context.Context, x *execution.Execution) ([]execution.StepValue, error) {
	names := make([]string, len(x.Steps))
	for i := range x.Steps {
		names[i] = x.Steps[i].Name
	}
	return a.deps.Store.Values(ctx, x.ID, names) //nolint:wrapcheck // serve does
}

// copied stores what an execution takes over of another as its own: its input, unless it
// is given another one, and the outputs of steps that are not run again. So it does not end
// with the other's payloads.
func (a *API) copied(c *call, old, x *execution.Execution, given *start.Input, outputs []execution.StepValue) (err error) {
	if given != nil {
		x.Input, err = given.Keep(c.Context(), a.deps.Values, x.Tenant, x.ID)
	} else {
		x.Input, err = a.copyInput(c, old, x)
	}
	if err != nil {
		return err
	}
	for i := range outputs {
		if outputs[i].Value, err = a.copyOutput(c, old, x, outputs[i].Step, outputs[i].Value); err != nil {
			return err
		}
	}
	return nil
}

// copyOutput is a step's output as another execution's own. That of a URL which answered
// with no JSON is a claim check as JSON; what only looks like one stays as it is.
func (a *API) copyOutput(c *call, old, x *execution.Execution, step string, v envelope.Value) (envelope.Value, error) {
	var claim envelope.Claim
	if v.Claim != nil || json.Unmarshal(v.JSON, &claim) != nil || claim.SHA256 == "" || claim.Size < 0 || !claim.Is(x.Tenant, old.ID) {
		return a.copyValue(c, old, x, step, v)
	}
	copied, err := a.copyValue(c, old, x, step, envelope.Value{Claim: &claim})
	if problem.CodeOf(err) == problem.InvalidArgument {
		return v, nil // nothing of the old execution is there
	}
	if err != nil {
		return envelope.Value{}, err
	}
	text, err := json.Marshal(copied.Claim)
	return envelope.Value{JSON: text}, err //nolint:wrapcheck // texts and a number
}

func (a *API) copyInput(c *call, old, x *execution.Execution) (envelope.Value, error) {
	if old.Pipeline == "" {
		return a.copyCall(c, old, x)
	}
	stored, ok := a.storedInput(old)
	if !ok {
		return a.copyValue(c, old, x, "input", old.Input)
	}
	if err := c.memory.Take(c.Context(), stored.Size); err != nil {
		return envelope.Value{}, err //nolint:wrapcheck // a problem
	}
	defer c.memory.Give(stored.Size)
	claim, err := a.deps.Values.CopyRef(c.Context(), x.Tenant, old.ID, x.ID, "input", stored.Ref, stored.ContentType, stored.Size)
	if err != nil {
		return envelope.Value{}, err //nolint:wrapcheck // a problem
	}
	return start.Ref(claim)
}

// storedInput is where the body of a start lies that was no JSON.
func (a *API) storedInput(x *execution.Execution) (contract.Ref, bool) {
	var ref contract.Ref
	if x.Input.Claim != nil || json.Unmarshal(x.Input.JSON, &ref) != nil || ref.Size < 0 {
		return ref, false
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(ref.Ref, "s3://"), "/")
	return ref, strings.HasPrefix(ref.Ref, "s3://") && strings.HasPrefix(key, envelope.Payloads(x.Tenant, x.ID)+"input-")
}

func (a *API) copyValue(c *call, old, x *execution.Execution, name string, v envelope.Value) (envelope.Value, error) {
	if v.Claim == nil {
		return v, nil
	}
	if err := c.memory.Take(c.Context(), v.Claim.Size); err != nil {
		return envelope.Value{}, err //nolint:wrapcheck // a problem
	}
	defer c.memory.Give(v.Claim.Size)
	return a.deps.Values.Copy(c.Context(), x.Tenant, old.ID, x.ID, name, v) //nolint:wrapcheck // a problem
}
