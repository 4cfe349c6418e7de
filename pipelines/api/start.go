package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/start"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

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
	v, err := a.starter.Version(ctx, c.tenant, c.PathValue("name"), number)
	if err == nil {
		err = a.starter.Room(ctx, c.tenant)
	}
	if err != nil && of.key == "" {
		return err //nolint:wrapcheck // a problem
	}
	in, bad := a.readInput(ctx, c)
	if bad != nil {
		return bad
	}
	var key *record.Key
	if of.key != "" {
		key = &record.Key{Text: of.key, Body: in.Hash()}
	}
	if err != nil { // a start that is repeated gets its execution nevertheless
		known, failed := a.starter.Known(ctx, c.tenant, c.PathValue("name"), key)
		switch {
		case failed != nil:
			return failed //nolint:wrapcheck // a problem
		case known != nil:
			return a.begun(w, c, known, of.wait)
		}
		return err //nolint:wrapcheck // a problem
	}
	accepted, err := a.starter.Start(ctx, v, &start.Request{
		Tenant: c.tenant, Input: in, Header: c.Header, Labels: of.labels, Priority: of.priority, RunAt: of.runAt, Key: key,
	}, now)
	if err != nil {
		return err //nolint:wrapcheck // a problem
	}
	return a.begun(w, c, accepted.Loaded, of.wait)
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
