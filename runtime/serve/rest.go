package serve

import (
	"cmp"
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/internal/media"
	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// handler answers one route; an error is written in the URL's own form.
type handler func(w http.ResponseWriter, r *http.Request) error

// plain makes a handler of one that cannot fail.
func plain(f http.HandlerFunc) handler {
	return func(w http.ResponseWriter, r *http.Request) error { f(w, r); return nil }
}

// routes are the URLs of HTTP that is not gRPC.
func (s *Server) routes() http.Handler {
	get := func(h handler) map[string]handler { return map[string]handler{http.MethodGet: h} }
	post := func(h handler) map[string]handler { return map[string]handler{http.MethodPost: h} }
	table := map[string]map[string]handler{
		"/{$}":     post(s.serveNative),
		"/healthz": get(plain(s.serveLive)),
		"/readyz":  get(plain(s.serveReady)),

		"/v2":                                   get(plain(s.serveServerMetadata)),
		"/v2/health/live":                       get(plain(s.serveV2Live)),
		"/v2/health/ready":                      get(plain(s.serveV2Ready)),
		"/v2/models/stats":                      get(s.serveStats),
		"/v2/repository/index":                  {http.MethodGet: s.serveIndex, http.MethodPost: s.serveIndex},
		"/v2/repository/models/{model}/load":    post(s.serveLoad),
		"/v2/repository/models/{model}/unload":  post(s.serveUnload),
		"/v2/models/{model}/versions/{version}": get(s.serveModelMetadata),
		"/v2/models/{model}":                    get(s.serveModelMetadata),
		"/v2/models/{model}/ready":              get(s.serveModelReady),
		"/v2/models/{model}/config":             get(s.serveConfig),
		"/v2/models/{model}/stats":              get(s.serveStats),
		"/v2/models/{model}/infer":              post(s.serveInfer),

		// Triton's, whose clients shall read why not.
		"/v2/systemsharedmemory/":          refuse("shared memory"),
		"/v2/cudasharedmemory/":            refuse("shared memory"),
		"/v2/trace/setting":                refuse("the trace extension"),
		"/v2/models/{model}/trace/setting": refuse("the trace extension"),
		"/v2/logging":                      refuse("the logging extension"),
	}
	for _, leaf := range []string{"/ready", "/config", "/stats", "/infer"} {
		table["/v2/models/{model}/versions/{version}"+leaf] = table["/v2/models/{model}"+leaf]
	}
	mux := http.NewServeMux()
	for pattern, methods := range table {
		mux.HandleFunc(pattern, s.byMethod(methods))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		r.Pattern = "" // no span has it for its route
		s.fail(w, r, nothingAt(r))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would redirect these to what they seem to mean.
		if p := r.URL.EscapedPath(); !strings.HasPrefix(p, "/") || strings.Contains(p, "//") || strings.Contains(p+"/", "/./") || strings.Contains(p+"/", "/../") {
			s.fail(w, r, nothingAt(r))
			return
		}
		if _, err := infer.MediaType(r.Header.Values("Content-Type")); err != nil {
			s.fail(w, r, err)
			return
		}
		if r.Method == http.MethodPost && media.IsGRPC(r.Header, "", "+proto") {
			s.fail(w, r, problem.New(problem.UnsupportedMedia, "expected gRPC over HTTP/2, got it over %s", r.Proto))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// refuse answers an extension that is not served.
func refuse(what string) map[string]handler {
	h := func(http.ResponseWriter, *http.Request) error {
		return problem.New(problem.Unimplemented, "%s is not supported", what)
	}
	return map[string]handler{http.MethodGet: h, http.MethodPost: h}
}

// nothingAt is the error of a URL that is none of ours. It has no path: errors are
// logged, and a caller's path may hold a secret.
func nothingAt(r *http.Request) error {
	if p := r.URL.EscapedPath(); len(p) > 1 && strings.HasSuffix(p, "/") && !strings.HasSuffix(p, "//") {
		return problem.New(problem.NotFound, "there is nothing at this path: leave out the slash at its end")
	}
	return problem.New(problem.NotFound, "there is nothing at this path")
}

// byMethod answers with the handler of the request's method.
func (s *Server) byMethod(methods map[string]handler) http.HandlerFunc {
	names := slices.Sorted(maps.Keys(methods))
	if methods[http.MethodGet] != nil {
		names = append(names, http.MethodHead)
	}
	allow := strings.Join(names, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		h := methods[method]
		if h == nil {
			w.Header().Set("Allow", allow)
			s.fail(w, r, problem.New(problem.MethodNotAllowed, "expected %s; got %s", allow, r.Method))
			return
		}
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	}
}

// serveInfer answers one V2 REST inference.
func (s *Server) serveInfer(w http.ResponseWriter, r *http.Request) (err error) {
	c := s.metrics.begin(protocolREST)
	defer func() { s.metrics.end(r.Context(), c, err) }()
	ctx, cancel, err := deadline(r.Context(), r.Header)
	if err != nil {
		return err
	}
	defer cancel()
	held := s.memory.Open(s.payer(r.Header))
	defer held.End()
	return s.guard(ctx, func() error { return s.inferREST(ctx, c, held, w, r) })
}

func (s *Server) inferREST(ctx context.Context, c *call, held *memory.Call, w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("model")
	version, err := infer.VersionOf(r.PathValue("version"), r.Header.Values(infer.VersionHeader))
	if err != nil {
		return err
	}
	if err := checkRef(name, version); err != nil {
		return err
	}
	req, size, err := s.readRequest(ctx, held, w, r)
	c.received = size
	if err != nil {
		return err
	}
	req.Model, req.Version, req.Tenant = name, version, r.Header.Get(infer.TenantHeader)
	lease, err := s.acquire(ctx, c, name, version)
	if err != nil {
		return err
	}
	defer lease.Release()
	resp, err := s.run(ctx, c, held, lease, req)
	if err != nil {
		return err
	}
	defer resp.Release()
	if err := held.Take(ctx, infer.ResponseBytes(resp, req)); err != nil {
		return err
	}
	body, err := infer.EncodeResponse(resp, req)
	if err != nil {
		return err
	}
	c.sent = body.Size()
	c.writeTiming(w.Header())
	return s.writeEncoded(w, r, held, body)
}

// readRequest reads and decodes the body of an infer request.
func (s *Server) readRequest(ctx context.Context, held *memory.Call, w http.ResponseWriter, r *http.Request) (*infer.Request, int64, error) {
	headerLength, err := infer.JSONLength(r.Header.Values(infer.JSONLengthHeader))
	if err != nil {
		return nil, 0, err
	}
	media := mediaType(r.Header.Get("Content-Type"))
	if err := infer.RefuseForm(media, nil, infer.InsteadOfForm); err != nil {
		return nil, 0, err // as soon as that is known
	}
	body, err := s.readBody(w, r, held, headerLength)
	if err != nil {
		return nil, 0, err
	}
	if err := infer.RefuseForm(media, body, infer.InsteadOfForm); err != nil {
		return nil, int64(len(body)), err
	}
	req, err := s.decode(ctx, held, s.large(ctx, r.Header), body, headerLength)
	return req, int64(len(body)), err
}

// decode decodes the body of an infer request, a large one beside those of others. While
// it waits for memory another has its thread.
func (s *Server) decode(ctx context.Context, held *memory.Call, large nice.Large, body []byte, headerLength int) (req *infer.Request, err error) {
	limits := infer.Limits{Reserve: func(n int64) error { return held.Take(ctx, n) }}
	if len(body) >= nice.LargeBytes {
		limits.Reserve = func(n int64) error {
			err := held.TryTake(n)
			if problem.CodeOf(err) == problem.Overloaded {
				s.cfg.Large.Lend(func() { err = held.Take(ctx, n) })
			}
			return err
		}
	}
	failed := large.Of(len(body), func() { req, err = infer.DecodeRequest(body, headerLength, limits) })
	return req, cmp.Or(failed, err)
}

// writeEncoded writes a V2 body. Once it is begun an error can only break the
// connection.
func (s *Server) writeEncoded(w http.ResponseWriter, r *http.Request, held memory.Holder, body *infer.Encoded) error {
	w.Header().Set("Content-Type", body.ContentType())
	if n := body.HeaderLength(); n != infer.NoHeader {
		w.Header().Set(infer.JSONLengthHeader, strconv.Itoa(n))
	}
	s.write(w, r, held, body.Size(), func(out io.Writer) error {
		n, err := body.WriteTo(out)
		if err == nil && n != body.Size() {
			err = io.ErrShortWrite
		}
		return err
	})
	return nil
}

// write writes an answer of size bytes, compressed when the client takes it. One
// that cannot be written whole breaks the connection, so that nobody takes it
// for a whole one.
func (s *Server) write(w http.ResponseWriter, r *http.Request, held memory.Holder, size int64, body func(io.Writer) error) {
	out, done := s.compress(w, r, held, size)
	err := body(out)
	if err == nil {
		err = done()
	}
	if err != nil { // mostly, the client is gone
		s.cfg.Logger.DebugContext(r.Context(), "write the answer", "error", err)
		panic(http.ErrAbortHandler)
	}
}
