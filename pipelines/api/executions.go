package api

import (
	"errors"
	"net/http"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/problem"
)

func (a *API) listExecutions(w http.ResponseWriter, c *call) error {
	limit, after, err := c.query.page()
	if err != nil {
		return err
	}
	q := record.Query{Tenant: c.tenant, After: after, Limit: limit}
	if len(c.query[contract.ParamPipeline]) > 0 {
		name, err := c.query.name(contract.ParamPipeline)
		if err != nil {
			return err
		}
		q.Pipeline = &name
	}
	if len(c.query[contract.ParamStatus]) > 0 {
		if q.Status, err = statusOf(c.query.text(contract.ParamStatus)); err != nil {
			return err
		}
	}
	if q.Labels, err = c.query.labels(); err != nil {
		return err
	}
	page, err := a.deps.Store.List(c.Context(), q)
	if err != nil {
		return err //nolint:wrapcheck // serve does
	}
	out := contract.Executions{Executions: make([]contract.Execution, 0, len(page.Executions)), NextCursor: page.Next.String()}
	for _, x := range page.Executions {
		out.Executions = append(out.Executions, executionOf(x, false))
	}
	return writeJSON(w, http.StatusOK, out)
}

func statusOf(text string) (execution.Status, error) {
	for _, status := range contract.Statuses() {
		if text == string(status) {
			return execution.Status(status), nil
		}
	}
	return "", problem.Invalid(contract.ParamStatus, "expected queued, running, succeeded, failed or cancelled")
}

// get is the execution that a request is for.
func (a *API) get(c *call) (*record.Loaded, error) {
	return a.deps.Store.Get(c.Context(), c.tenant, c.PathValue("id")) //nolint:wrapcheck // serve does
}

func (a *API) showExecution(w http.ResponseWriter, c *call) error {
	loaded, err := a.get(c)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, a.whole(c, loaded))
}

// cancel is POST /v1/executions/{id}/cancel. One that has ended stays as it is.
func (a *API) cancel(w http.ResponseWriter, c *call) error {
	loaded, err := a.get(c)
	if err != nil {
		return err
	}
	if !loaded.Execution.Status.Ended() {
		err := a.deps.Decider.Cancel(c.Context(), c.tenant, loaded.Execution.ID)
		if err != nil && problem.CodeOf(err) != problem.Conflict { // it ended meanwhile
			return err //nolint:wrapcheck // serve does
		}
		if loaded, err = a.get(c); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, a.whole(c, loaded))
}

// eraseExecution is DELETE /v1/executions/{id}: the payloads first, so that none stays of
// which nobody knows.
func (a *API) eraseExecution(w http.ResponseWriter, c *call) error {
	loaded, err := a.get(c)
	if err != nil {
		return err
	}
	x := loaded.Execution
	if !x.Status.Ended() {
		return problem.New(problem.Conflict, "the execution has not ended: cancel it first")
	}
	if err := a.deps.Values.Erase(c.Context(), c.tenant, x.ID); err != nil && !errors.Is(err, values.ErrMissing) {
		return err //nolint:wrapcheck // a problem
	}
	if err := a.deps.Store.Delete(c.Context(), c.tenant, x.ID); err != nil {
		return err //nolint:wrapcheck // serve does
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// result is GET /v1/executions/{id}/result: the output alone.
func (a *API) result(w http.ResponseWriter, c *call) error {
	loaded, err := a.get(c)
	if err != nil {
		return err
	}
	x := loaded.Execution
	switch {
	case !x.Status.Ended():
		w.Header().Set("Retry-After", "1")
		w.Header().Set("Location", contract.PathOf(contract.ExecutionPath, x.ID))
		return writeJSON(w, http.StatusAccepted, executionOf(x, false))
	case loaded.Erased:
		return errNoPayload()
	case x.Pipeline == "" && x.Status != execution.Cancelled:
		return a.callResult(w, c, x)
	case x.Status == execution.Cancelled:
		return problem.New(problem.Conflict, "the execution was cancelled: it has no result")
	case x.Status == execution.Failed:
		return failedWith(x.Error)
	case x.Output == nil:
		write(w, http.StatusOK, jsonType, []byte("null"))
		return nil
	}
	if claim := x.Output.Claim; claim != nil {
		if err := c.memory.Take(c.Context(), 2*claim.Size); err != nil {
			return err //nolint:wrapcheck // a problem
		}
	}
	text, err := a.deps.Values.Fetch(c.Context(), c.tenant, x.ID, *x.Output)
	if err != nil {
		return unread(err)
	}
	write(w, http.StatusOK, jsonType, text)
	return nil
}

func errNoPayload() error {
	return problem.New(problem.NotFound, "the execution's payloads were erased")
}

// unread is why a result cannot be read, which is never its caller's fault: it is erased
// since the row was looked at, or not what it was.
func unread(err error) error {
	switch {
	case errors.Is(err, values.ErrMissing):
		return errNoPayload()
	case problem.CodeOf(err) == problem.InvalidArgument:
		return problem.New(problem.Internal, "the output that is stored is not what it was: %w", problem.ForLog(err))
	}
	return err
}

// failedWith is the error of an execution that failed, with its own status where its code
// is one that there is.
func failedWith(p *execution.Problem) error {
	if p == nil {
		return problem.New(problem.Internal, "the execution failed")
	}
	code := problem.Code(p.Code)
	if !code.Known() {
		code = problem.BadGateway
	}
	return &problem.Error{Code: code, Detail: p.Detail}
}
