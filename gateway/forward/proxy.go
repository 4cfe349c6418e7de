package forward

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// Proxy hands HTTP requests on as they are, and their answers back.
type Proxy struct {
	http1, http2 bufferPool
	logger       *slog.Logger
}

// NewProxy makes a Proxy. What breaks off is logged at debug level.
func NewProxy(logger *slog.Logger) *Proxy {
	return &Proxy{logger: logger, http1: bufferPool{size: copyBuffer}, http2: bufferPool{size: StreamBuffer}}
}

// Serve sends a request, with another path (escaped, and looked at before), and
// answers with what comes. Nothing is written when it returns an error, which is
// send's. An answer that breaks off panics with http.ErrAbortHandler, as
// httputil.ReverseProxy does.
//
// A function's informational answers (1xx) go no further: they would be written
// before anything is taken off them, and ReverseProxy would then clear what the
// gateway has put on the answer. It asks for them in the context of its own request.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, path string, send func(*http.Request) (*http.Response, error)) (err error) {
	buffers := &p.http1
	if r.ProtoMajor > 1 {
		buffers = &p.http2
	}
	proxy := &httputil.ReverseProxy{
		Transport: roundTripper(func(out *http.Request) (*http.Response, error) {
			return send(out.WithContext(r.Context()))
		}),
		BufferPool: buffers,
		ErrorLog:   slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug),
		Rewrite: func(out *httputil.ProxyRequest) {
			out.Out.URL.RawPath = path
			out.Out.URL.Path, _ = url.PathUnescape(path)
			out.Out.URL.RawQuery = out.In.URL.RawQuery
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, failed error) { err = failed },
	}
	proxy.ServeHTTP(w, r)
	return err
}

// roundTripper sends a request.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (send roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return send(r) }

// bufferPool lends the proxy its copy buffers.
type bufferPool struct {
	size int // bytes
	pool sync.Pool
}

var _ httputil.BufferPool = (*bufferPool)(nil)

const (
	copyBuffer = 256 << 10 // tensors are large, and each wake-up costs more than memory

	// StreamBuffer is what an answer over HTTP/2 takes, of which a connection has many, in
	// bytes.
	StreamBuffer = 64 << 10
)

// Get implements httputil.BufferPool.
func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, p.size)
}

// Put implements httputil.BufferPool.
func (p *bufferPool) Put(b []byte) {
	if len(b) == p.size {
		p.pool.Put(&b)
	}
}
