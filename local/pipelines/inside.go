package pipelines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// Inside is a transport to a handler of this process. Answers stream: they are there as
// soon as the handler writes, and closing the body of one ends the handler's context.
type Inside struct {
	Handler http.Handler

	running sync.WaitGroup
}

// errPanicked is of a handler that did not answer.
var errPanicked = errors.New("the handler ended without an answer")

// RoundTrip calls the handler.
func (t *Inside) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.RequestURI = r.URL.RequestURI()
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	reader, writer := io.Pipe()
	a := &answering{header: http.Header{}, body: writer, begun: make(chan struct{})}
	t.running.Go(func() {
		defer cancel()
		err := t.serve(a, in)
		_ = in.Body.Close()
		if err == nil {
			a.WriteHeader(http.StatusOK)
		}
		_ = writer.CloseWithError(err) // nil is the end
		a.end()
	})
	select {
	case <-a.begun:
	case <-r.Context().Done():
	}
	if err := r.Context().Err(); err != nil {
		cancel()
		_ = reader.CloseWithError(err)
		return nil, fmt.Errorf("call the pipelines service: %w", err)
	}
	if a.status == 0 {
		return nil, errPanicked
	}
	size := int64(-1) // as of a stream
	if n, err := strconv.ParseInt(a.sent.Get("Content-Length"), 10, 64); err == nil {
		size = n
	}
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.sent, Body: &insideBody{PipeReader: reader, cancel: cancel}, ContentLength: size, Request: r,
	}, nil
}

// Wait returns when no handler runs any more.
func (t *Inside) Wait() { t.running.Wait() }

// serve calls the handler, and makes an error of a panic, as a server does.
func (t *Inside) serve(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", errPanicked, v)
		}
	}()
	t.Handler.ServeHTTP(w, r)
	return nil
}

// insideBody ends the handler's context when it is closed.
type insideBody struct {
	*io.PipeReader

	cancel context.CancelFunc
}

// Close ends the handler.
func (b *insideBody) Close() error {
	b.cancel()
	return b.PipeReader.Close() //nolint:wrapcheck // it returns none
}

// answering is what a handler writes to.
type answering struct {
	header http.Header
	body   *io.PipeWriter

	once   sync.Once
	begun  chan struct{}
	status int         // 0: it ended without an answer
	sent   http.Header // as it was when the answer began
}

// Header is that of the answer to be.
func (a *answering) Header() http.Header { return a.header }

// WriteHeader begins the answer.
func (a *answering) WriteHeader(status int) {
	if status < http.StatusOK {
		return // nobody asks for what comes before an answer
	}
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

// Write writes the body, and waits until it was read.
func (a *answering) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p) //nolint:wrapcheck // of a pipe
}

// Flush does nothing: nothing is held back.
func (a *answering) Flush() { a.WriteHeader(http.StatusOK) }

// end is of a handler that returned.
func (a *answering) end() { a.once.Do(func() { close(a.begun) }) }
