package gateway

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// call is one HTTP request on its way through.
type call struct {
	w         http.ResponseWriter
	r         *http.Request
	principal *auth.Principal // nil on public endpoints
	bound     *route.Bound    // by host; nil on the gateway's own
	body      *body
	params    map[string]string // of the endpoint's pattern, unescaped and not yet trusted
}

// param is a part of the path, "" where the pattern has none by that name.
func (c *call) param(name string) string { return c.params[name] }

// endpoint is one URL the gateway answers.
type endpoint struct {
	method  string
	pattern string // segments; {name} takes any one
	access  access
	handle  func(*call) error

	segments []string
}

type access int

const (
	own    access = iota // on the gateway's own hosts, with a credential
	public               // likewise, without
	either               // on functions' hosts too
)

// endpoints is every URL the gateway answers by itself or routes by path. What
// is fixed comes before what is a parameter.
func (g *gateway) endpoints() []endpoint {
	table := []endpoint{
		{method: "GET", pattern: "/healthz", access: public, handle: g.healthz},
		{method: "GET", pattern: "/readyz", access: public, handle: g.readyz},
		{method: "GET", pattern: "/openapi.json", access: public, handle: g.openAPI},

		{method: "POST", pattern: "/v1/keys", handle: g.createKey},
		{method: "GET", pattern: "/v1/keys", handle: g.listKeys},
		{method: "GET", pattern: "/v1/keys/{id}", handle: g.getKey},
		{method: "DELETE", pattern: "/v1/keys/{id}", handle: g.revokeKey},
		{method: "GET", pattern: "/v1/functions", handle: g.listFunctions},

		{method: "GET", pattern: "/v2", access: either, handle: g.serverMetadata},
		{method: "GET", pattern: "/v2/health/live", access: either, handle: g.live},
		{method: "GET", pattern: "/v2/health/ready", access: either, handle: g.ready},
		{method: "GET", pattern: "/v2/models/stats", access: either, handle: g.statistics},
		{method: "GET", pattern: "/v2/repository/index", access: either, handle: g.index},
		{method: "POST", pattern: "/v2/repository/index", access: either, handle: g.index},
		{method: "POST", pattern: "/v2/repository/models/{model}/load", access: either, handle: g.load},
		{method: "POST", pattern: "/v2/repository/models/{model}/unload", access: either, handle: g.unload},
	}
	for _, model := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
		table = append(table,
			endpoint{method: "GET", pattern: model, access: either, handle: g.modelMetadata},
			endpoint{method: "GET", pattern: model + "/ready", access: either, handle: g.modelReady},
			endpoint{method: "GET", pattern: model + "/config", access: either, handle: g.modelConfig},
			endpoint{method: "GET", pattern: model + "/stats", access: either, handle: g.statistics},
			endpoint{method: "POST", pattern: model + "/infer", access: either, handle: g.infer})
	}
	for i := range table {
		table[i].segments = strings.Split(table[i].pattern[1:], "/")
	}
	return table
}

// serve is what happens between a request's arrival and its endpoint.
func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	if isGRPC(r) {
		g.serveGRPC(w, r)
		return
	}
	if err := g.enter(w, r); err != nil {
		g.fail(w, r, err)
	}
}

func (g *gateway) enter(w http.ResponseWriter, r *http.Request) error {
	if n := headerBytes(r); n > int64(g.config.MaxHeaders) {
		return problem.New(problem.HeadersTooLarge, "the request line and headers take %d bytes; expected at most %v", n, g.config.MaxHeaders)
	}
	b, err := g.bound(w, r)
	if err != nil {
		return err
	}
	c := &call{w: w, r: r, body: b}
	var hostErr error
	c.bound, hostErr = g.host(r)
	if c.bound != nil {
		observed(r.Context()).function = c.bound.Function.Name
	}

	path := r.URL.EscapedPath()
	found, params, allowed := g.find(r.Method, path, c.bound != nil)
	c.params = params
	if found != nil && found.access == public && hostErr == nil {
		observed(r.Context()).route = found.pattern
		return found.handle(c)
	}
	if c.principal, err = g.authenticate(r); err != nil {
		return err
	}
	if hostErr != nil {
		return hostErr
	}
	if c.bound == nil || isV2(r) {
		if err := checkEnd(path); err != nil {
			return err
		}
	}
	if err := checkPath(path); err != nil {
		return unwritten{problem.From(err)}
	}
	ctx, cancel := context.WithTimeout(auth.WithPrincipal(r.Context(), c.principal), g.config.Timeout)
	defer cancel()
	c.r = r.WithContext(ctx)
	switch {
	case found != nil:
		observed(ctx).route = found.pattern
		return found.handle(c)
	case len(allowed) > 0:
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return problem.New(problem.MethodNotAllowed, "expected %s, got %s", strings.Join(allowed, " or "), r.Method)
	case c.bound != nil && !isV2(r):
		observed(ctx).route = "/"
		return g.native(c)
	default:
		return problem.New(problem.NotFound, "there is no such URL; /openapi.json lists them")
	}
}

// authenticate finds out who is calling, by headers alone.
func (g *gateway) authenticate(r *http.Request) (*auth.Principal, error) {
	credential, err := auth.Credential(r.Header)
	if err == nil {
		var p *auth.Principal
		if p, err = g.chain.Authenticate(r.Context(), credential); err == nil {
			observed(r.Context()).principal, observed(r.Context()).tenant = p.ID, p.Tenant
			return p, nil
		}
	}
	g.metrics.refused.WithLabelValues(string(problem.CodeOf(err))).Inc()
	return nil, err
}

// host finds the function a request's host is that of.
func (g *gateway) host(r *http.Request) (*route.Bound, error) {
	if slices.ContainsFunc(g.config.Hosts, func(h string) bool { return route.CanonicalHost(h) == route.CanonicalHost(r.Host) }) {
		return nil, nil
	}
	bound, mine := g.deps.Routes.Host(r.Host)
	if bound == nil && mine {
		return nil, problem.New(problem.NotFound, "there is no function at this host")
	}
	return bound, nil
}

// find looks an endpoint up; allowed lists the methods of the URL when only
// the method is wrong.
func (g *gateway) find(method, escaped string, bound bool) (found *endpoint, params map[string]string, allowed []string) {
	segments := strings.Split(strings.TrimPrefix(escaped, "/"), "/")
	for i := range g.table {
		e := &g.table[i]
		if bound && e.access != either {
			continue
		}
		p, ok := e.match(segments)
		switch {
		case !ok:
		case e.method == method || e.method == http.MethodGet && method == http.MethodHead:
			return e, p, nil
		case !slices.Contains(allowed, e.method):
			allowed = append(allowed, e.method)
		}
	}
	return nil, nil, allowed
}

func (e *endpoint) match(segments []string) (map[string]string, bool) {
	if len(segments) != len(e.segments) {
		return nil, false
	}
	for i, want := range e.segments {
		if want[0] != '{' && want != segments[i] {
			return nil, false
		}
	}
	var params map[string]string
	for i, want := range e.segments {
		if want[0] != '{' {
			continue
		}
		value, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, false
		}
		if params == nil {
			params = make(map[string]string, 2)
		}
		params[want[1:len(want)-1]] = value
	}
	return params, true
}

// checkEnd refuses a path that ends in a slash: none of ours does.
func checkEnd(escaped string) error {
	if len(escaped) > 1 && strings.HasSuffix(escaped, "/") && !strings.HasSuffix(escaped, "//") {
		return problem.New(problem.NotFound, "there is no such URL: leave out the slash at its end")
	}
	return nil
}

// checkPath refuses paths that two readers could read differently. A model's
// name with such a thing in it is told as that.
func checkPath(escaped string) error {
	for prefix := range strings.SplitSeq("/v2/models/ /v2/repository/models/", " ") {
		rest, ok := strings.CutPrefix(escaped, prefix)
		if !ok {
			continue
		}
		name := modelPart(rest)
		if plain, err := url.PathUnescape(name); err == nil {
			name = plain
		}
		if _, err := infer.ParseName(name); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(escaped, "/") {
		return problem.Invalid("path", "expected a path that begins with /")
	}
	for i, segment := range strings.Split(escaped[1:], "/") {
		plain, err := url.PathUnescape(segment)
		switch {
		case err != nil, plain == ".", plain == "..", strings.ContainsAny(plain, "/\\;"), strings.ContainsFunc(plain, isControl):
			return problem.Invalid("path", "segment %q: expected one without . or .. or / or \\ or ;", segment)
		case plain == "" && i > 0 && i < strings.Count(escaped, "/")-1, plain == "" && i == 0 && len(escaped) > 1:
			return problem.Invalid("path", "expected no empty segment (//)")
		}
	}
	return nil
}

// modelPart is what stands in the place of a model's name: slashes and all,
// where the end is that of a URL of ours; else up to the first slash.
func modelPart(rest string) string {
	ours := false
	for _, end := range []string{"/infer", "/ready", "/config", "/stats", "/load", "/unload"} {
		if cut, ok := strings.CutSuffix(rest, end); ok {
			rest, ours = cut, true
			break
		}
	}
	if i := strings.LastIndex(rest, "/versions/"); i >= 0 {
		return rest[:i]
	}
	if !ours {
		rest, _, _ = strings.Cut(rest, "/")
	}
	return rest
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func isV2(r *http.Request) bool {
	return r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/")
}

// isGRPC says whether a request is gRPC of any kind, by its content type alone,
// so that its errors are too. Functions read the type without regard to case
// (RFC 9110, 8.3.1), and so must this: what one took for gRPC and the other did
// not would pass unexamined.
func isGRPC(r *http.Request) bool {
	return strings.HasPrefix(mediaType(r), "application/grpc")
}

// mediaType is a request's content type without parameters, in lower case.
func mediaType(r *http.Request) string {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// fail answers with an error in the format of the request's protocol.
func (g *gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	o := observed(r.Context())
	o.err = err
	switch {
	case isGRPC(r):
		e := problemgrpc.Error(err)
		o.grpc = e.Code().String()
		if writeErr := g.grpcErrors.Write(w, r, e); writeErr != nil {
			o.err = connect.NewError(connect.CodeInternal, writeErr)
		}
	case isV2(r):
		problem.WriteV2(w, err)
	default:
		problem.Write(w, err)
	}
}
