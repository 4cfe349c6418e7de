package gateway

import (
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/internal/grpcwire"
	"github.com/modelserveai/modelserve/problem"
)

// body bounds a request's body in bytes, also when its length was not
// announced, and in time: what reading may take grows with what has been read,
// so that a slow client cannot hold a function's slot. Only reading counts: a
// function that starts first, or is busy, takes its own time.
//
// Once it has ended, or failed, each Read returns the same error, and the
// server's body is not touched again: a transport reads once more behind the last
// byte, in its own time, and by then the answer may have been given and the
// server's body be closed.
type body struct {
	source  io.Reader // the server's, who closes it
	control *http.ResponseController
	config  *Config

	came    atomic.Int64 // bytes, of all messages
	closed  atomic.Bool
	aborted atomic.Bool
	reading sync.Mutex // held by a Read, over what only Reads use
	ended   error      // what each Read returns from then on
	left    int64      // bytes that are announced and not read; -1 when that is not known

	arrived func() // called when all has come, or no more will; may be nil

	look func(p []byte) *problem.Error // looks at what comes before it is handed on, and refuses it; may be nil

	waited time.Duration // for the client, in Read
	end    time.Time     // of the request's whole budget
	taken  int64         // bytes; of a stream, those of the message that is under way
	http2  bool

	grpc   bool // there are frames around the messages
	stream bool // without an end: each message is bounded as a body is, and the time between them
	frames grpcwire.Frames

	// failed is why reading ended early, for whoever sees only that the
	// forwarded request broke off.
	failed atomic.Pointer[problem.Error]
}

// bound puts the limits on a request's body, or refuses one that is announced
// too long.
func (g *gateway) bound(w http.ResponseWriter, r *http.Request) (*body, error) {
	b := &body{
		source: r.Body, left: r.ContentLength, control: http.NewResponseController(w), config: &g.config,
		end: time.Now().Add(g.config.Timeout), http2: r.ProtoMajor >= 2, grpc: protocolOf(r) == call.GRPC,
	}
	if r.ContentLength > b.most() {
		return nil, g.tooLarge()
	}
	if r.Body == nil || r.Body == http.NoBody {
		return b, nil
	}
	if !b.http2 {
		// An answer given without reading waits for the rest of the body: net/http
		// reads on, and must not do so for ever.
		_ = b.control.SetReadDeadline(time.Now().Add(g.config.BodyTimeout))
	}
	r.Body = b
	return b, nil
}

func (g *gateway) tooLarge() *problem.Error {
	return problem.New(problem.PayloadTooLarge, "the body is larger than %v; send larger inputs by reference", g.config.MaxBody)
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.ended == nil && b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.ended != nil {
		return 0, b.ended
	}
	n, err := b.read(p)
	if b.left > 0 {
		if b.left -= int64(n); b.left == 0 && err == nil {
			err = io.EOF // as announced
		}
	}
	if b.ended = err; err != nil && b.arrived != nil {
		b.arrived()
	}
	return n, err
}

// Close implements io.Closer. It waits for no Read.
func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}

// Abort ends a Read that waits, and all that follow. It waits for none.
func (b *body) Abort() {
	b.aborted.Store(true)
	_ = b.control.SetReadDeadline(time.Unix(1, 0))
}

// read reads from the server's body. The caller holds reading.
func (b *body) read(p []byte) (int, error) {
	began := time.Now()
	// Not every writer can (a test's recorder); the server's can.
	_ = b.control.SetReadDeadline(began.Add(b.patience()))
	if b.aborted.Load() { // or the deadline would be this one
		_ = b.control.SetReadDeadline(time.Unix(1, 0))
	}
	if left := b.most() - b.taken; int64(len(p)) > left+1 {
		p = p[:left+1] // one more, to see that there is more
	}
	n, err := b.source.Read(p)
	b.taken += int64(n)
	b.came.Add(int64(n))
	b.waited += time.Since(began)
	if b.stream {
		if b.frames.Pass(p[:n]) {
			b.waited, b.end = 0, time.Now().Add(b.config.Timeout)
		}
		b.taken = b.frames.Within()
	}
	if b.taken > b.most() {
		return 0, b.fail(problem.New(problem.PayloadTooLarge, "the body is larger than %v; send larger inputs by reference", b.config.MaxBody))
	}
	if b.http2 || errors.Is(err, io.EOF) {
		// A deadline left behind would end a stream whose function is slow, or
		// the connection's next wait.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	if b.look != nil {
		if refused := b.look(p[:n]); refused != nil {
			return 0, b.fail(refused)
		}
	}
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return n, err
	case isTimeout(err):
		return n, b.fail(problem.New(problem.RequestTimeout, "the body came too slowly: %d bytes in %v", b.taken, b.waited.Round(time.Second)))
	case !b.http2 && !isCut(err): // net/http's errors of chunks
		return n, b.fail(problem.New(problem.MalformedBody, "the body cannot be read after %d bytes: %w", b.taken, err))
	default:
		return n, b.fail(problem.New(problem.MalformedBody, "the body broke off after %d bytes", b.taken))
	}
}

func (b *body) most() int64 {
	switch {
	case b.stream:
		return math.MaxInt64 - 1
	case b.grpc:
		return int64(b.config.MaxBody) + grpcwire.HeaderLen
	default:
		return int64(b.config.MaxBody)
	}
}

// patience is how much longer the client may take.
func (b *body) patience() time.Duration {
	if b.stream && b.taken == 0 {
		return b.config.StreamIdle
	}
	late := time.Duration(b.taken/int64(b.config.BodyRate)) * time.Second
	// What came fast buys time for what is to come, but never a long silence.
	return min(b.config.BodyTimeout+late-b.waited, b.config.BodyTimeout, time.Until(b.end))
}

func (b *body) fail(err *problem.Error) error {
	b.failed.Store(err)
	return err
}

// isCut reports whether the connection ended, or broke, within a body.
func isCut(err error) bool {
	var network net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &network) && network.Timeout()
}
