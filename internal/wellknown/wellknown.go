// Package wellknown answers the gRPC services that clients and tools expect at
// every port: health (grpc.health.v1, Check and Watch) and server reflection.
//
// It decides nothing: who may ask, and what healthy means, is the server's word.
package wellknown

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/internal/problem/problemgrpc"
)

// The procedures that are answered.
const (
	Check        = "/" + healthService + "/Check"
	Watch        = "/" + healthService + "/Watch"
	Reflect      = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	ReflectAlpha = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
)

const healthService = "grpc.health.v1.Health"

// IsHealth reports whether a path is a procedure of the health service.
func IsHealth(path string) bool { return path == Check || path == Watch }

// IsStream reports whether a path is a procedure that goes on until its client
// or the server ends it.
func IsStream(path string) bool { return path == Watch || path == Reflect || path == ReflectAlpha }

// Config is what a port answers by.
type Config struct {
	// Services are the full names of the port's services. Each is as healthy as
	// the server, which "" asks about.
	Services []string

	// Serving reports whether requests are taken. It is asked at each Check, and
	// by each watcher once every Every.
	Serving func(context.Context) bool

	Every    time.Duration // one second
	Watchers int           // at once; 100
}

// Handlers are the handlers of every procedure, by its path.
func Handlers(cfg Config, options ...connect.HandlerOption) map[string]http.Handler {
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.Watchers <= 0 {
		cfg.Watchers = 100
	}
	h := &health{cfg: cfg, slots: make(chan struct{}, cfg.Watchers), ends: map[*http.Server]chan struct{}{}}
	names := append([]string{healthService}, cfg.Services...)
	reflector := grpcreflect.NewReflector(grpcreflect.NamerFunc(func() []string { return names }),
		grpcreflect.WithDescriptorResolver(newResolver()))
	_, reflection := grpcreflect.NewHandlerV1(reflector, options...)
	_, alpha := grpcreflect.NewHandlerV1Alpha(reflector, options...)
	return map[string]http.Handler{
		Check:        connect.NewUnaryHandlerSimple(Check, h.check, options...),
		Watch:        connect.NewServerStreamHandler(Watch, h.watch, options...),
		Reflect:      reflection,
		ReflectAlpha: alpha,
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
	cfg   Config
	slots chan struct{} // of watchers

	mu   sync.Mutex
	ends map[*http.Server]chan struct{} // closed when the server begins to stop
}

func (h *health) knows(service string) bool {
	if service == "" || service == healthService {
		return true
	}
	for _, name := range h.cfg.Services {
		if name == service {
			return true
		}
	}
	return false
}

func (h *health) status(ctx context.Context) status {
	if h.cfg.Serving(ctx) {
		return serving
	}
	return notServing
}

func (h *health) check(ctx context.Context, service *wrapperspb.StringValue) (*wrapperspb.Int32Value, error) {
	if name := service.GetValue(); !h.knows(name) {
		return nil, problemgrpc.Error(problem.New(problem.NotFound, "there is no service %s", strconv.Quote(name[:min(len(name), 80)])))
	}
	return wrapperspb.Int32(h.status(ctx)), nil
}

// watch tells the status at once, and then each time that it changes. When the
// server stops it tells that last, and ends: a drain waits for no watcher.
func (h *health) watch(ctx context.Context, req *connect.Request[wrapperspb.StringValue], stream *connect.ServerStream[wrapperspb.Int32Value]) error {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		return problemgrpc.Error(problem.New(problem.Overloaded, "%d watch already; call Check", h.cfg.Watchers).WithRetryAfter(time.Second))
	}
	known := h.knows(req.Msg.GetValue())
	stopping := h.stopping(ctx)
	ticker := time.NewTicker(h.cfg.Every)
	defer ticker.Stop()
	var told status
	for {
		now := serviceUnknown
		if known {
			now = h.status(ctx)
		}
		if now != told {
			if err := stream.Send(wrapperspb.Int32(now)); err != nil {
				return err
			}
			told = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-stopping:
			if known && told != notServing {
				_ = stream.Send(wrapperspb.Int32(notServing)) // a client that is gone needs no word
			}
			return nil
		case <-ticker.C:
		}
	}
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
