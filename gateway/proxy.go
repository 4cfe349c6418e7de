package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// infer hands a V2 inference on, to the version it resolves to.
func (g *gateway) infer(c *call) error {
	version, err := infer.VersionOf(c.param("version"), c.r.Header.Values(infer.VersionHeader))
	if err != nil {
		return err
	}
	c.r.Header.Del(infer.VersionHeader) // the path says it from here on
	return g.toModel(c, auth.DoInfer, version, "/infer")
}

// modelConfig hands on too: the configuration tells where the model runs,
// which only its function knows.
func (g *gateway) modelConfig(c *call) error {
	return g.toModel(c, auth.DoRead, c.param("version"), "/config")
}

func (g *gateway) toModel(c *call, verb auth.Verb, version, leaf string) error {
	t, err := g.resolve(c.r.Context(), verb, c.bound, c.param("model"), version)
	if err != nil {
		return err
	}
	path := "/v2/models/" + t.model
	if t.version != "" {
		path += "/versions/" + t.version
	}
	ctx := mayRunTwice(c.r.Context())
	if verb == auth.DoInfer {
		ctx = withJSON(ctx, c.r.Header, int64(g.config.MaxBody))
	}
	c.r = c.r.WithContext(ctx)
	g.forward(c, t.url, path+leaf, func(res *http.Response) error {
		if err := onTheWay(res); err != nil {
			return err
		}
		if res.StatusCode < http.StatusBadRequest {
			t.tellAlias(res.Header)
		}
		return g.learn(t, res)
	})
	return nil
}

// tellAlias says in an answer which alias decided on the version, if the
// function has not.
func (t *target) tellAlias(h http.Header) {
	if t.alias != "" && h.Get(aliasHeader) == "" {
		h.Set(aliasHeader, t.alias)
	}
}

// native hands anything else on a function's host on as it is.
func (g *gateway) native(c *call) error {
	f := c.bound.Function
	ctx := c.r.Context()
	if err := g.authorizer.Authorize(ctx, c.principal, auth.Action{Verb: auth.DoInfer, On: f.Name}); err != nil {
		return err
	}
	observed(ctx).function = f.Name
	// A function with models does nothing but run them; what another does, only
	// the method tells.
	models := len(f.Models)+len(f.Mixed) > 0 || f.Pool
	if models || isSafe(c.r.Method) {
		c.r = c.r.WithContext(mayRunTwice(ctx))
	}
	// Of anybody's function errors may be text; while it starts none is its own.
	ours := models || f.Starting != ""
	g.forward(c, c.bound.URL, c.r.URL.EscapedPath(), func(res *http.Response) error {
		if ours {
			return onTheWay(res)
		}
		return nil
	})
	return nil
}

// isSafe says whether a method changes nothing (RFC 9110, 9.2.1).
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// forward proxies a request to a path (escaped) of a function.
func (g *gateway) forward(c *call, to *url.URL, path string, look func(*http.Response) error) {
	proxy := &httputil.ReverseProxy{
		Transport:  g.functions,
		BufferPool: &g.buffers,
		ErrorLog:   slog.NewLogLogger(g.deps.Telemetry.Logger.Handler(), slog.LevelDebug),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = to.Scheme, to.Host
			p.Out.URL.RawPath = path
			p.Out.URL.Path, _ = url.PathUnescape(path) // checkPath has
			p.Out.URL.RawQuery = p.In.URL.RawQuery
			p.Out.Host = ""
			handOn(p.Out.Context(), p.Out.Header)
		},
		ModifyResponse: func(res *http.Response) error {
			cleanAnswer(res.Header)
			if err := look(res); err != nil {
				return err
			}
			if told := toldBy(res); told != nil {
				observed(c.r.Context()).err = told
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if failed := c.body.failed.Load(); failed != nil {
				err = failed
			}
			g.fail(w, c.r, upstream(r.Context(), err))
		},
	}
	proxy.ServeHTTP(c.w, c.r)
}

// handOn puts on a request to a function what the platform says of it, and
// takes off what is the caller's own.
func handOn(ctx context.Context, h http.Header) {
	dropCredentials(h)
	if p := auth.PrincipalOf(ctx); p != nil {
		h.Set(tenantHeader, p.Tenant)
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := max(time.Until(deadline).Milliseconds(), 1)
		h.Set(timeoutHeader, strconv.FormatInt(left, 10))
	}
	telemetry.Inject(ctx, h)
}

// cleanAnswer drops the headers of a function's answer that the gateway has
// set already.
func cleanAnswer(h http.Header) {
	for _, name := range []string{problem.RequestIDHeader, "Traceparent", "Tracestate"} {
		h.Del(name)
	}
}

// onTheWay is an error that no function wrote, whose errors are JSON: it is the
// text of what stands before it, the ingress, the activator or queue-proxy. A
// route that is announced is there a moment later.
func onTheWay(res *http.Response) error {
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if res.StatusCode < http.StatusBadRequest || media != "" && media != "text/plain" {
		return nil
	}
	switch res.StatusCode {
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return problem.New(problem.DeadlineExceeded, "the function did not answer in time")
	case http.StatusTooManyRequests:
		return problem.New(problem.Overloaded, "the function has more calls than it takes").WithRetryAfter(time.Second)
	case http.StatusNotFound, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable:
		return problem.New(problem.Unavailable, "the function cannot be reached now: what stands before it answers %d", res.StatusCode).WithRetryAfter(time.Second)
	default:
		return problem.New(problem.BadGateway, "what stands before the function answers %d", res.StatusCode)
	}
}

// upstream is what a caller is told of a function that could not be reached or
// broke off. Addresses stay in the log.
func upstream(ctx context.Context, err error) error {
	var known *problem.Error
	var network net.Error
	var op *net.OpError
	switch {
	case errors.As(err, &known), errors.As(context.Cause(ctx), &known):
		return known
	case errors.Is(ctx.Err(), context.Canceled), errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ctx.Err()
	case errors.Is(err, route.ErrAsleep):
		return problem.New(problem.Unavailable, "the function is at zero")
	case errors.As(err, &op) && op.Op == "dial":
		return problem.New(problem.Unavailable, "the function cannot be reached: %w", unspoken{err}).WithRetryAfter(time.Second)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return problem.New(problem.DeadlineExceeded, "the function did not answer in time: %w", unspoken{err})
	default:
		return problem.New(problem.BadGateway, "the function broke off before its answer was whole: %w", unspoken{err})
	}
}

// unspoken keeps an error for the log, and its text from the caller.
type unspoken struct{ cause error }

func (unspoken) Error() string   { return "the log has the reason" }
func (u unspoken) Unwrap() error { return u.cause }

// errorBody bounds what is read of a function's error to learn from it.
const errorBody = 64 << 10

// beginning reads what an answer begins with, which is still there for whoever
// reads it next.
func beginning(res *http.Response) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(res.Body, errorBody))
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), res.Body), res.Body}
	return text, err //nolint:wrapcheck // its kind is looked at
}

// toldBy is the error that an answer of a function of ours is; nil for what is
// none, or cannot be read as that.
func toldBy(res *http.Response) error {
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if res.StatusCode < http.StatusBadRequest || res.ContentLength < 0 || res.ContentLength > errorBody ||
		media != "application/json" && media != "application/problem+json" {
		return nil
	}
	text, _ := beginning(res) // what breaks off does so for whoever reads it next
	var told struct {
		Error  string       `json:"error"`
		Detail string       `json:"detail"`
		Code   problem.Code `json:"code"`
	}
	ours := json.Unmarshal(text, &told) == nil && told.Code.Known() && told.Code.Row().Status == res.StatusCode
	if !ours {
		return nil
	}
	return &problem.Error{Code: told.Code, Detail: cmp.Or(told.Error, told.Detail)}
}

// learn remembers from an answer whether a model loads.
func (g *gateway) learn(t *target, res *http.Response) error {
	switch {
	case res.StatusCode < http.StatusBadRequest:
		g.failures.answered(t, res.Header)
	case res.StatusCode == problem.ModelUnavailable.Row().Status:
		start, err := beginning(res)
		if err != nil {
			return err
		}
		var told struct {
			Error string       `json:"error"`
			Code  problem.Code `json:"code"`
		}
		if json.Unmarshal(start, &told) == nil && told.Code == problem.ModelUnavailable {
			g.failures.failed(t, told.Error)
		}
	}
	return nil
}
