// Package pipeline is the gateway's side of /v1/pipelines, /v1/executions,
// /v1/dead-letters and /v1/schedules: it decides whether the caller may, checks the functions that a
// definition names, enters changes in the audit log, and forwards the request to the
// pipelines service, which does the rest. It describes these URLs in the OpenAPI
// document.
//
// It stores nothing, and knows nothing of executions: what parameters and bodies are
// taken is the service's to say (package pipelines/api).
package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/pipelines/definition"
)

// Deps are what the URLs of pipelines work with. Those without a note are required.
type Deps struct {
	// Service reaches the pipelines service, whose address URL is. In the local platform
	// it is a handler of the same process.
	Service http.RoundTripper
	URL     *url.URL

	// Secret shows the service that a request comes from the gateway; "" where the
	// transport does.
	Secret string

	Door      Door
	Functions definition.Functions // which there are: of all tenants the same
	Audit     Audit                // of changes
	Proxy     *forward.Proxy
	Logger    *slog.Logger
}

// Door decides who the caller of a call is, and what they may do: a door.Door.
type Door interface {
	// Identify finds out who makes a call.
	Identify(ctx context.Context, c *call.Call) error

	// Decide returns nil, or problem.PermissionDenied.
	Decide(ctx context.Context, c *call.Call, a auth.Action) error

	// May reports the same of what is not refused, but ended.
	May(ctx context.Context, c *call.Call, a auth.Action) bool
}

// Audit is where changes are entered: an audit.Store.
type Audit interface {
	// Append adds entries to the chains of their tenants, in one transaction.
	Append(ctx context.Context, entries []audit.Entry) error
}

// Service is the pipelines service, as the gateway's callers have it.
type Service struct{ deps Deps }

// New makes a Service.
func New(deps Deps) (*Service, error) {
	if deps.Service == nil || deps.URL == nil || deps.Door == nil || deps.Functions == nil || deps.Audit == nil || deps.Proxy == nil || deps.Logger == nil {
		return nil, errors.New("pipeline: expected Deps.Service, URL, Door, Functions, Audit, Proxy and Logger")
	}
	return &Service{deps}, nil
}
