package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// serverName and extensions are the server's metadata.
const serverName = "modelserve"

func extensions() []string {
	return []string{"binary_tensor_data", "model_repository", "model_configuration", "statistics", "schedule_policy"}
}

// modelPlatform is what a manifest that does not say is for.
const modelPlatform = "onnxruntime_onnx"

func (g *gateway) serverMetadata(c *call) error {
	return writeJSON(c.w, http.StatusOK, map[string]any{
		"name": serverName, "version": g.config.Version, "extensions": extensions(),
	})
}

func (g *gateway) live(c *call) error {
	return writeJSON(c.w, http.StatusOK, map[string]any{"live": true})
}

func (g *gateway) ready(c *call) error {
	if err := g.isReady(c.r.Context(), c.bound); err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, map[string]any{"ready": true})
}

// isReady tells why the gateway, and at a function's host that one, would answer
// no call. Any key may ask, so the function's reason is not told.
func (g *gateway) isReady(ctx context.Context, bound *route.Bound) error {
	if g.deps.Ready != nil {
		if err := g.deps.Ready(ctx); err != nil {
			return problem.New(problem.Unavailable, "not ready: %w", unspoken{err})
		}
	}
	switch {
	case bound == nil:
		return nil
	case bound.Function.State == route.StateFailed:
		return problem.New(problem.Unavailable, "not ready: the function cannot start")
	case bound.Function.Starting != "":
		return problem.New(problem.Unavailable, "not ready: the function is starting").WithRetryAfter(time.Second)
	case bound.Function.State == route.StateIdle && g.deps.Catalog.Fault(ctx) != nil:
		return problem.New(problem.Unavailable, "not ready: the function is at zero, and its model cannot be fetched").WithRetryAfter(time.Second)
	default:
		return nil
	}
}

func (g *gateway) healthz(c *call) error {
	return writeJSON(c.w, http.StatusOK, map[string]any{"status": "ok"})
}

func (g *gateway) readyz(c *call) error {
	if err := g.isReady(c.r.Context(), nil); err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, map[string]any{"status": "ready"})
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

func (g *gateway) modelMetadata(c *call) error {
	m, err := g.describe(c.r.Context(), c.bound, c.param("model"), c.param("version"))
	if err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, m)
}

// describe tells of a model from its manifest.
func (g *gateway) describe(ctx context.Context, bound *route.Bound, name, version string) (*metadata, error) {
	found, err := g.locate(ctx, auth.DoRead, bound, name, version)
	if err != nil {
		return nil, err
	}
	model, err := g.deps.Catalog.Model(ctx, found.Name, found.Version)
	if err != nil {
		return nil, err
	}
	versions, err := g.versions(ctx, bound, found.Name)
	if err != nil {
		return nil, err
	}
	m := &metadata{
		Name: found.Name, Platform: model.Platform,
		Inputs: tensors(model.Signature.Inputs), Outputs: tensors(model.Signature.Outputs),
		Parameters: map[string]string{"version": strconv.Itoa(found.Version), "digest": model.Digest},
	}
	setDefault(&m.Platform, modelPlatform)
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

// versions lists what can be called under a name: the function's own by host,
// every published one elsewhere.
func (g *gateway) versions(ctx context.Context, bound *route.Bound, name string) ([]int, error) {
	if bound == nil {
		return g.deps.Catalog.Versions(ctx, name)
	}
	return bound.Versions(name), nil
}

func (g *gateway) modelReady(c *call) error {
	name, why, err := g.readiness(c.r.Context(), c.bound, c.param("model"), c.param("version"))
	if err != nil {
		return err
	}
	if why != nil {
		return why
	}
	return writeJSON(c.w, http.StatusOK, map[string]any{"name": name, "ready": true})
}

// readiness tells why a call to a model would not be answered, nil if it would.
// It wakes nothing: a model at zero is ready.
func (g *gateway) readiness(ctx context.Context, bound *route.Bound, name, version string) (model string, why *problem.Error, err error) {
	found, err := g.locate(ctx, auth.DoRead, bound, name, version)
	if bound != nil && problem.CodeOf(err) == problem.Unavailable {
		if why = g.unavailable(ctx, bound, route.Pin{}); why != nil { // it does not say yet what it serves
			return name, why, nil
		}
	}
	if err != nil {
		return "", nil, err
	}
	if bound == nil {
		if bound = g.deps.Routes.Model(found.Pin); bound != nil && bound.Function.Pool && !found.chosen {
			found.Pin = g.failures.answering(found.Pin)
		}
	}
	return found.Name, g.unavailable(ctx, bound, found.Pin), nil
}

// unavailable is why a call to a version would fail at the function it goes to,
// as far as is known; nil if nothing speaks against it.
func (g *gateway) unavailable(ctx context.Context, at *route.Bound, pin route.Pin) *problem.Error {
	switch {
	case at == nil:
		return problem.New(problem.ModelUnavailable, "no function serves it and there is no pool")
	case at.Function.State == route.StateFailed:
		return problem.New(problem.ModelUnavailable, "%s", at.Function.Reason)
	case at.Function.Starting != "":
		return problem.New(problem.ModelUnavailable, "%s", at.Function.Starting).WithRetryAfter(time.Second)
	}
	if reason := g.failures.reason(pin); reason != "" {
		return problem.New(problem.ModelUnavailable, "%s", reason)
	}
	if at.Function.State == route.StateIdle {
		if err := g.deps.Catalog.Fault(ctx); err != nil {
			return problem.New(problem.ModelUnavailable, "the function is at zero, and its model cannot be fetched: %w", err).WithRetryAfter(time.Second)
		}
	}
	return nil
}

// indexRow is one row of the repository index.
type indexRow struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
}

// indexParallel bounds the catalog's work for one index.
const indexParallel = 8

func (g *gateway) index(c *call) error {
	body, err := readControl(c.r, infer.MaxControl)
	if err != nil {
		return err
	}
	onlyReady, err := infer.DecodeIndexRequest(body)
	if err != nil {
		return err
	}
	rows, err := g.repositoryIndex(c.r.Context(), c.bound, onlyReady)
	if err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, rows)
}

// repositoryIndex lists every version the caller may see, by name, newest
// first.
func (g *gateway) repositoryIndex(ctx context.Context, bound *route.Bound, onlyReady bool) ([]indexRow, error) {
	names, err := g.visible(ctx, bound)
	if err != nil {
		return nil, err
	}
	found := make([][]int, len(names))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(indexParallel)
	for i, name := range names {
		group.Go(func() (err error) {
			found[i], err = g.versions(groupCtx, bound, name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	rows := []indexRow{}
	for i, name := range names {
		for _, version := range found[i] {
			row := indexRow{Name: name, Version: strconv.Itoa(version), State: "READY"}
			pin := route.Pin{Name: name, Version: version}
			at := bound
			if at == nil {
				at = g.deps.Routes.Model(pin)
			}
			if why := g.unavailable(ctx, at, pin); why != nil {
				row.State, row.Reason = "UNAVAILABLE", why.Detail
			}
			if !onlyReady || row.State == "READY" {
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

// visible lists the models of a host, or all, that the caller may read.
func (g *gateway) visible(ctx context.Context, bound *route.Bound) ([]string, error) {
	var names []string
	if bound != nil {
		seen := map[string]bool{}
		for _, pin := range bound.Pins() {
			if !seen[pin.Name] {
				names = append(names, pin.Name)
			}
			seen[pin.Name] = true
		}
	} else {
		var err error
		if names, err = g.deps.Catalog.Names(ctx); err != nil {
			return nil, err
		}
	}
	var mine []string
	for _, name := range names {
		if g.authorizer.Authorize(ctx, auth.PrincipalOf(ctx), auth.Action{Verb: auth.DoRead, On: name}) == nil {
			mine = append(mine, name)
		}
	}
	return mine, nil
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // a caller that is gone needs no error
	return nil
}
