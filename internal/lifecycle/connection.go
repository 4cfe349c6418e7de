package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// A client may end its side of the connection once it has sent its request, and
// still read (RFC 9293, 3.6: half-closed). To net/http, which reads one byte
// ahead while a handler runs, the end is that of a client who left, and cancels
// the request. TCP does not distinguish the two until something is sent: then
// the one reads it and the other's system resets the connection.
//
// So the end is held back while the request is answered, and the answer's first
// bytes, which are the same in all answers, are sent ahead one by one: the
// client reads nothing but an answer, and one who left is noticed.

// opening is what every answer of HTTP/1 begins with.
const opening = "HTTP/1."

// firstProbe is how long after the end of the client's side the first byte of
// the opening is sent; each next waits three times as long. When all are sent,
// and as much time has gone again, the client is taken for gone: after half
// an hour at most.
const firstProbe = 500 * time.Millisecond

// interim is what net/http writes before an answer, by itself.
const interim = "HTTP/1.1 100 Continue\r\n\r\n"

// Listener returns l with connections on which a client that has ended its side
// is answered, where the system can distinguish it from one who left, and on which no
// answer that broke off looks whole.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			boundUnsent(raw)
			return &connection{Conn: c, tcp: tcp, raw: raw}, nil
		}
	}
	return c, nil
}

// connection is one from a client. It is no io.ReaderFrom, so that all that is
// written goes through Write.
type connection struct {
	net.Conn
	tcp *net.TCPConn
	raw syscall.RawConn

	reading  Reading
	place    *member // nil: there is no bound
	prefaced int     // bytes of HTTP/2's preface that were read; used by Reads alone

	mu    sync.Mutex
	fresh bool // nothing of the present request's answer was written
	ahead int  // bytes of the opening that were sent ahead
	pace  pace // of this answer, or of all of a connection of HTTP/2
}

type connectionKey struct{}

// withConnection is an http.Server's ConnContext, which is called before anything is
// read or written. It closes a connection for which there is no place.
func withConnection(reading Reading, all *crowd) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context {
		ours, ok := c.(*connection)
		if !ok {
			return ctx
		}
		ours.reading = reading
		if all != nil {
			if ours.place = all.enter(c.RemoteAddr()); ours.place == nil {
				all.refused()
				ours.cut()
			}
		}
		return context.WithValue(ctx, connectionKey{}, ours)
	}
}

// Close implements net.Conn.
func (c *connection) Close() error {
	if c.place != nil {
		c.place.leave()
	}
	return c.Conn.Close()
}

// handle calls a request's handler. What was written before it belongs to other
// requests.
//
// An answer to HTTP/1.0 may end by the connection's end, which a FIN marks,
// whoever sends it: until the handler has returned, a connection that is closed,
// even by the death of the process, is reset.
func handle(next http.Handler, w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok || r.ProtoMajor != 1 {
		next.ServeHTTP(w, r)
		return
	}
	c.begin()
	returned, old := false, !r.ProtoAtLeast(1, 1)
	if old {
		c.reset(true)
	}
	defer func() {
		switch {
		case returned && old:
			c.reset(false)
		case !returned && w.Header().Get("Transfer-Encoding") != "": // "identity" is such an answer too
			c.reset(true)
		}
	}()
	next.ServeHTTP(w, r)
	returned = true
}

func (c *connection) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh, c.ahead, c.pace = true, 0, pace{}
}

// reset sets whether closing the connection resets it, and drops what was not
// sent.
func (c *connection) reset(on bool) {
	linger := -1 // the system's default
	if on {
		linger = 0
	}
	_ = c.tcp.SetLinger(linger) // fails only on a connection that is closed
}

// preface is what a connection of HTTP/2 begins with, and no other.
const preface = "PRI * HTTP/2.0\r\n"

// isHTTP2 looks at what was read next.
func (c *connection) isHTTP2(p []byte) bool {
	if c.prefaced < len(preface) {
		n := min(len(p), len(preface)-c.prefaced)
		if string(p[:n]) == preface[c.prefaced:c.prefaced+n] {
			c.prefaced += n
		} else {
			c.prefaced = len(preface) + 1
		}
	}
	return c.prefaced == len(preface)
}

// Read implements net.Conn. The end of the client's side is held back from
// net/http's look ahead, which alone asks for a single byte of HTTP/1; of HTTP/2
// the last byte of a frame's header may be asked for too.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	http2 := c.isHTTP2(p[:n])
	if n == 0 && len(p) == 1 && !http2 && errors.Is(err, io.EOF) {
		return 0, c.hold()
	}
	return n, err
}

// hold returns when the client is gone, when the deadline for reading passes,
// by which the server ends its look ahead, or when the connection is closed.
func (c *connection) hold() error {
	over := make(chan struct{})
	var probing sync.WaitGroup
	probing.Go(func() { c.probe(over) })
	err := c.raw.Read(gone) // woken by whatever happens to the socket
	close(over)
	probing.Wait()
	if err == nil {
		err = io.EOF
	}
	return err
}

// probe sends the opening ahead until over, and then ends the hold.
func (c *connection) probe(over <-chan struct{}) {
	wait := firstProbe
	for range len(opening) + 1 {
		timer := time.NewTimer(wait)
		select {
		case <-over:
			timer.Stop()
			return
		case <-timer.C:
		}
		wait *= 3
		if err := c.sendAhead(); err != nil {
			break
		}
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
}

// sendAhead sends the next byte of the opening, unless the answer has begun:
// then its own bytes find out.
func (c *connection) sendAhead() error {
	if !c.mu.TryLock() {
		return nil // it is being written
	}
	defer c.mu.Unlock()
	if !c.fresh || c.ahead == len(opening) {
		return nil
	}
	sent, err := send(c.raw, opening[c.ahead])
	if sent {
		c.ahead++
	}
	return err
}

// Write implements net.Conn.
func (c *connection) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.fresh {
		return c.write(p)
	}
	sent := c.ahead
	if !bytes.HasPrefix(p, []byte(opening)[:sent]) {
		_ = c.Close()
		return 0, errors.New("the answer does not begin with an HTTP/1 status line")
	}
	c.fresh, c.ahead = string(p) == interim, 0
	n, err := c.write(p[sent:])
	return n + sent, err
}

// write resets a connection to which not all could be written, because the
// client is gone or does not read: its end must not be taken for that of an
// answer. The caller holds mu.
func (c *connection) write(p []byte) (int, error) {
	n, err := c.pace.write(c.reading, p, c.Conn.Write, c.cut)
	if err != nil {
		c.reset(true)
	}
	return n, err
}

// cut ends the connection, and whatever is being written to it.
func (c *connection) cut() {
	c.reset(true)
	_ = c.Close()
}

// CloseWrite ends our side; net/http asks for it.
func (c *connection) CloseWrite() error { return c.tcp.CloseWrite() }
