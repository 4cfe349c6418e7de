package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/charge"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/outside"
	"github.com/modelserveai/modelserve/problem"
)

// call calls a step that is not ours, once, with a CloudEvent whose data is the step's
// input, and has the answer decided on as one of ours would be. The URL gets no ticket.
func (d *Dispatcher) call(ctx context.Context, m *message) {
	began := time.Now().UTC()
	calling, cancel := context.WithTimeout(ctx, m.version.Plan.Step(m.branch.Segment, m.branch.Step).Timeout)
	defer cancel()
	var value envelope.Value
	var record envelope.Record
	var failure *execution.Failure
	switch {
	case m.execution.Pipeline != "":
		value, failure = d.ask(calling, m)
	case d.Calls != nil:
		value, record, failure = d.Calls.Call(calling, m.execution, m.branch.Epoch)
		d.charge(m, record, failure)
	default:
		failure = failed(problem.New(problem.Unimplemented, "this platform makes no calls that are answered later"))
	}
	switch {
	case failure != nil && ctx.Err() != nil && !errors.Is(context.Cause(ctx), errStopping):
		return // nobody waits for it any more, or its lease runs out
	case failure != nil:
		d.failed(ctx, m, failure)
		return
	}
	size := int64(len(value.JSON))
	if value.Claim != nil {
		size = value.Claim.Size
	}
	answer := m.answer()
	answer.Values = map[string]envelope.Value{m.step: value}
	record.Step, record.Epoch, record.StartedAt, record.FinishedAt, record.Size = m.step, m.branch.Epoch, began, time.Now().UTC(), size
	answer.Records = []envelope.Record{record}
	d.insist(ctx, m, func(ctx context.Context, s *decide.State) (execution.Change, error) {
		return s.Version.Machine.Answered(s.Execution, s.Branches, answer, s.Evaluator(ctx, &answer), s.Now)
	})
}

// charge charges for a call that was answered, whether or not its answer still counts. Its
// request was counted when it was accepted, so that it fails once: with its last try. That
// of a replay was not, as what the gateway counts then is of no model: its last try does.
func (d *Dispatcher) charge(m *message, record envelope.Record, failure *execution.Failure) {
	if d.Charges == nil || record == (envelope.Record{}) || failure != nil && charge.Free(problem.Code(failure.Problem.Code)) {
		return
	}
	model, _, _ := strings.Cut(record.Model, "@")
	over := failure == nil || d.last(m, failure)
	d.Charges.Charge(charge.Took{
		Tenant: m.tenant, Model: model, Counted: m.execution.ReplayOf == "" || !over, Failed: failure != nil && over, Rows: record.Rows, ComputeMS: record.ComputeMS,
	})
}

// last reports whether a failure is not tried again.
func (d *Dispatcher) last(m *message, failure *execution.Failure) bool {
	switch failure.Verdict() {
	case execution.Retry:
		return m.branch.Attempts+1 >= m.version.Plan.Step(m.branch.Segment, m.branch.Step).Retry.Attempts
	case execution.Break:
		return m.branch.Breaks >= execution.MaxBreaks
	default:
		return true
	}
}

// ask calls the URL, and keeps what it answers.
func (d *Dispatcher) ask(ctx context.Context, m *message) (envelope.Value, *execution.Failure) {
	if d.Outside == nil {
		return envelope.Value{}, failed(problem.New(problem.PermissionDenied, "this platform calls no URLs"))
	}
	h := http.Header{}
	x, b := m.execution, m.branch
	for name, value := range x.Headers {
		h.Set(name, value)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json, */*;q=0.5")
	h.Set("Idempotency-Key", fmt.Sprintf("%s.%s.%d", x.ID, m.step, b.Item)) // of every attempt
	h.Set("Ce-Specversion", "1.0")
	h.Set("Ce-Id", envelope.ID(x.ID, m.step, b.Item, b.Epoch))
	h.Set("Ce-Type", envelope.RequestedType)
	h.Set("Ce-Source", envelope.RequestedSource(x.Pipeline))
	h.Set("Ce-"+envelope.ExecutionID, x.ID)
	h.Set("Ce-"+envelope.Pipeline, x.Pipeline)
	h.Set("Ce-"+envelope.Step, m.step)
	h.Set("Ce-"+envelope.Attempt, strconv.Itoa(b.Epoch))
	if x.Traceparent != "" {
		h.Set("Traceparent", x.Traceparent)
	}
	answer, err := d.Outside.Post(ctx, m.tenant, m.url, h, m.data)
	var known *problem.Error
	switch {
	case errors.Is(err, outside.ErrRefused):
		return envelope.Value{}, failed(problem.New(problem.PermissionDenied, "the step's URL leads to an address that is not public, and in none of the networks that the operator allows"))
	case errors.Is(err, outside.ErrTooLarge):
		return envelope.Value{}, failed(problem.New(problem.PayloadTooLarge, "the step's URL: %v", err))
	case errors.Is(err, context.DeadlineExceeded):
		return envelope.Value{}, failed(problem.New(problem.DeadlineExceeded, "the step's URL did not answer within the step's timeout"))
	case errors.As(err, &known):
		return envelope.Value{}, failed(known)
	case err != nil:
		return envelope.Value{}, broken("the connection to the step's URL broke, or was not made")
	}
	defer answer.Close()
	if answer.Status < 200 || answer.Status > 299 {
		return envelope.Value{}, refused(answer)
	}
	value, err := d.keep(ctx, m, answer)
	if err != nil {
		return envelope.Value{}, failed(err)
	}
	return value, nil
}

// keep is an answer as a step's output: JSON as it is, null of an empty one, and else
// what is stored of it.
func (d *Dispatcher) keep(ctx context.Context, m *message, answer *outside.Answer) (envelope.Value, error) {
	media, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case len(answer.Body) == 0:
		return envelope.Value{JSON: json.RawMessage("null")}, nil
	case err == nil && (media == "application/json" || strings.HasSuffix(media, "+json")):
		return d.Values.Keep(ctx, m.tenant, m.execution.ID, m.step, answer.Body)
	case err != nil:
		media = "application/octet-stream"
	}
	claim, err := d.Values.Store(ctx, m.tenant, m.execution.ID, m.step, media, answer.Body)
	if err != nil {
		return envelope.Value{}, err
	}
	text, err := json.Marshal(claim)
	return envelope.Value{JSON: text}, err
}

// maxSaid bounds what is kept of a failing answer that is no problem object, in bytes.
const maxSaid = 700

// failed is an error as a failure of the step.
func failed(err error) *execution.Failure {
	p := execution.Of(err)
	return &execution.Failure{Status: p.Status, Problem: p}
}

// refused is a failing answer of a URL: its problem object, or else the beginning of what
// it says, where that is text. What a damaged event is, is the platform's to say.
func refused(answer *outside.Answer) *execution.Failure {
	f := &execution.Failure{Status: answer.Status}
	media, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	var p execution.Problem
	switch {
	case answer.Status >= 300 && answer.Status <= 399:
		f.Problem = execution.Problem{Title: http.StatusText(answer.Status), Detail: "the step's URL answered with a redirect, which is not followed: name the URL where it leads"}
	case err == nil && media == "application/problem+json" && json.Unmarshal(answer.Body, &p) == nil:
		if p.Code == execution.EventDamaged {
			p.Code = ""
		}
		p.Status = 0 // the answer's own
		f.Problem = p
	case err == nil && (media == "application/json" || strings.HasSuffix(media, "+json") || strings.HasPrefix(media, "text/")) && len(bytes.TrimSpace(answer.Body)) > 0:
		said := bytes.TrimSpace(answer.Body)
		f.Problem = execution.Problem{Title: http.StatusText(answer.Status), Detail: "the step's URL answered: " + string(said[:min(len(said), maxSaid)])}
	}
	after := answer.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(after, 10, 31); err == nil {
		f.RetryAfter = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(after); err == nil {
		f.RetryAfter = max(time.Until(at), 0)
	}
	return f
}
