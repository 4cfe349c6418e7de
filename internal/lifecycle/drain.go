package lifecycle

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/internal/media"
)

// Drain bounds what is read, and thrown away, of a body whose answer was given
// before it had all come: most clients read no answer before they have sent
// everything, and one whose connection is closed under it loses the answer
// (RFC 9112, 9.6).
type Drain struct {
	Bytes int64         // of one body
	Time  time.Duration // for one body
	Idle  time.Duration // without a byte of it; a quarter of that over HTTP/2
	Most  int64         // at once; the bodies of others are cut off

	// Drained, when set, is called for each: with how many bytes, and whether the
	// body ended.
	Drained func(bytes int64, whole bool)
}

// Over is d for handlers that take bodies of at most body bytes: those of up to
// four times that are drained. drained is its Drained.
func (d Drain) Over(body int64, drained func(bytes int64, whole bool)) Drain {
	d.Bytes, d.Drained = max(d.Bytes, 4*body), drained
	return d
}

// drainBuffer is what a drain holds of memory, in bytes.
const drainBuffer = 32 << 10

// drainer gives each handler a body that may be read past its end, and reads
// what the handler left of it.
type drainer struct {
	next    http.Handler
	bounds  Drain
	reading Reading
	now     atomic.Int64 // drains
}

// handler is the drainer's, which ends its drains with stopping.
func (d *drainer) handler(stopping context.Context) http.Handler {
	return http.HandlerFunc(func(server http.ResponseWriter, r *http.Request) {
		w := &writer{ResponseWriter: server, reading: d.reading, http2: r.ProtoMajor > 1}
		defer w.end()
		control := http.NewResponseController(w)
		switch {
		case r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0:
			handle(d.next, w, r)
			return
		case r.ProtoMajor > 1 && media.IsGRPC(r.Header): // its clients read while they send
			handle(d.next, w, r)
			return
		case control.EnableFullDuplex() != nil: // no server's writer
			handle(d.next, w, r)
			return
		}
		body := &requestBody{from: r.Body, left: r.ContentLength}
		answer := &answer{ResponseWriter: w, body: body, http1: r.ProtoMajor == 1}
		inner := r.WithContext(r.Context()) // net/http looks at the request's own body
		inner.Body = body
		defer func() {
			if !body.whole() { // the server itself shall wait for nothing more, least of all after a panic
				_ = control.SetReadDeadline(time.Unix(1, 0))
			}
		}()
		handle(d.next, answer, inner)
		whole := body.whole() || !body.failed() && d.drain(stopping, control, answer)
		if !whole && answer.http1 && !answer.last {
			panic(http.ErrAbortHandler) // the rest of the body would be taken for a request
		}
	})
}

// drain sends the answer and reads the rest of the body, within the bounds. It
// reports whether the body has ended.
func (d *drainer) drain(stopping context.Context, control *http.ResponseController, a *answer) (whole bool) {
	if !a.began {
		a.WriteHeader(http.StatusOK)
	}
	if control.Flush() != nil {
		return false
	}
	defer d.now.Add(-1)
	if d.now.Add(1) > d.bounds.Most {
		d.report(0, false)
		return false
	}
	idle := d.bounds.Idle
	if !a.http1 {
		idle /= 4 // a client that has seen the answer sends no more, and waits for its end
	}
	stop := context.AfterFunc(stopping, func() { _ = control.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	end := time.Now().Add(d.bounds.Time)
	buffer := make([]byte, drainBuffer)
	var n int64
	for n < d.bounds.Bytes && time.Now().Before(end) {
		next := time.Now().Add(idle)
		if next.After(end) {
			next = end
		}
		if control.SetReadDeadline(next) != nil || stopping.Err() != nil {
			break
		}
		more, err := a.body.discard(buffer)
		n += int64(more)
		if err != nil {
			break
		}
	}
	whole = a.body.whole()
	d.report(n, whole)
	if whole {
		_ = control.SetReadDeadline(time.Time{}) // or it would end the next request
	}
	return whole
}

func (d *drainer) report(bytes int64, whole bool) {
	if d.bounds.Drained != nil {
		d.bounds.Drained(bytes, whole)
	}
}

// answer closes a connection of HTTP/1 on which something follows that could be
// taken for a request: an answer given while much of the body is still to come,
// or one to a body that broke off. HTTP/2 would close all the connection's
// streams.
type answer struct {
	http.ResponseWriter
	body  *requestBody
	http1 bool
	began bool
	last  bool // of its connection
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if !a.began && status >= http.StatusOK {
		a.began = true
		if a.http1 && !a.body.whole() && !a.body.soon() {
			a.last = true
			a.Header().Set("Connection", "close")
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (a *answer) Write(p []byte) (int, error) {
	if !a.began {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(p)
}

// Flush implements http.Flusher, which connect-go looks for.
func (a *answer) Flush() {
	if !a.began {
		a.WriteHeader(http.StatusOK)
	}
	_ = http.NewResponseController(a.ResponseWriter).Flush() // best effort, as http.Flusher is
}

// Unwrap lets http.ResponseController reach the server's writer.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
