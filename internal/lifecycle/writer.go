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
type writer struct {
	http.ResponseWriter

	mu   sync.Mutex // held while a deadline is set
	over bool
}

// end is called when the handler has returned.
func (w *writer) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
}

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
	_ = http.NewResponseController(w.ResponseWriter).Flush() // best effort, as http.Flusher is
}

// Unwrap lets http.ResponseController reach the server's writer.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
