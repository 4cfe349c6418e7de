// Package wellknown answers the gRPC services that clients and tools expect at
// every port: health (grpc.health.v1, Check and Watch) and server reflection.
//
// It decides nothing: who may ask, and what healthy means, the server decides.
package wellknown

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

// The procedures that are answered.
const (
	Check        = "/" + healthService + "/Check"
	Watch        = "/" + healthService + "/Watch"
	Reflect      = "/" + grpcreflect.ReflectV1ServiceName + "/ServerReflectionInfo"
	ReflectAlpha = "/" + grpcreflect.ReflectV1AlphaServiceName + "/ServerReflectionInfo"
)

// MaxMessage bounds the messages that are taken: names. A watch keeps its own for as
// long as it goes on, and anybody may ask for one.
const MaxMessage = 16 << 10

const healthService = "grpc.health.v1.Health"

// IsHealth reports whether a path is a procedure of the health service.
func IsHealth(path string) bool { return path == Check || path == Watch }

// IsStream reports whether a path is a procedure that goes on until its client
// or the server ends it.
func IsStream(path string) bool { return path == Watch || path == Reflect || path == ReflectAlpha }

// Is reports whether a path is a procedure of this package.
func Is(path string) bool { return path == Check || IsStream(path) }

// Procedures are those of this package.
func Procedures() []string { return []string{Check, Watch, Reflect, ReflectAlpha} }

// Config is what a port answers by.
type Config struct {
	// Services are the full names of the port's services. Each is as healthy as
	// the server, which "" asks about.
	Services []string

	// Serving reports whether requests are taken. It is asked at each Check, and
	// by each watcher once every Every.
	Serving func(context.Context) bool

	Every    time.Duration // one second
	Watchers int           // at once; 500
}

// Services are the services of one port.
type Services struct {
	cfg               Config
	health            *health
	reflection, alpha http.Handler
	options           []connect.HandlerOption
}

// New makes the services of a port.
func New(cfg Config, options ...connect.HandlerOption) *Services {
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.Watchers <= 0 {
		cfg.Watchers = 500
	}
	options = append(slices.Clone(options), connect.WithReadMaxBytes(MaxMessage))
	names := append([]string{healthService, grpcreflect.ReflectV1ServiceName, grpcreflect.ReflectV1AlphaServiceName}, cfg.Services...)
	s := &Services{
		cfg: cfg, options: options,
		health: &health{cfg: cfg, names: names, places: places{most: cfg.Watchers}, ends: map[*http.Server]chan struct{}{}},
	}
	s.reflection, s.alpha = newReflection(names, options)
	return s
}

// Asker is who makes one call, where that matters.
type Asker struct {
	// Caller is who they are, "" where that is not known: of those each has a share
	// of the watchers by their address.
	Caller string

	// Serving is asked in place of Config's; it may be nil.
	Serving func(context.Context) bool
}

// Handler answers one call of a procedure (Is).
func (s *Services) Handler(procedure string, a Asker) http.Handler {
	if a.Serving == nil {
		a.Serving = s.cfg.Serving
	}
	asked := asked{s.health, a}
	switch procedure {
	case Check:
		return connect.NewUnaryHandlerSimple(Check, asked.check, s.options...)
	case Watch:
		return connect.NewServerStreamHandler(Watch, asked.watch, s.options...)
	case Reflect:
		return s.reflection
	default:
		return s.alpha
	}
}

// status is the protocol's ServingStatus.
type status = int32

const (
	serving        status = 1
	notServing     status = 2
	serviceUnknown status = 3
)

// health answers the health protocol. Its messages are one string and one enum,
// which on the wire are the wrappers of protobuf's own: their types need not be
// linked, nor registered a second time beside grpc-go's.
type health struct {
	cfg    Config
	names  []string // of the services that are here
	places places

	mu   sync.Mutex
	ends map[*http.Server]chan struct{} // closed when the server begins to stop
}

func (h *health) knows(service string) bool {
	return service == "" || slices.Contains(h.names, service)
}

// asked is one call.
type asked struct {
	*health

	by Asker
}

func (h asked) status(ctx context.Context) status {
	if h.by.Serving(ctx) {
		return serving
	}
	return notServing
}

func (h asked) check(ctx context.Context, service *wrapperspb.StringValue) (*wrapperspb.Int32Value, error) {
	if name := service.GetValue(); !h.knows(name) {
		return nil, problemgrpc.Error(problem.New(problem.NotFound, "there is no service %s", quote(name)))
	}
	return wrapperspb.Int32(h.status(ctx)), nil
}

// watch sends the status at once, and then each time that it changes. When the
// server stops it sends that last, and ends: a drain waits for no watcher.
//
// A watcher without a place gets UNIMPLEMENTED, after which clients go on without
// watching. Any other error they take for a server that is not healthy, and
// send it nothing (gRFC A17).
func (h asked) watch(ctx context.Context, req *connect.Request[wrapperspb.StringValue], stream *connect.ServerStream[wrapperspb.Int32Value]) error {
	w := watcherOf(h.by.Caller, req.Peer().Addr)
	if !h.places.enter(w) {
		return tooManyWatchers(h.cfg.Watchers)
	}
	defer h.places.leave(w)
	known := h.knows(req.Msg.GetValue())
	stopping := h.stopping(ctx)
	ticker := time.NewTicker(h.cfg.Every)
	defer ticker.Stop()
	var sent status
	for {
		now := serviceUnknown
		if known {
			now = h.status(ctx)
		}
		if now != sent {
			if err := stream.Send(wrapperspb.Int32(now)); err != nil {
				return err
			}
			sent = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-stopping:
			if known && sent != notServing {
				_ = stream.Send(wrapperspb.Int32(notServing)) // a client that is gone needs no status
			}
			return nil
		case <-w.out:
			return tooManyWatchers(h.cfg.Watchers)
		case <-ticker.C:
		}
	}
}

func tooManyWatchers(most int) error {
	return problemgrpc.Error(problem.New(problem.Unimplemented, "at most %d watches run at once, and fewer for each client; call Check instead", most))
}

// stopping is closed when the server of a request begins to stop; nil, which
// never is, where no server is known.
func (h *health) stopping(ctx context.Context) <-chan struct{} {
	server, ok := ctx.Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	end := h.ends[server]
	if end == nil {
		end = make(chan struct{})
		h.ends[server] = end
		server.RegisterOnShutdown(sync.OnceFunc(func() { close(end) }))
	}
	return end
}
