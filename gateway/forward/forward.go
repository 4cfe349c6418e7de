// Package forward sends calls to functions: one way for HTTP and gRPC, and for
// what the gateway asks of functions itself. It puts on a request what the
// platform says of it, runs an inference again that its function broke off, keeps
// to a request's own timeout, and makes errors of what a proxy before a function
// answers.
//
// It does not decide where a call goes or whether it may.
package forward

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Forwarder sends a call's request to its target, whose host it is sent to. The
// path is the request's own. What goes around another (a cache, a breaker) is one
// too.
//
// An error is one that the caller may read: a *problem.Error, or the end of ctx.
// It does not change c and t.
type Forwarder interface {
	Forward(ctx context.Context, c *call.Call, t *call.Target, r *http.Request) (*http.Response, error)
}

// Decorator goes around a Forwarder.
type Decorator func(Forwarder) Forwarder

// transport is the last Forwarder, which sends.
type transport struct{ next http.RoundTripper }

// Forward implements Forwarder. Its errors are the transport's own.
func (t transport) Forward(ctx context.Context, _ *call.Call, to *call.Target, r *http.Request) (*http.Response, error) {
	out := r.WithContext(ctx)
	address := *r.URL
	address.Scheme, address.Host = to.URL.Scheme, to.URL.Host
	out.URL, out.Host = &address, ""
	return t.next.RoundTrip(out) //nolint:wrapcheck // the decorators look at the kind
}

// function is the first Forwarder.
type function struct {
	next   Forwarder
	direct bool
}

// New makes the Forwarder of calls to functions. next reaches them by the host of
// their target's URL, direct where no proxy before one answers in its place; around is
// what goes around it, the outermost first.
func New(next http.RoundTripper, direct bool, around ...Decorator) Forwarder {
	var f Forwarder = transport{next}
	for i := len(around) - 1; i >= 0; i-- {
		f = around[i](f)
	}
	return function{f, direct}
}

// Prove has requests bring what shows functions that they come from the gateway, so
// that a tenant's refs are opened. It is for the innermost place.
func Prove(secret string) Decorator {
	return func(next Forwarder) Forwarder { return proven{next, secret} }
}

type proven struct {
	next   Forwarder
	secret string
}

// Forward implements Forwarder.
func (p proven) Forward(ctx context.Context, c *call.Call, t *call.Target, r *http.Request) (*http.Response, error) {
	r.Header.Set(infer.SecretHeader, p.secret)
	return p.next.Forward(ctx, c, t, r)
}

// Forward implements Forwarder.
func (f function) Forward(ctx context.Context, c *call.Call, t *call.Target, r *http.Request) (*http.Response, error) {
	SetHeaders(ctx, c, r.Header)
	if f.direct && !t.Plain {
		own := *t
		own.Plain = true // whatever it answers is its own
		t = &own
	}
	res, err := f.next.Forward(ctx, c, t, r)
	if err != nil {
		return nil, Error(ctx, err)
	}
	CleanAnswer(res.Header)
	CleanTrailer(res.Trailer) // what is announced
	if res.StatusCode == http.StatusSwitchingProtocols {
		_ = res.Body.Close()
		return nil, problem.New(problem.BadGateway, "the function switched protocols, which no call asks for")
	}
	if t.Plain {
		return res, nil
	}
	if err := ingressError(res); err != nil {
		_ = res.Body.Close()
		return nil, err
	}
	return res, nil
}

// CleanAnswer removes from a function's answer what only the platform says: what the
// gateway has set itself, and names of the platform's that mean nothing there.
func CleanAnswer(h http.Header) {
	for name := range h {
		switch name {
		case infer.ModelHeader, infer.AliasHeader, infer.DeviceHeader, infer.CostHeader:
		default:
			if platforms(name) {
				delete(h, name)
			}
		}
	}
}

// CleanTrailer does so with trailers, in which the platform says nothing. All of
// them are there only behind the answer's body.
func CleanTrailer(h http.Header) {
	for name := range h {
		if platforms(name) {
			delete(h, name)
		}
	}
}

// platforms reports whether a header of an answer is the platform's.
func platforms(name string) bool {
	name = Folded(name)
	switch name {
	case "traceparent", "tracestate", strings.ToLower(problem.RequestIDHeader):
		return true
	}
	return strings.HasPrefix(name, "modelserve-") || strings.HasPrefix(name, "ratelimit")
}

// Folded is a header's name, and that of all that CGI and WSGI take for it.
func Folded(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// SetHeaders puts on a request to a function what the platform says of it, and
// removes what is the caller's own.
func SetHeaders(ctx context.Context, c *call.Call, h http.Header) {
	h.Del(auth.AuthorizationHeader)
	h.Del(auth.APIKeyHeader)
	if c.Principal != nil {
		h.Set(infer.TenantHeader, c.Principal.Tenant)
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := max(time.Until(deadline).Milliseconds(), 1)
		h.Set(infer.TimeoutHeader, strconv.FormatInt(left, 10))
	}
	telemetry.Inject(ctx, h)
}
