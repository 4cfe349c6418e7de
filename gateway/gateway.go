// Package gateway is the one way in: it knows callers, decides what they may
// do, finds the function a request is for and hands the request on.
//
// It answers by itself what published manifests tell (metadata, readiness, the
// index), so that asking wakes nothing. It runs no model, keeps no model's
// bytes, and does not start functions: the transport it is given does.
package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"sync"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Deps are what the gateway works with. Those without a note are required.
type Deps struct {
	Keys      auth.KeyStore
	Catalog   Catalog
	Routes    *route.Routes
	Telemetry *telemetry.Telemetry

	// Transport reaches functions by the host of their route's URL. gRPC
	// (content type application/grpc) needs HTTP/2 on it. It returns
	// route.ErrAsleep as route.WakeHeader says; a problem in its errors reaches
	// the caller as it is.
	Transport http.RoundTripper

	// Authenticators are asked after API keys; may be empty.
	Authenticators []auth.Authenticator

	// Authorizer decides; nil is auth.Scopes.
	Authorizer auth.Authorizer

	// Ready, when set, has the last word on /readyz.
	Ready func(context.Context) error
}

// Catalog tells what is published. A change is seen within two seconds.
type Catalog interface {
	// Names lists the published models, sorted.
	Names(ctx context.Context) ([]string, error)

	// Versions lists a model's published versions, newest first; none when it is
	// not published.
	Versions(ctx context.Context, name string) ([]int, error)

	// Policy says which version a call is for that names none by its number; the
	// zero one where nobody said. It is shared: the caller does not change it.
	Policy(ctx context.Context, name string) (*artifact.Policy, error)

	// Model returns one version, or problem.ModelNotFound. It is shared: the
	// caller does not change it.
	Model(ctx context.Context, name string, version int) (*Model, error)

	// Fault is why the store of what is published had no answer when it was last
	// asked, a second or two ago; nil when it had. What the others tell is
	// remembered then, and nothing can be fetched.
	Fault(ctx context.Context) error

	// Renew asks now whether anything was published: what the others tell may be
	// a second or two old, and is of now after it.
	Renew(ctx context.Context)
}

// Model is one published version, as its manifest tells it.
type Model struct {
	Name      string
	Version   int
	Platform  string
	Digest    string // "sha256:…" of the version's model.json; "" if not known
	Signature infer.Signature
}

// gateway is what is behind a Gateway.
type gateway struct {
	config     Config
	deps       Deps
	keys       *auth.Keys
	chain      auth.Authenticator
	authorizer auth.Authorizer
	failures   *failures
	metrics    *metrics
	lines      lines
	table      []endpoint
	grpc       *grpcService
	grpcErrors *connect.ErrorWriter
	buffers    bufferPool
	functions  http.RoundTripper   // to functions
	messages   *semaphore.Weighted // bytes of gRPC messages being received
}

// Gateway is the handler, for an HTTP server that speaks HTTP/1.1 and h2c.
type Gateway struct {
	handler http.Handler
	keys    *auth.Keys
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// Close ends what calls have left under way and waits for it; it is for after the
// server has stopped. It returns nil.
func (g *Gateway) Close() error {
	g.keys.Close()
	return nil
}

// New makes a Gateway. Its owner closes it, before what is in deps.
func New(config Config, deps Deps) (*Gateway, error) {
	var faults []error
	for _, dep := range []struct {
		name    string
		missing bool
	}{
		{"Keys", deps.Keys == nil},
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
	config = config.withDefaults()
	g := &gateway{
		config:     config,
		deps:       deps,
		keys:       auth.NewKeys(deps.Keys),
		authorizer: deps.Authorizer,
		failures:   newFailures(),
		lines:      lines{rate: config.AccessRate},
		grpcErrors: connect.NewErrorWriter(),
		messages:   semaphore.NewWeighted(int64(max(config.MaxInflight, config.MaxBody+frameHeader))),
	}
	if g.authorizer == nil {
		g.authorizer = auth.Scopes{}
	}
	g.chain = append(auth.Chain{g.keys}, deps.Authenticators...)
	var err error
	if g.metrics, err = newMetrics(deps.Telemetry.Registry); err != nil {
		return nil, err
	}
	g.functions = &rerun{next: deps.Transport, room: newKeepRoom(int64(config.MaxKept)), counter: g.metrics.reruns}
	g.table = g.endpoints()
	g.grpc = g.newGRPC()

	var h http.Handler = http.HandlerFunc(g.serve)
	h = g.observe(h)
	h = deps.Telemetry.Middleware(h)
	return &Gateway{handler: g.cleanHeaders(h), keys: g.keys}, nil
}

// bufferPool lends the proxy its copy buffers.
type bufferPool struct{ pool sync.Pool }

var _ httputil.BufferPool = (*bufferPool)(nil)

const copyBuffer = 256 << 10 // tensors are large, and each wake-up costs more than memory

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[copyBuffer]byte); ok {
		return b[:]
	}
	return make([]byte, copyBuffer)
}

func (p *bufferPool) Put(b []byte) {
	if len(b) == copyBuffer {
		p.pool.Put((*[copyBuffer]byte)(b))
	}
}
