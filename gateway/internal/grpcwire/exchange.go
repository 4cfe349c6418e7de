package grpcwire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/problem"
)

// Exchange is one message of a call and the answer to it. It takes room for the
// message once its caller was decided on by its beginning, and gives that back once a
// function answers, so that what waits for the answer's room has none. One goroutine
// uses it at a time.
type Exchange struct {
	stream     *Stream
	number     int64 // of the call's messages, from 0
	compressed bool
	length     int64 // bytes of the message as it comes
	left       int64 // bytes of it that have not come
	message    Message

	held  int64      // bytes of the room
	class room.Class // what they are for
}

// firstPiece is as much as is read of a message before its caller is decided on, in
// bytes. It is in no room: a connection's buffers are as large.
const firstPiece = 16 << 10

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
	x := &Exchange{stream: s, number: s.received, compressed: head[0] == 1, length: head.length(), left: head.length()}
	switch {
	case x.length > s.most:
		return nil, tooLarge(s.most)
	case head[0] > 1:
		return nil, problem.New(problem.MalformedBody, "the message's flag is %d; expected 0, or 1 for a compressed one", head[0])
	case x.compressed && plain:
		return nil, notAsSaid()
	}
	s.received++
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

// Came is how many bytes of the message have come, and of what precedes it.
func (x *Exchange) Came() int64 { return HeaderLen + x.length - x.left }

// Begin reads the beginning of the message, which takes no room, so that whoever is
// refused is so by what it holds. It returns that, decompressed, and whether there is
// more.
func (x *Exchange) Begin() (beginning []byte, more bool, err error) {
	first := min(x.length, firstPiece)
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

// Read takes room for the message, and reads the rest of it.
func (x *Exchange) Read(ctx context.Context) error {
	if err := x.takeForMessage(ctx, x.length+Spare); err != nil {
		return err
	}
	if x.left > 0 {
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
	x.drop()
	x.stream.turns.settle(x.number)
}

// Skip reads over what is left of a message that is refused. An error ends the call.
func (x *Exchange) Skip() error {
	n, err := io.CopyN(io.Discard, x.stream.body, x.left)
	x.left -= n
	return broken(err)
}

// Answer reads the answer of a function, of at most most bytes, in place of the
// message, which is dropped once the answer has begun: nothing more is sent of it then.
// Its function may give up an answer that had to wait for room, which is overloaded.
func (x *Exchange) Answer(ctx context.Context, res *http.Response, most int64) (Message, error) {
	defer res.Body.Close()
	res.Request = nil // it has the message
	var waited time.Duration
	m, err := receive(res, func(length int64) (Message, error) {
		if largest := x.stream.room.of.Largest(); length > min(largest, most) {
			return nil, problem.New(problem.PayloadTooLarge,
				"the answer has %d bytes; at most %d can be handed on, which depends on MODELSERVE_MAX_INFLIGHT", length, min(largest, most))
		}
		began := time.Now()
		if err := x.takeForAnswer(ctx, length); err != nil {
			return nil, err
		}
		waited = time.Since(began)
		return make(Message, length), nil
	})
	if err == nil {
		return m, nil
	}
	x.Refuse() // a stream goes on for longer than its answers
	if waited > functionsPatience && ctx.Err() == nil && !connect.IsWireError(err) {
		return nil, lost(err)
	}
	return nil, err
}

// functionsPatience is how long any function waits for its answer to be read.
const functionsPatience = time.Second

// lost is the error of an answer that was not read in time.
func lost(err error) error {
	return problem.New(problem.Overloaded,
		"answers that are being handed on took all the memory there is for them until the function gave this one up; call again: %w", problem.ForLog(err),
	).WithRetryAfter(time.Second)
}

// takeForAnswer drops the message, and takes room for n bytes of its answer: early
// where there is, and else when those before it have theirs.
func (x *Exchange) takeForAnswer(ctx context.Context, n int64) error {
	x.drop()
	turn := x.stream.turns.of(x.number)
	select {
	case <-turn:
	default:
		err := x.take(ctx, room.Early, n, wait{until: turn})
		if !errors.Is(err, errEnough) {
			return err
		}
	}
	if err := x.take(ctx, room.Due, n, wait{patience: x.stream.patience.Answer}); err != nil {
		return err
	}
	x.stream.turns.settle(x.number)
	return nil
}

// Done gives back all that the exchange holds, whose message and answer are not
// looked at any more. Those of a stream are done in their order.
func (x *Exchange) Done() {
	x.drop()
	x.stream.done.Add(1)
	x.stream.turns.settle(x.number)
}

// takeForMessage takes room for n bytes of the message, beside what it has.
func (x *Exchange) takeForMessage(ctx context.Context, n int64) error {
	comesBack := func() bool { return x.stream.done.Load() < x.number }
	return x.take(ctx, room.Message, n, wait{patience: x.stream.patience.Message, comesBack: comesBack})
}

func (x *Exchange) take(ctx context.Context, class room.Class, n int64, w wait) error {
	if err := x.stream.room.take(ctx, class, n, x.held, w); err != nil {
		return err
	}
	x.class = class
	x.held += n
	return nil
}

// shrink gives back what is held above n bytes.
func (x *Exchange) shrink(n int64) {
	x.stream.room.release(x.class, x.held-n)
	x.held = n
}

// drop gives back all, and what it was for.
func (x *Exchange) drop() {
	x.message = nil
	x.shrink(0)
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
