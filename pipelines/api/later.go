package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/calls"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/start"
	"github.com/modelserveai/modelserve/problem"
)

// later is POST /v1/calls, of the gateway alone: a call that is answered later, as it came
// and where it goes.
func (a *API) later(w http.ResponseWriter, c *call) error {
	ctx, now := c.Context(), time.Now()
	order, err := calls.ParseOrder(c.Header.Get(contract.CallHeader))
	if err != nil {
		return err //nolint:wrapcheck // a problem
	}
	key, err := idempotencyKey(c.Header)
	if err != nil {
		return err
	}
	media := c.Header.Get("Content-Type")
	if media == "" || len(media) > maxMedia {
		media = "application/octet-stream"
	}
	body, err := c.readBody(ctx, a.cfg.MaxBody)
	if err != nil {
		return err
	}
	var idempotency *record.Key
	if key != "" {
		in := start.Input{Media: order.Method + " " + order.Host + order.Path + " " + media, Body: body}
		idempotency = &record.Key{Text: key, Body: in.Hash()}
		switch known, err := a.starter.Known(ctx, c.tenant, "", idempotency); {
		case err != nil:
			return err
		case known != nil:
			return a.acceptedCall(w, c, known)
		}
	}
	v, err := a.deps.Decider.Version(ctx, record.VersionID{})
	if err != nil {
		return err //nolint:wrapcheck // it says what
	}
	if err := a.starter.Room(ctx, c.tenant); err != nil {
		return err
	}
	x := start.NewExecution(v, c.tenant, c.Header.Get("Traceparent"), now)
	request := &calls.Request{Order: *order, Header: calls.KeptOfRequest(c.Header)}
	if request.Body, err = a.deps.Values.Store(ctx, c.tenant, x.ID, "request", media, body); err != nil {
		return err //nolint:wrapcheck // a problem
	}
	if x.Input, err = request.Value(); err != nil {
		return err //nolint:wrapcheck // a problem
	}
	acceptance := start.Of(v, x)
	acceptance.Change = v.Machine.Accept(x, now)
	acceptance.Key = idempotency
	accepted, err := a.starter.Accept(ctx, acceptance)
	if err != nil {
		return err
	}
	return a.acceptedCall(w, c, accepted.Loaded)
}

// acceptedCall answers with the execution of a call.
func (a *API) acceptedCall(w http.ResponseWriter, c *call, l *record.Loaded) error {
	w.Header().Set(contract.PreferenceAppliedHeader, "respond-async")
	w.Header().Set("Location", contract.PathOf(contract.ExecutionPath, l.Execution.ID))
	return writeJSON(w, http.StatusAccepted, a.whole(c, l))
}

// callShown is what callers see of a call's request and answer.
func callShown(x *execution.Execution) (in, out json.RawMessage) {
	if request, err := calls.Of(x.Input); err == nil {
		in, _ = json.Marshal(request.Shown()) // texts and a number
	}
	var answer calls.Answer
	if x.Output != nil && json.Unmarshal(x.Output.JSON, &answer) == nil && answer.Body != nil {
		out, _ = json.Marshal(struct {
			Status int `json:"status"`
			contract.Ref
		}{answer.Status, contract.Ref{Ref: answer.Body.Ref, ContentType: answer.Body.ContentType, Size: answer.Body.Size}})
	}
	return in, out
}

// callResult answers with what the call itself would have had: the last answer that there
// was of it, also where it is an error.
func (a *API) callResult(w http.ResponseWriter, c *call, x *execution.Execution) error {
	var text json.RawMessage
	if x.Output != nil {
		text = x.Output.JSON
	} else {
		last, err := a.deps.Values.Last(c.Context(), x.Tenant, x.ID, calls.FailureName)
		if err != nil {
			return err //nolint:wrapcheck // a problem
		}
		text = last
	}
	var answer calls.Answer
	if len(text) == 0 || json.Unmarshal(text, &answer) != nil || answer.Body == nil {
		return a.neverAnswered(w, x)
	}
	if err := c.memory.Take(c.Context(), answer.Body.Size); err != nil {
		return err //nolint:wrapcheck // a problem
	}
	body, err := a.deps.Values.Fetch(c.Context(), x.Tenant, x.ID, envelope.Value{Claim: answer.Body})
	if err != nil {
		return unread(err)
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	write(w, answer.Status, answer.Body.ContentType, body)
	return nil
}

// neverAnswered is the error of a call that no function answered, in the form in which
// that URL has its errors.
func (a *API) neverAnswered(w http.ResponseWriter, x *execution.Execution) error {
	err := failedWith(x.Error)
	if request, bad := calls.Of(x.Input); bad == nil && (request.Path == "/v2" || strings.HasPrefix(request.Path, "/v2/")) {
		problem.WriteV2(w, err)
		return nil
	}
	return err
}

// copyCall is a call's request as another execution's own.
func (a *API) copyCall(c *call, old, x *execution.Execution) (envelope.Value, error) {
	request, err := calls.Of(old.Input)
	if err != nil {
		return envelope.Value{}, err //nolint:wrapcheck // it says what
	}
	copied, err := a.copyValue(c, old, x, "request", envelope.Value{Claim: request.Body})
	if err != nil {
		return envelope.Value{}, err
	}
	request.Body = copied.Claim
	return request.Value() //nolint:wrapcheck // a problem
}
