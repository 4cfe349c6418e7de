package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

func write(w http.ResponseWriter, status int, media string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that is gone needs no error
}

// pipelineOf is a version as callers see it.
func pipelineOf(v *record.Version, labels map[string]string) contract.Pipeline {
	return contract.Pipeline{
		Name: v.Name, Version: v.Number, Digest: v.Digest, Default: v.Default, Shared: v.Owner == "", Labels: labels,
		CreatedAt: v.Created, DeprecatedAt: timeOf(v.DeprecatedAt), Definition: json.RawMessage(v.Canonical),
	}
}

// executionOf is an execution as lists have it.
func executionOf(x *execution.Execution, erased bool) contract.Execution {
	out := contract.Execution{
		ID: x.ID, Pipeline: nameOf(x.Pipeline), Version: x.Version, Status: contract.Status(x.Status), Priority: x.Priority,
		Error: problemOf(x.Error), Steps: make([]contract.Step, 0, len(x.Steps)), CreatedAt: x.Created, RunAt: timeOf(x.RunAt),
		StartedAt: timeOf(x.Started), FinishedAt: timeOf(x.Finished), Labels: x.Labels, ReplayOf: x.ReplayOf, From: x.From, Erased: erased,
	}
	if !x.RunAt.After(x.Created) {
		out.RunAt = nil // nobody asked for a later time
	}
	for i := range x.Steps {
		out.Steps = append(out.Steps, stepOf(&x.Steps[i]))
	}
	return out
}

func stepOf(s *execution.Step) contract.Step {
	out := contract.Step{
		Name: s.Name, Status: contract.Status(s.Status), Attempts: s.Attempts, Model: s.Model, Device: s.Device, ComputeMS: s.ComputeMS,
		StartedAt: timeOf(s.StartedAt), FinishedAt: timeOf(s.FinishedAt), Error: problemOf(s.Error),
	}
	if s.Join != "" && s.Status != execution.Queued {
		out.Items = &contract.Items{Total: s.Items}
	}
	return out
}

// largestShown is the most bytes of a value that an execution is shown with; a larger
// one has its place there, and GET …/result has the output.
const largestShown = 1 << 20

// whole is an execution with its input and its output.
func (a *API) whole(c *call, loaded *record.Loaded) contract.Execution {
	x := loaded.Execution
	out := executionOf(x, loaded.Erased)
	if loaded.Erased {
		return out
	}
	ctx := c.Context()
	if x.Pipeline == "" {
		out.Input, out.Output = callShown(x)
		return out
	}
	out.Input, out.InputRef = a.shown(c, x, x.Input)
	if x.Output != nil {
		out.Output, out.OutputRef = a.shown(c, x, *x.Output)
	}
	v, err := a.versionOf(ctx, loaded)
	if err != nil {
		a.deps.Logger.DebugContext(ctx, "an execution is shown without how far its items are", "execution", x.ID, "error", err)
		return out
	}
	for i, segment := range v.Plan.Segments {
		step := segment.Steps[0]
		if i < len(x.Segments) && step < len(out.Steps) && out.Steps[step].Items != nil {
			out.Steps[step].Items.Succeeded, out.Steps[step].Items.Failed = x.Segments[i].Done, x.Segments[i].Failed
		}
	}
	return out
}

// versionOf is the version that an execution is of.
func (a *API) versionOf(ctx context.Context, loaded *record.Loaded) (*decide.Version, error) {
	x := loaded.Execution
	return a.deps.Decider.Version(ctx, record.VersionID{Owner: loaded.Owner, Name: x.Pipeline, Number: x.Version}) //nolint:wrapcheck // it says what
}

// shown is a value, or where it lies.
func (a *API) shown(c *call, x *execution.Execution, v envelope.Value) (json.RawMessage, *contract.Ref) {
	if v.Claim == nil {
		return v.JSON, nil
	}
	at := &contract.Ref{Ref: v.Claim.Ref, ContentType: v.Claim.ContentType, Size: v.Claim.Size, SHA256: v.Claim.SHA256}
	if v.Claim.Size > largestShown || c.memory.TryTake(2*v.Claim.Size) != nil {
		return nil, at
	}
	text, err := a.deps.Values.Fetch(c.Context(), x.Tenant, x.ID, v)
	if err != nil || !json.Valid(text) {
		return nil, at
	}
	return text, nil
}

// problemOf is what failed as callers see it.
func problemOf(p *execution.Problem) *contract.Failure {
	if p == nil {
		return nil
	}
	out := &contract.Failure{Type: p.Type, Title: p.Title, Status: p.Status, Detail: p.Detail, Code: problem.Code(p.Code)}
	if out.Type == "" {
		out.Type = "about:blank"
	}
	return out
}

func deadLetterOf(d *record.DeadLetter) contract.DeadLetter {
	out := contract.DeadLetter{
		ID: d.ID, Execution: d.Execution, Pipeline: nameOf(d.Pipeline), Version: d.Version, Step: d.Step, Attempts: d.Attempts,
		Error: problemOf(&d.Error), CreatedAt: d.At, ReplayedBy: d.ReplayedBy,
	}
	if d.Item > 0 {
		out.Item = &d.Item
	}
	return out
}

func nameOf(pipeline string) *string {
	if pipeline == "" {
		return nil
	}
	return &pipeline
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
