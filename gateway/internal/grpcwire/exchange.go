package grpcwire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/modelserveai/modelserve/problem"
)

// Exchange is one message of a call and the answer to it. It takes room for both:
// first for the message's beginning, by which its caller can be refused, then for all
// of it at once, so that nothing that waits for room holds more than a beginning. One
// goroutine uses it at a time.
type Exchange struct {
	stream     *Stream
	number     int64 // of the call's messages, from 0
	compressed bool
	length     int64 // bytes of the message as it comes
	left       int64 // bytes of it that have not come
	message    Message
	held       int64 // bytes of the room

	turn   <-chan struct{} // closed when the answers before this one need no more room
	passed chan struct{}   // closed when this one needs none
	pass   func()          // closes passed
}

// firstPiece is as much as is read of a message before its caller is decided on, in
// bytes.
const firstPiece = 64 << 10

// Next is the next message's exchange, of whose message nothing is read; io.EOF after
// the last. An error ends the call.
func (s *Stream) Next() (*Exchange, error) {
	plain, err := isPlain(s.encoding)
	if err != nil {
		return nil, err
	}
	head, err := readHead(s.body)
	if errors.Is(err, errEnd) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, broken(err)
	}
	x := &Exchange{
		stream: s, number: s.received, compressed: head[0] == 1, length: head.length(), left: head.length(),
		turn: s.turn, passed: make(chan struct{}),
	}
	x.pass = sync.OnceFunc(func() { close(x.passed) })
	switch {
	case x.length > s.most:
		return nil, tooLarge(s.most)
	case head[0] > 1:
		return nil, problem.New(problem.MalformedBody, "the message's flag is %d; expected 0, or 1 for a compressed one", head[0])
	case x.compressed && plain:
		return nil, notAsSaid()
	}
	s.received, s.turn = s.received+1, x.passed
	return x, nil
}

// Only is the exchange of a call that has one message. Begin and ReadOnly follow.
func (s *Stream) Only() (*Exchange, error) {
	x, err := s.Next()
	if errors.Is(err, io.EOF) {
		return nil, problem.New(problem.MalformedBody, "expected one message, got none")
	}
	return x, err
}

// Message is what is read of the message; decompressed once it is whole.
func (x *Exchange) Message() Message { return x.message }

// Begin reads the beginning of the message. It returns that, decompressed, and
// whether there is more.
func (x *Exchange) Begin(ctx context.Context) (beginning []byte, more bool, err error) {
	first := min(x.length, firstPiece)
	if err := x.hold(ctx, first+Spare); err != nil {
		return nil, false, err
	}
	x.message = make(Message, 0, first+Spare)
	if err := x.fill(first); err != nil {
		return nil, false, err
	}
	if x.compressed {
		beginning, err = beginningOf(x.message, x.stream.encoding)
		return beginning, true, err
	}
	return x.message, x.left > 0, nil
}

// Read reads the rest of the message.
func (x *Exchange) Read(ctx context.Context) error {
	if x.left > 0 {
		if err := x.hold(ctx, x.length+Spare); err != nil {
			return err
		}
		x.message = append(make(Message, 0, x.length+Spare), x.message...)
		if err := x.fill(x.left); err != nil {
			return err
		}
	}
	if x.compressed {
		return x.decompress(ctx)
	}
	return nil
}

// ReadOnly reads the rest of the message, behind which none may follow.
func (x *Exchange) ReadOnly(ctx context.Context) error {
	if err := x.Read(ctx); err != nil {
		return err
	}
	switch n, err := x.stream.body.Read(make([]byte, 1)); {
	case n > 0:
		return problem.New(problem.MalformedBody, "expected one message, got more")
	case err != nil && !errors.Is(err, io.EOF):
		return err //nolint:wrapcheck // the body's own problem
	}
	return nil
}

// Refuse gives back what there is of a message that is not answered by a function.
// Skip follows, while others may already send its error and be done.
func (x *Exchange) Refuse() {
	x.message = nil
	x.drop()
}

// Skip reads over what is left of a message that is refused. An error ends the call.
func (x *Exchange) Skip() error {
	n, err := io.CopyN(io.Discard, x.stream.body, x.left)
	x.left -= n
	return broken(err)
}

// Answer reads the answer of a function, of at most most bytes, in place of the
// message, of which nothing more is sent once a function answers.
func (x *Exchange) Answer(ctx context.Context, res *http.Response, most int64) (Message, error) {
	defer res.Body.Close()
	m, err := receive(res, func(length int64) (Message, error) {
		if largest := x.stream.room.of.Largest(); length > min(largest, most) {
			return nil, problem.New(problem.PayloadTooLarge,
				"the answer has %d bytes; at most %d can be handed on, which depends on MODELSERVE_MAX_INFLIGHT", length, min(largest, most))
		}
		if length > x.held {
			select { // later answers, which are sent later, do not take this one's room
			case <-x.turn:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		if err := x.hold(ctx, length); err != nil {
			return nil, err
		}
		x.pass()
		return make(Message, length), nil
	})
	if err != nil {
		x.drop() // a stream goes on for longer than its answers
	}
	return m, err
}

// Done gives back all that the exchange holds, whose message and answer are not
// looked at any more. Those of a stream are done in their order.
func (x *Exchange) Done() {
	x.drop()
	x.stream.done.Add(1)
	x.pass()
}

// hold takes room for n bytes in all, or gives back what is more.
func (x *Exchange) hold(ctx context.Context, n int64) error {
	if more := n - x.held; more > 0 {
		comesBack := func() bool { return x.stream.done.Load() < x.number }
		if err := x.stream.room.take(ctx, more, comesBack); err != nil {
			return err
		}
	} else {
		x.stream.room.release(-more)
	}
	x.held = n
	return nil
}

func (x *Exchange) drop() {
	x.stream.room.release(x.held)
	x.held = 0
}

// fill reads n bytes more of the message, for which there is space.
func (x *Exchange) fill(n int64) error {
	at := len(x.message)
	x.message = x.message[:at+int(n)]
	got, err := io.ReadFull(x.stream.body, x.message[at:])
	x.left -= int64(got)
	return broken(err)
}

// broken is the error of a body that ended within a message; any other is returned
// as it is.
func broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return problem.New(problem.MalformedBody, "the message broke off before its announced end")
	}
	return err
}

// head precedes each message.
type head [HeaderLen]byte

func (h *head) length() int64 { return int64(binary.BigEndian.Uint32(h[1:])) }

// errEnd is of a body that ends before a message begins.
var errEnd = errors.New("no message")

// readHead reads what precedes a message, errEnd where there is none. Errors of the
// body are returned as they are.
func readHead(body io.Reader) (h head, err error) {
	n, err := io.ReadFull(body, h[:])
	if n == 0 && errors.Is(err, io.EOF) {
		return h, errEnd
	}
	return h, err //nolint:wrapcheck // the body's own problem
}
