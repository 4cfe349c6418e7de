package lifecycle

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

// errOver is of a deadline for a request that has ended.
var errOver = errors.New("the request has ended")

// writer is the server's, whose deadlines may be set for as long as anybody has
// it: a transport goes on reading the body of a request whose handler has
// returned, and net/http's writer of HTTP/2 panics then.
//
// A client of HTTP/2 may read its connection and yet take nothing of an answer,
// whose stream then ends; that of HTTP/1 is bounded by its connection.
type writer struct {
	http.ResponseWriter
	reading Reading
	http2   bool
	pace    pace

	mu   sync.Mutex // held while a deadline is set
	over bool
}

// end is called when the handler has returned. Of HTTP/2 the server may still
// have some of the answer to write.
func (w *writer) end() {
	if w.http2 && w.reading.Wait > 0 && w.pace.taken > 0 {
		_ = w.SetWriteDeadline(time.Now().Add(w.reading.Wait)) // best effort: the stream may have ended
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if !w.http2 {
		return w.ResponseWriter.Write(p)
	}
	return w.pace.write(w.reading, p, w.ResponseWriter.Write, w.cut)
}

// cut ends the stream, and whatever is being written to it.
func (w *writer) cut() { _ = w.SetWriteDeadline(time.Unix(1, 0)) }

// SetReadDeadline is what http.ResponseController calls.
func (w *writer) SetReadDeadline(deadline time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return errOver
	}
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(deadline)
}

// SetWriteDeadline is what http.ResponseController calls.
func (w *writer) SetWriteDeadline(deadline time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return errOver
	}
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline)
}

// Flush implements http.Flusher, which connect-go looks for.
func (w *writer) Flush() {
	_ = w.FlushError() // best effort, as http.Flusher is
}

// FlushError is what http.ResponseController calls.
func (w *writer) FlushError() error {
	control := http.NewResponseController(w.ResponseWriter)
	if !w.http2 {
		return control.Flush()
	}
	_, err := w.pace.write(w.reading, nil, func([]byte) (int, error) { return 0, control.Flush() }, w.cut)
	return err
}

// Unwrap lets http.ResponseController reach the server's writer.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
