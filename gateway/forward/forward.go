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
	"io"
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
type function struct{ next Forwarder }

// New makes the Forwarder of calls to functions. next reaches them by the host of
// their target's URL; around is what goes around it, the outermost first.
func New(next http.RoundTripper, around ...Decorator) Forwarder {
	var f Forwarder = transport{next}
	for i := len(around) - 1; i >= 0; i-- {
		f = around[i](f)
	}
	return function{f}
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
	setHeaders(ctx, c, r.Header)
	res, err := f.next.Forward(ctx, c, t, r)
	if err != nil {
		return nil, Error(ctx, err)
	}
	cleanAnswer(res.Header)
	cleanAnswer(res.Trailer) // as it is announced
	res.Body = &cleaned{res.Body, res}
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

// cleanAnswer removes from a function's answer what only the platform says: what the
// gateway has set itself, and names of the platform's that mean nothing there.
func cleanAnswer(h http.Header) {
	for name := range h {
		plain := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-")) // which CGI and WSGI take for each other
		if plain != name && strings.HasPrefix(plain, "Modelserve-") {
			delete(h, name)
			continue
		}
		switch plain {
		case infer.ModelHeader, infer.AliasHeader, infer.DeviceHeader, infer.CostHeader:
		case problem.RequestIDHeader, "Traceparent", "Tracestate", "Ratelimit", "Ratelimit-Policy":
			delete(h, name)
		default:
			if strings.HasPrefix(plain, "Modelserve-") {
				delete(h, name)
			}
		}
	}
}

// cleaned is the body of an answer, behind which its trailers come.
type cleaned struct {
	io.ReadCloser

	res *http.Response
}

// Read implements io.Reader.
func (b *cleaned) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if err != nil {
		cleanAnswer(b.res.Trailer)
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

// setHeaders puts on a request to a function what the platform says of it, and
// removes what is the caller's own.
func setHeaders(ctx context.Context, c *call.Call, h http.Header) {
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
