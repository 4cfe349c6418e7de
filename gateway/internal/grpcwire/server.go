package grpcwire

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

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
// receives.
type Stream struct {
	w        http.ResponseWriter
	body     io.Reader
	most     int64
	encoding string // of messages that say they are compressed; "" for none
	room     share
}

// Accept begins to answer a call whose messages have at most most bytes each, and
// are in room until they are released, or the call ends. An error (of an encoding
// that is not known) is for End all the same, which is to be called.
func Accept(w http.ResponseWriter, r *http.Request, most int64, room Room) (*Stream, error) {
	s := &Stream{w: w, body: r.Body, most: most, room: share{of: room}}
	h := w.Header()
	h.Set("Content-Type", r.Header.Get("Content-Type"))
	h.Set("Grpc-Accept-Encoding", encodings)
	switch encoding := r.Header.Get("Grpc-Encoding"); encoding {
	case "", "identity":
	case gzipEncoding, deflateEncoding:
		s.encoding = encoding
	default:
		return s, problem.New(problem.Unimplemented, "grpc-encoding: expected %s or none", strings.ReplaceAll(encodings, ",", ", "))
	}
	return s, nil
}

// Header is the metadata of the answer, until its first message is sent.
func (s *Stream) Header() http.Header { return s.w.Header() }

// Receive is the next message, io.EOF after the last.
func (s *Stream) Receive() (Message, error) {
	m, err := read(s.body, s.most, s.encoding, &s.room)
	if errors.Is(err, errEnd) {
		return nil, io.EOF
	}
	return m, err
}

// ReceiveOnly is the message of a call that has one.
func (s *Stream) ReceiveOnly() (Message, error) {
	m, err := s.Receive()
	if errors.Is(err, io.EOF) {
		return nil, problem.New(problem.MalformedBody, "expected one message, got none")
	}
	if err != nil {
		return nil, err
	}
	switch n, err := s.body.Read(make([]byte, 1)); {
	case n > 0:
		return nil, problem.New(problem.MalformedBody, "expected one message, got more")
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err //nolint:wrapcheck // the body's own problem
	}
	return m, nil
}

// Release gives back the memory of a message that is not looked at any more. A call
// of few messages need not: End does.
func (s *Stream) Release(m Message) { s.room.release(int64(cap(m))) }

// Answer reads the answer of a function for this call, as Receive does, into the
// call's room.
func (s *Stream) Answer(res *http.Response, most int64) (Message, error) {
	return receive(res, most, &s.room)
}

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
// the client gets; nil for OK. Nobody uses a message of the call any more.
func (s *Stream) End(err error) *connect.Error {
	defer s.room.end()
	defer s.Flush()
	e := problemgrpc.Error(err)
	if e != nil {
		e = problemgrpc.WithCode(e)
	}
	problemgrpc.SetStatus(s.w.Header(), e)
	return e
}

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
