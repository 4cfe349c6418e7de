// Package inprocess is a transport whose requests a handler of the same process answers,
// as they come and go: bodies are streamed both ways, and whoever leaves ends the other
// side.
//
// It opens no connection, and so has no address, no TLS and no HTTP/2.
package inprocess

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// Transport is an http.RoundTripper.
type Transport struct{ handler http.Handler }

// New makes a Transport to a handler.
func New(handler http.Handler) *Transport { return &Transport{handler} }

// RoundTrip implements http.RoundTripper. The handler ends when the request's context
// does or the answer's body is closed, and both wait for it.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:0"
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	reader, writer := io.Pipe()
	w := &answer{header: http.Header{}, body: writer, begun: make(chan struct{}), head: r.Method == http.MethodHead}
	done := make(chan struct{})
	go func() { // the answer's body waits for it
		defer close(done)
		defer func() { _ = in.Body.Close() }()
		w.serve(t.handler, in)
	}()
	end := func() {
		cancel()
		_ = reader.Close() // a Write that waits returns
		<-done
	}
	select {
	case <-w.begun:
	case <-ctx.Done():
		end()
		return nil, r.Context().Err() //nolint:wrapcheck // the caller's own
	}
	if w.aborted {
		end()
		return nil, io.ErrUnexpectedEOF
	}
	res := &http.Response{
		Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, ContentLength: -1, Request: r, Body: &body{reader, sync.OnceFunc(end)},
	}
	if n, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		res.ContentLength = n
	}
	return res, nil
}

// body is that of an answer.
type body struct {
	*io.PipeReader

	end func()
}

// Close ends the handler. Closing twice is safe.
func (b *body) Close() error {
	b.end()
	return nil
}

// answer is the handler's side. It is the handler's goroutine's, and RoundTrip reads it
// once it has begun.
type answer struct {
	header  http.Header
	body    *io.PipeWriter
	head    bool
	begun   chan struct{}
	status  int
	sent    http.Header
	aborted bool // before it had begun
}

func (w *answer) serve(handler http.Handler, r *http.Request) {
	defer func() {
		if recover() == nil { // what a handler panics with it has logged
			return
		}
		_ = w.body.CloseWithError(io.ErrUnexpectedEOF)
		if w.status == 0 {
			w.status, w.aborted = http.StatusInternalServerError, true
			close(w.begun)
		}
	}()
	handler.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	_ = w.body.Close()
}

// Header implements http.ResponseWriter.
func (w *answer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. Informational answers go nowhere.
func (w *answer) WriteHeader(status int) {
	if w.status != 0 || status < http.StatusOK {
		return
	}
	w.status, w.sent = status, w.header.Clone()
	close(w.begun)
}

// Write implements io.Writer. It returns when the other side has read it.
func (w *answer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.head {
		return len(p), nil
	}
	return w.body.Write(p) //nolint:wrapcheck // io.ErrClosedPipe must stay itself
}

// Flush implements http.Flusher: nothing is held back.
func (w *answer) Flush() { w.WriteHeader(http.StatusOK) }
