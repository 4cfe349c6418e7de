package gateway

import (
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/modelserveai/modelserve/gateway/call"
	v2 "github.com/modelserveai/modelserve/gateway/v2"
	"github.com/modelserveai/modelserve/internal/media"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// endpoints is every URL that the gateway answers by itself or routes by path, at its
// own hosts and at functions', by method and pattern.
func (g *gateway) endpoints() (own, functions map[string]*endpoint) {
	own = map[string]*endpoint{
		"GET /healthz": {route: "/healthz", public: true, serve: g.healthz},
		"GET /readyz":  {route: "/readyz", public: true, serve: g.readyz},
	}
	for _, e := range g.control.Endpoints() {
		own[e.Method+" "+e.Pattern] = &endpoint{route: e.Pattern, public: e.Public, stream: e.Stream, operation: e.Operation, serve: e.Serve}
	}
	functions = map[string]*endpoint{}
	for _, e := range g.v2.Endpoints() {
		functions[e.Method+" "+e.Pattern] = &endpoint{route: e.Pattern, limits: e.Limits, operation: v2.Operation(e.Pattern), serve: e.Serve}
	}
	maps.Copy(own, functions)
	return own, functions
}

// missing is why there is no endpoint for a request.
type missing struct {
	err   error
	allow string // the methods of the URL, where only the method is wrong
}

// find finds the endpoint of a request, or why there is none.
func (g *gateway) find(c *call.Call, r *http.Request) (endpoint, *missing) {
	if c.Protocol == call.GRPC {
		return g.procedure(r)
	}
	mux := g.own
	if c.Bound != nil {
		mux = g.functions
	}
	m := match{header: http.Header{}}
	mux.ServeHTTP(&m, r) // which only notes what it found
	switch {
	case m.endpoint != nil:
		return *m.endpoint, nil
	case m.status == http.StatusMethodNotAllowed:
		allow := m.header.Get("Allow")
		return endpoint{}, &missing{problem.New(problem.MethodNotAllowed, "expected %s, got %s", strings.ReplaceAll(allow, ", ", " or "), r.Method), allow}
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace: // a function would show a caller what only it is sent
		return endpoint{}, &missing{err: problem.New(problem.MethodNotAllowed, "expected another method than %s", r.Method)}
	case c.Bound != nil && !isV2(r):
		return endpoint{route: "/", limits: true, serve: g.native}, nil
	default:
		return endpoint{}, &missing{err: problem.New(problem.NotFound, "there is no such URL; /openapi.json lists them")}
	}
}

// procedure finds the procedure of a request of gRPC.
func (g *gateway) procedure(r *http.Request) (endpoint, *missing) {
	if !media.IsGRPC(r.Header, "", "+proto") {
		return endpoint{}, &missing{err: problem.New(problem.Unimplemented,
			"expected gRPC with protobuf messages: content type application/grpc")}
	}
	path := r.URL.EscapedPath()
	p, ok := g.v2.Procedure(path)
	if !ok || r.URL.RawQuery != "" || r.URL.ForceQuery {
		return endpoint{}, &missing{err: problem.New(problem.Unimplemented, "there is no such procedure")}
	}
	return endpoint{route: path, public: p.Public, stream: p.Stream, up: p.Up, limits: p.Limits, operation: v2.Operation(path), serve: p.Serve}, nil
}

// match is a response writer by which an http.ServeMux reports what it found: an
// endpoint, or the status that it would answer with. The mux redirects paths that
// are not clean, and writes text; both come before anybody has looked at the
// request.
type match struct {
	endpoint *endpoint
	header   http.Header
	status   int
}

// Header implements http.ResponseWriter.
func (m *match) Header() http.Header { return m.header }

// WriteHeader implements http.ResponseWriter.
func (m *match) WriteHeader(status int) { m.status = status }

// Write implements http.ResponseWriter.
func (*match) Write(p []byte) (int, error) { return len(p), nil }

// ServeHTTP implements http.Handler: the endpoint was found.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if m, ok := w.(*match); ok {
		m.endpoint = e
	}
}

// newMux holds endpoints by their method and pattern.
func newMux(endpoints map[string]*endpoint) *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, e := range endpoints {
		mux.Handle(pattern, e)
	}
	return mux
}

// checkURL refuses a URL that two readers could read differently.
func checkURL(c *call.Call, r *http.Request) error {
	if c.Protocol == call.GRPC {
		return nil // procedures are compared as they are
	}
	path := r.URL.EscapedPath()
	if c.Bound == nil || isV2(r) {
		if err := checkEnd(path); err != nil {
			return err
		}
	}
	if err := checkPath(path); err != nil {
		return pathError{problem.From(err)}
	}
	return nil
}

// checkEnd refuses a path that ends in a slash: none of ours does.
func checkEnd(escaped string) error {
	if len(escaped) > 1 && strings.HasSuffix(escaped, "/") && !strings.HasSuffix(escaped, "//") {
		return problem.New(problem.NotFound, "there is no such URL: leave out the slash at its end")
	}
	return nil
}

// checkPath refuses paths that two readers could read differently. A model's
// name with such a thing in it is refused as that.
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
		case err != nil, plain == ".", plain == "..", strings.ContainsAny(plain, "/\\;"):
			return problem.Invalid("path", "segment %q: expected one without . or .. or / or \\ or ;", segment)
		case strings.ContainsFunc(plain, isControl):
			return problem.Invalid("path", "segment %q: expected one without control characters (%%00 to %%1F, %%7F)", segment)
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
