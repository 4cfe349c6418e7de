package pipeline

import (
	"context"
	"net/http"
	"slices"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/internal/body"
	"github.com/modelserveai/modelserve/internal/document"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/schedule"
)

// definition reads the definition of a request, and decides whether its caller may have
// a pipeline that calls these functions. What they may not call is refused before it is
// looked at whether there is such a function, and nothing is sent to the service.
func (s *Service) definition(ctx context.Context, c *call.Call, r *http.Request) ([]byte, *definition.Definition, error) {
	text, err := body.Read(r, definition.MaxText)
	if err != nil {
		return nil, nil, err
	}
	d, err := definition.Parse(text)
	if err != nil {
		return nil, nil, document.Problem(err)
	}
	var functions []string
	for i := range d.Steps {
		if name := d.Steps[i].Function; name != "" {
			functions = append(functions, name)
		}
	}
	slices.Sort(functions)
	for _, name := range slices.Compact(functions) {
		if err := s.deps.Door.Decide(ctx, c, auth.Action{Verb: auth.DoInfer, On: name}); err != nil {
			return nil, nil, err
		}
	}
	if err := d.Check(ctx, s.deps.Functions); err != nil {
		return nil, nil, document.Problem(err)
	}
	return text, d, nil
}

// schedule reads the definition of a schedule, and decides whether its caller may run the
// pipeline.
func (s *Service) schedule(ctx context.Context, c *call.Call, r *http.Request) ([]byte, *schedule.Definition, error) {
	text, err := body.Read(r, schedule.MaxText)
	if err != nil {
		return nil, nil, err
	}
	d, err := schedule.ParseDefinition(text)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // a problem
	}
	if err := s.deps.Door.Decide(ctx, c, auth.Action{Verb: auth.DoRun, On: d.Pipeline}); err != nil {
		return nil, nil, err
	}
	return text, d, nil
}
