// Package gateway is the entrance: it identifies callers, decides what they may
// do, finds the function a request is for and forwards the request.
//
// It answers by itself what published manifests hold (metadata, readiness, the
// index), so that asking wakes nothing. It runs no model, keeps no model's
// bytes, and does not start functions: the transport it is given does.
package gateway

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/gateway/pipeline"
	"github.com/modelserveai/modelserve/gateway/resolve"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/gateway/usage"
	v2 "github.com/modelserveai/modelserve/gateway/v2"
	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/internal/telemetry"
)

// Deps are what the gateway works with. Those without a note are required.
type Deps struct {
	Rights    *rights.Mirror // whose owner runs it
	Hasher    *auth.Hasher
	Keys      control.Keys
	Audit     audit.Store
	Catalog   Catalog
	Routes    *route.Routes
	Telemetry *telemetry.Telemetry

	// Transport reaches functions by the host of their route's URL. gRPC
	// (content type application/grpc) needs HTTP/2 on it. It returns
	// route.ErrAtZero as infer.WakeHeader says; a problem in its errors reaches
	// the caller as it is.
	Transport http.RoundTripper

	// Bounds are how much one tenant may have of keys, roles and grants; zero is
	// access.DefaultBounds.
	Bounds access.Bounds

	// Direct is of a Transport that reaches functions themselves: whatever is answered
	// is theirs. Of another one, text may be an error of a proxy before a function.
	Direct bool

	// Authenticators are asked after API keys; may be empty.
	Authenticators []auth.Authenticator

	// Authorizer decides; nil is Rights.
	Authorizer auth.Authorizer

	// Limiter decides how much a caller may have, and is charged what calls took;
	// nil is without limits.
	Limiter door.Limiter

	// Pipelines reaches the pipelines service at Config.Pipelines, or wherever it is; nil is
	// without pipelines.
	Pipelines http.RoundTripper

	// Refusals are noted for the audit log; may be nil.
	Refusals control.Refusals

	// Usage counts what calls came to, and shows it; may be nil.
	Usage Usage

	// File shows what is in force of the gateway's file; may be nil.
	File control.File

	// AroundCalls goes around the forwarding of each call, the outermost first, as a
	// cache does; AroundTries around each try of one, as a breaker does. May be
	// empty.
	AroundCalls, AroundTries []forward.Decorator

	// Ready, when set, is asked last by /readyz.
	Ready func(context.Context) error

	// Troubles, when set, are what the operator should look at although calls are
	// taken. /readyz shows them to anybody, so they name nothing.
	Troubles func() []string
}

// Usage counts what calls came to: a usage.Recorder.
type Usage interface {
	control.Usage

	// Add counts calls of a tenant to a model, or to none, that ended at a time. It
	// waits for nothing.
	Add(tenant, model string, at time.Time, c usage.Counts)
}

// Catalog is what is published.
type Catalog interface {
	resolve.Catalog
	v2.Manifests
}

// gateway is what is behind a Gateway.
type gateway struct {
	config    Config
	deps      Deps
	door      *door.Door
	v2        *v2.Service
	control   *control.API
	proxy     *forward.Proxy
	room      *room.Room // of what calls hold
	metrics   *metrics
	lines     lines
	own       *http.ServeMux // of the gateway's hosts
	functions *http.ServeMux // of functions' hosts
}

// Gateway is the handler, for an HTTP server of HTTP/1.1 and h2c.
type Gateway struct {
	handler http.Handler
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// New makes a Gateway.
func New(config Config, deps Deps) (*Gateway, error) {
	var faults []error
	for _, dep := range []struct {
		name    string
		missing bool
	}{
		{"Rights", deps.Rights == nil},
		{"Hasher", deps.Hasher == nil},
		{"Keys", deps.Keys == nil},
		{"Audit", deps.Audit == nil},
		{"Catalog", deps.Catalog == nil},
		{"Routes", deps.Routes == nil},
		{"Telemetry", deps.Telemetry == nil},
		{"Transport", deps.Transport == nil},
	} {
		if dep.missing {
			faults = append(faults, errors.New("gateway: Deps."+dep.name+" is missing"))
		}
	}
	faults = append(faults, config.Check()...)
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	g := &gateway{
		config: config.withDefaults(),
		deps:   deps,
		proxy:  forward.NewProxy(deps.Telemetry.Logger),
	}
	g.lines = lines{rate: g.config.AccessRate}
	var err error
	if g.metrics, err = newMetrics(deps.Telemetry.Registry); err != nil {
		return nil, err
	}
	if err := g.wire(); err != nil {
		return nil, err
	}
	return &Gateway{handler: g.cleanHeaders(deps.Telemetry.Middleware(g))}, nil
}

// wire connects the parts of a call's path.
func (g *gateway) wire() (err error) {
	authenticator := append(auth.Chain{auth.NewKeys(g.deps.Rights, g.deps.Hasher)}, g.deps.Authenticators...)
	large := nice.New(max(1, runtime.GOMAXPROCS(0)/2)) // the others are for who has only a little to do
	rerun := forward.Rerun(int64(g.config.MaxKept), int64(g.config.MaxBody), large, g.metrics.reruns)
	around := slices.Concat(g.deps.AroundCalls, []forward.Decorator{rerun}, g.deps.AroundTries)
	if g.deps.Pipelines != nil {
		address, err := g.config.pipelines()
		if err != nil {
			return err
		}
		around = slices.Insert(around, 0, pipeline.Later(g.deps.Pipelines, address, g.config.pipelinesSecret(), g.config.Public))
	}
	if g.config.Secret != "" {
		around = append(around, forward.Prove(g.config.Secret))
	}
	forwarder := forward.New(g.deps.Transport, g.deps.Direct, around...)
	resolver := resolve.New(g.deps.Catalog, g.deps.Routes)
	authorizer := g.deps.Authorizer
	if authorizer == nil {
		authorizer = g.deps.Rights
	}
	var noted door.Audit
	if g.deps.Refusals != nil {
		noted = refusals{g.deps.Refusals}
	}
	g.door = door.New(door.Config{
		Authenticator: authenticator, Authorizer: authorizer, Limiter: g.deps.Limiter, Audit: noted, Throttle: auth.NewThrottle(),
		Resolver: resolver, Forwarder: forwarder, Refused: g.metrics.refused,
	})
	// One of the largest always fits into the half that one tenant may have, compressed and beside it what it becomes,
	// whatever else of theirs arrives.
	g.room = room.New(int64(max(g.config.MaxInflight, 8*g.config.MaxBody)))
	g.v2 = v2.New(v2.Config{
		Version: g.config.Version, MaxMessage: int64(g.config.MaxBody), Timeout: g.config.Timeout, StreamInFlight: g.config.StreamInFlight,
		Door: g.door, Authenticator: authenticator, Resolver: resolver, Forwarder: forwarder, Proxy: g.proxy,
		Routes: g.deps.Routes, Manifests: g.deps.Catalog, Ready: g.deps.Ready, Messages: g.metrics.messages, MessageEnded: g.messageEnded,
		Room: g.room, StreamPatience: g.config.BodyTimeout, Large: large,
	})
	if g.deps.Bounds == (access.Bounds{}) {
		g.deps.Bounds = access.DefaultBounds()
	}
	pipelines, err := g.pipelines()
	if err != nil {
		return err
	}
	g.control, err = control.New(control.Deps{
		Rights: g.deps.Rights, Hasher: g.deps.Hasher, Keys: g.deps.Keys, Audit: g.deps.Audit, Bounds: g.deps.Bounds,
		Routes: g.deps.Routes, Door: g.door, Refusals: g.deps.Refusals, File: g.deps.File, Usage: g.deps.Usage,
		Pipelines: pipelines,
	})
	if err != nil {
		return err
	}
	own, functions := g.endpoints()
	g.own, g.functions = newMux(own), newMux(functions)
	return nil
}

// pipelines is the pipelines service; nil where there is none.
func (g *gateway) pipelines() (*pipeline.Service, error) {
	if g.deps.Pipelines == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	address, err := g.config.pipelines()
	if err != nil {
		return nil, err
	}
	return pipeline.New(pipeline.Deps{
		Service: g.deps.Pipelines, URL: address, Secret: g.config.pipelinesSecret(), Door: g.door, Audit: g.deps.Audit, Proxy: g.proxy,
		Functions: pipeline.Known(g.deps.Catalog, g.deps.Routes), Logger: g.deps.Telemetry.Logger,
	})
}
