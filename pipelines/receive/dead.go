package receive

import (
	"context"
	"encoding/base64"
	"net/url"
	"strconv"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/problem"
)

// The extensions that Knative adds to an event which it could not deliver
// (https://knative.dev/docs/eventing/event-delivery/).
const (
	errorDestination = "knativeerrordest"
	errorCode        = "knativeerrorcode"
	errorData        = "knativeerrordata"
)

// dead takes an event that a step did not take, as it went to the step.
func (r *Receiver) dead(ctx context.Context, a *arrival) error {
	f := a.failure()
	return r.settle(ctx, a, func(s *decide.State) (execution.Change, error) {
		if a.envelope != nil {
			if first := s.First(a.branch(), a.envelope); first != "" {
				f.Step = first
			}
		}
		return s.Version.Machine.Failed(s.Execution, s.Branches, f, s.Evaluator(ctx, &f.Answer), s.Now)
	})
}

// failure is what the dead letter says of the failure.
func (a *arrival) failure() execution.Failure {
	if a.damage != nil {
		return a.damaged()
	}
	f := execution.Failure{Answer: a.answer(), Transport: true}
	if !isStep(extension(a.header, errorDestination)) {
		// The step answered, and its answer did not get to the next channel or to this
		// service: nothing is known of the step to be wrong.
		f.Problem = execution.Of(problem.New(problem.BadGateway, "the answer of the step could not be delivered"))
		return f
	}
	if code, err := strconv.Atoi(extension(a.header, errorCode)); err == nil && code > 0 { // Knative writes -1 where nothing answered
		f.Status = code
	}
	text, err := base64.StdEncoding.DecodeString(extension(a.header, errorData))
	if err != nil {
		return f
	}
	if e, step, ok := problem.ParseStep(text); ok {
		f.Transport, f.Step, f.Problem, f.RetryAfter = false, step.Name, execution.Of(e), e.RetryAfter
		a.failed = &failed{step, e.Code}
	}
	return f
}

// isStep reports whether a destination is the address of a step, and not a channel or
// this service.
func isStep(destination string) bool {
	u, err := url.Parse(destination)
	return err == nil && ticket.HasPlan(u.Query())
}
