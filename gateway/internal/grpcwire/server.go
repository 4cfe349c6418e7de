package grpcwire

import (
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

// The encodings of messages that are taken. Answers are not compressed: tensors
// are dense, and compressing them costs more than it saves.
const (
	gzipEncoding    = "gzip"
	deflateEncoding = "deflate"
	encodings       = gzipEncoding + "," + deflateEncoding
)

// Stream is the server's side of one call. One goroutine may send while another
// receives, and others read answers.
type Stream struct {
	w        http.ResponseWriter
	body     io.Reader
	most     int64
	encoding string // of messages that say they are compressed
	room     share

	patience Patience

	received int64        // exchanges
	done     atomic.Int64 // exchanges
	turns    turns
}

// Accept begins to answer a call whose messages have at most most bytes each, and
// are in its tenant's room until they are done, or the call ends. It waits with
// patience for room that others have. Whoever accepts closes it.
func Accept(w http.ResponseWriter, r *http.Request, most int64, of room.Tenant, patience Patience) *Stream {
	h := w.Header()
	h.Set("Content-Type", r.Header.Get("Content-Type"))
	h.Set("Grpc-Accept-Encoding", encodings)
	return &Stream{w: w, body: r.Body, most: most, encoding: r.Header.Get("Grpc-Encoding"), room: share{of: of}, patience: patience}
}

// Header is the metadata of the answer, until its first message is sent.
func (s *Stream) Header() http.Header { return s.w.Header() }

// Send sends a message, which is what the parts are one after the other.
func (s *Stream) Send(parts ...[]byte) error {
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	if _, err := s.w.Write(header(length)); err != nil { //nolint:gosec // gRPC, no page
		return err //nolint:wrapcheck // of a client that is gone
	}
	for _, part := range parts {
		if _, err := s.w.Write(part); err != nil { //nolint:gosec // gRPC, no page
			return err //nolint:wrapcheck // of a client that is gone
		}
	}
	return nil
}

// Flush sends at once what Send has.
func (s *Stream) Flush() {
	_ = http.NewResponseController(s.w).Flush() // one that cannot has nothing to flush
}

// End ends the answer with an error's status, or with OK for nil. It returns what
// the client gets; nil for OK.
func (s *Stream) End(err error) *connect.Error {
	defer s.Flush()
	e := problemgrpc.Error(err)
	if e != nil {
		e = problemgrpc.WithCode(e)
	}
	problemgrpc.SetStatus(s.w.Header(), e)
	return e
}

// Close gives back what is left of the call's messages, of which nobody uses one any
// more. It is for however the call ended, also by a panic.
func (s *Stream) Close() { s.room.end() }

// Timeout is how long the client waits, by its headers; 0 where they have none.
func Timeout(h http.Header) (time.Duration, error) {
	const name = "Grpc-Timeout"
	text := h.Get(name)
	if text == "" {
		return 0, nil
	}
	unit, known := unitOf(text[len(text)-1])
	number := text[:len(text)-1]
	n, err := strconv.ParseUint(number, 10, 32)
	if !known || err != nil || len(number) > 8 {
		return 0, problem.Invalid("grpc-timeout", "expected up to 8 digits and one of H, M, S, m, u, n")
	}
	if unit == time.Hour && n > uint64(mostHours) {
		return 0, nil // as good as none
	}
	return max(time.Duration(n)*unit, 1), nil
}

// unitOf is the unit that a letter of Grpc-Timeout names.
func unitOf(letter byte) (unit time.Duration, known bool) {
	switch letter {
	case 'n':
		return time.Nanosecond, true
	case 'u':
		return time.Microsecond, true
	case 'm':
		return time.Millisecond, true
	case 'S':
		return time.Second, true
	case 'M':
		return time.Minute, true
	case 'H':
		return time.Hour, true
	}
	return 0, false
}

const mostHours = int64(1<<63-1) / int64(time.Hour)
