package grpcwire

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/internal/nice"
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

	patience time.Duration
	large    nice.Large
	single   bool // the call has one message

	received int64           // exchanges
	done     atomic.Int64    // exchanges
	last     <-chan struct{} // closed when the last one received was sent
}

// Accept begins to answer a call whose messages have at most most bytes each, and
// are in its tenant's room until they are done, or the call ends. It waits with
// patience for room that others have, while nothing of its own is under way that gives
// some back. Whoever accepts closes it.
func Accept(w http.ResponseWriter, r *http.Request, most int64, of room.Tenant, patience time.Duration) *Stream {
	h := w.Header()
	h.Set("Content-Type", r.Header.Get("Content-Type"))
	h.Set("Grpc-Accept-Encoding", encodings)
	first := make(chan struct{})
	close(first)
	return &Stream{w: w, body: r.Body, most: most, encoding: r.Header.Get("Grpc-Encoding"), room: share{of: of}, patience: patience, last: first}
}

// Bound bounds the messages that have not come yet further than Accept did, in bytes.
func (s *Stream) Bound(most int64) { s.most = min(s.most, most) }

// Aside has large messages decompressed by large.
func (s *Stream) Aside(large nice.Large) { s.large = large }

// Header is the metadata of the answer, until its first message is sent.
func (s *Stream) Header() http.Header { return s.w.Header() }

// Send sends a message, which is what the parts are one after the other.
func (s *Stream) Send(parts ...[]byte) error {
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	if err := s.write(header(length)); err != nil {
		return err
	}
	return s.write(parts...)
}

// ErrNotSent is of a client that is gone, or does not read.
var ErrNotSent = errors.New("the answer was not sent")

func (s *Stream) write(parts ...[]byte) error {
	for _, part := range parts {
		if _, err := s.w.Write(part); err != nil { //nolint:gosec // gRPC, no page
			return fmt.Errorf("%w: %w", ErrNotSent, err)
		}
	}
	return nil
}

// Abort ends whatever waits for the client's next message: the call cannot go on.
func (s *Stream) Abort() {
	if body, ok := s.body.(interface{ Abort() }); ok {
		body.Abort()
	}
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
