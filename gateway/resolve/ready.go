package resolve

import (
	"context"
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
)

// Answered notes that a target answered, with these headers.
func (r *Resolver) Answered(t *call.Target, h http.Header) {
	if t.Ref != (model.Ref{}) {
		r.failures.answered(t, h)
	}
}

// Failed notes that a target did not answer, since its version does not load.
func (r *Resolver) Failed(t *call.Target, reason string) {
	if t.Ref != (model.Ref{}) {
		r.failures.failed(t, reason)
	}
}

// Ready is why a call for a version would not be answered, as far as is known; nil
// if nothing is known against it. It wakes nothing: a function at zero is ready.
func (r *Resolver) Ready(ctx context.Context, bound *route.Bound, v Version) *problem.Error {
	ref := v.Ref
	if bound == nil {
		if bound = r.routes.Model(ref); bound != nil && bound.Function.Pool && !v.Chosen {
			ref = r.failures.answering(ref)
		}
	}
	return r.Unavailable(ctx, bound, ref)
}

// Unavailable is why a call for a version would fail at the function it goes to,
// as far as is known; nil if nothing is known against it.
func (r *Resolver) Unavailable(ctx context.Context, at *route.Bound, ref model.Ref) *problem.Error {
	switch {
	case at == nil:
		return problem.New(problem.ModelUnavailable, "no function serves it and there is no pool")
	case at.Function.State == route.StateFailed:
		return problem.New(problem.ModelUnavailable, "%s", at.Function.Reason)
	case at.Function.Starting != "":
		return problem.New(problem.ModelUnavailable, "%s", at.Function.Starting).WithRetryAfter(time.Second)
	}
	if reason := r.failures.reason(ref); reason != "" {
		return problem.New(problem.ModelUnavailable, "%s", reason)
	}
	if at.Function.State == route.StateIdle {
		if err := r.catalog.Fault(ctx); err != nil {
			return problem.New(problem.ModelUnavailable, "the function is at zero, and its model cannot be fetched: %w", err).WithRetryAfter(time.Second)
		}
	}
	return nil
}
