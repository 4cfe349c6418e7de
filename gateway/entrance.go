package gateway

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/media"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// endpoint is what answers a request: a URL's, a procedure's, or a function's.
type endpoint struct {
	route  string // its pattern, for logs and metrics
	public bool   // answered at the gateway's own hosts without a credential
	stream bool   // goes on until its client or the server ends it
	up     bool   // its client sends message after message
	limits bool   // it has the door limit what it is for

	// operation is what it does, as call.Call has it; "" is what its route says.
	operation string
	serve     func(c *call.Call, w http.ResponseWriter, r *http.Request) error
}

// enter is what happens between a request's arrival and its endpoint, the same for
// HTTP and gRPC: its bounds, whose host it is for, who makes it, and what answers.
func (g *gateway) enter(c *call.Call, w *recorder, r *http.Request) error {
	if n := headerBytes(r); n > int64(g.config.MaxHeaders) {
		return problem.New(problem.HeadersTooLarge, "the request line and headers take %d bytes; expected at most %v", n, g.config.MaxHeaders)
	}
	b, err := g.bound(w, r)
	if err != nil {
		return err
	}
	w.body = b
	var hostErr error
	if c.Bound, hostErr = g.host(r); c.Bound != nil {
		c.Log.Function = c.Bound.Function.Name
	}
	e, none := g.find(c, r)
	if !e.public || c.Bound != nil || hostErr != nil {
		if err := g.door.Identify(r.Context(), c); err != nil {
			return err
		}
		if hostErr != nil {
			return hostErr
		}
		if err := g.visible(r.Context(), c); err != nil {
			return err
		}
	}
	if err := checkHeaders(c, r); err != nil {
		return err
	}
	if err := checkURL(c, r); err != nil {
		return err
	}
	if none == nil {
		c.Log.Route, c.Operation = e.route, cmp.Or(e.operation, e.route)
	}
	if c.Principal != nil && !e.limits {
		end, err := g.door.Admit(r.Context(), c)
		if err != nil {
			return err
		}
		defer end()
	}
	if none != nil {
		if none.allow != "" {
			w.Header().Set("Allow", none.allow)
		}
		return none.err
	}
	b.stream = e.up
	held, err := g.arrive(c, w, r, e)
	if err != nil {
		return err
	}
	defer held.keep(0)
	b.arrived = func() { held.keep(forward.StreamBuffer) }
	if !e.stream {
		ctx, cancel := context.WithTimeout(r.Context(), g.config.Timeout)
		defer cancel()
		r = r.WithContext(ctx)
	}
	err = e.serve(c, w, r)
	if failed := b.failed.Load(); err != nil && failed != nil {
		return failed // whoever reads the body sees only that it broke off
	}
	return err
}

// host finds the function a request's host is that of; nil is the gateway itself.
func (g *gateway) host(r *http.Request) (*route.Bound, error) {
	if slices.ContainsFunc(g.config.Hosts, func(h string) bool { return route.CanonicalHost(h) == route.CanonicalHost(r.Host) }) {
		return nil, nil
	}
	bound, mine := g.deps.Routes.Host(r.Host)
	if bound == nil && mine {
		return nil, noFunction()
	}
	return bound, nil
}

// noFunction is the answer at a host of no function, and at that of one which is none
// of the caller's.
func noFunction() error {
	return problem.New(problem.NotFound, "there is no function at this host that the credential may call")
}

// visible refuses who may neither call the function at whose host they are nor look at
// one of its models as they would be where there is none: which functions, tags and
// revisions there are is for those who may.
func (g *gateway) visible(ctx context.Context, c *call.Call) error {
	if c.Bound == nil {
		return nil
	}
	for _, ref := range c.Bound.Pins() {
		if g.door.May(ctx, c, auth.Action{Verb: auth.DoRead, On: ref.Name}) {
			return nil
		}
	}
	if g.door.May(ctx, c, auth.Action{Verb: auth.DoRead, On: c.Bound.Function.Name}) {
		return nil
	}
	if g.door.Decide(ctx, c, auth.Action{Verb: auth.DoInfer, On: c.Bound.Function.Name}) != nil {
		return noFunction()
	}
	return nil
}

// fail answers with an error in the format of the call's protocol.
func (g *gateway) fail(c *call.Call, w http.ResponseWriter, r *http.Request, err error) {
	c.Log.Err = err
	switch {
	case c.Protocol == call.GRPC:
		e := problemgrpc.Error(err)
		c.Log.GRPC = e.Code().String()
		problemgrpc.Write(w, r, e)
	case isV2(r):
		problem.WriteV2(w, err)
	default:
		problem.Write(w, err)
	}
}

func isV2(r *http.Request) bool {
	return r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/")
}

// native hands a request at a function's host on as it is, but for what only the
// pipelines service sends.
func (g *gateway) native(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	b, _ := r.Body.(*body) // nil for no body
	r, err := withoutPlan(r, b)
	if err != nil {
		return err
	}
	p, err := g.door.PassNative(r.Context(), c, isSafe(r.Method))
	if err != nil {
		return err
	}
	return p.Serve(g.proxy, w, r, r.URL.EscapedPath())
}

// isSafe reports whether a method changes nothing (RFC 9110, 9.2.1).
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// protocolOf is gRPC for a POST of gRPC with messages of any format over HTTP/2, by its
// content type, so that its errors are gRPC's too.
func protocolOf(r *http.Request) call.Protocol {
	if r.ProtoMajor >= 2 && r.Method == http.MethodPost && media.IsGRPC(r.Header) {
		return call.GRPC
	}
	return call.HTTP
}

// checkHeaders refuses headers that two readers could read differently, gRPC where its
// errors cannot be read, as over HTTP/1.x they would look like an empty answer, and
// what is not gRPC by its content type and looks so: what a function took for gRPC and
// the gateway did not would pass unexamined.
func checkHeaders(c *call.Call, r *http.Request) error {
	media, err := infer.MediaType(r.Header.Values("Content-Type"))
	switch {
	case err != nil:
		return err
	case c.Protocol == call.HTTP && r.Method == http.MethodPost && strings.HasPrefix(media, "application/grpc"):
		return problem.New(problem.UnsupportedMedia, "expected gRPC as application/grpc over HTTP/2, got another type or %s", r.Proto)
	}
	return infer.CheckOnce(r.Header)
}
