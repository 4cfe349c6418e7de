package v2

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/resolve"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// serverName and extensions are the server's metadata.
const serverName = "modelserve"

func extensions() []string {
	return []string{"binary_tensor_data", "model_repository", "model_configuration", "statistics", "schedule_policy"}
}

func (s *Service) serverMetadata(_ *call.Call, w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, map[string]any{
		"name": serverName, "version": s.Version, "extensions": extensions(),
	})
}

func (*Service) live(_ *call.Call, w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, map[string]any{"live": true})
}

func (s *Service) ready(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	if err := s.NotReady(r.Context(), c.Bound); err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"ready": true})
}

// NotReady is why the gateway, and at a function's host that one, would answer no
// call; nil if it would. Any key may ask, so the function's reason is left out.
func (s *Service) NotReady(ctx context.Context, bound *route.Bound) error {
	if s.Ready != nil {
		if err := s.Ready(ctx); err != nil {
			return problem.New(problem.Unavailable, "not ready: %w", problem.ForLog(err))
		}
	}
	if bound == nil {
		return nil
	}
	switch why := s.Resolver.Unavailable(ctx, bound, model.Ref{}); {
	case why == nil:
		return nil
	case bound.Function.State == route.StateFailed:
		return problem.New(problem.Unavailable, "not ready: the function cannot start")
	case bound.Function.Starting != "":
		return problem.New(problem.Unavailable, "not ready: the function is starting").WithRetryAfter(time.Second)
	default:
		return problem.New(problem.Unavailable, "not ready: the function is at zero, and its model cannot be fetched").WithRetryAfter(time.Second)
	}
}

// metadataTensor and metadata are the protocol's $metadata_model_response.
type metadataTensor struct {
	Name     string         `json:"name"`
	DataType infer.DataType `json:"datatype"`
	Shape    []int64        `json:"shape"`
}

type metadata struct {
	Name     string           `json:"name"`
	Versions []string         `json:"versions"`
	Platform string           `json:"platform"`
	Inputs   []metadataTensor `json:"inputs"`
	Outputs  []metadataTensor `json:"outputs"`

	Parameters map[string]string `json:"parameters"` // ours: which version this is
}

func (s *Service) modelMetadata(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	m, err := s.describe(r.Context(), c, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	return writeJSON(w, m)
}

// describe describes a model by its manifest.
func (s *Service) describe(ctx context.Context, c *call.Call, name, version string) (*metadata, error) {
	found, err := s.Door.Find(ctx, c, door.Ask{Verb: auth.DoRead, Model: name, Version: version})
	if err != nil {
		return nil, err
	}
	model, err := s.Manifests.Model(ctx, found.Ref.Name, found.Ref.Version)
	if err != nil {
		return nil, err
	}
	versions, err := s.Resolver.Versions(ctx, c.Bound, found.Ref.Name)
	if err != nil {
		return nil, err
	}
	m := &metadata{
		Name: found.Ref.Name, Platform: model.Platform,
		Inputs: tensors(model.Signature.Inputs), Outputs: tensors(model.Signature.Outputs),
		Parameters: map[string]string{"version": strconv.Itoa(found.Ref.Version), "digest": model.Digest},
	}
	for _, v := range versions {
		m.Versions = append(m.Versions, strconv.Itoa(v))
	}
	return m, nil
}

func tensors(specs []infer.TensorSpec) []metadataTensor {
	list := make([]metadataTensor, 0, len(specs))
	for _, s := range specs {
		list = append(list, metadataTensor{s.Name, s.DataType, s.Described()})
	}
	return list
}

func (s *Service) modelReady(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	name, why, err := s.readiness(r.Context(), c, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	if why != nil {
		return why
	}
	return writeJSON(w, map[string]any{"name": name, "ready": true})
}

// readiness is why a call to a model would not be answered, nil if it would. It
// wakes nothing: a model at zero is ready.
func (s *Service) readiness(ctx context.Context, c *call.Call, name, version string) (model string, why *problem.Error, err error) {
	found, err := s.Door.Find(ctx, c, door.Ask{Verb: auth.DoRead, Model: name, Version: version})
	if c.Bound != nil && problem.CodeOf(err) == problem.Unavailable {
		if why = s.Resolver.Ready(ctx, c.Bound, resolve.Version{}); why != nil { // what it serves is not known yet
			return name, why, nil
		}
	}
	if err != nil {
		return "", nil, err
	}
	return found.Ref.Name, s.Resolver.Ready(ctx, c.Bound, found), nil
}
