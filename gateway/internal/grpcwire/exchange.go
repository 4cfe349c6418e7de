package grpcwire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/problem"
)

// Exchange is one message of a call and the answer to it. The message is decided on by
// its beginning, and then passes (Pass), while it comes, to whoever answers it, or is
// held (Read). It has room for what it takes until its function answers. One goroutine
// uses it at a time, beside that which reads what passes.
type Exchange struct {
	stream     *Stream
	number     int64 // of the call's messages, from 0
	compressed bool
	length     int64 // bytes of the message as it comes
	message    Message

	coming sync.Mutex // held over a read of what is left
	left   int64      // bytes of the message that have not come
	came   atomic.Int64
	passes *Passing // nil: the message is held

	before <-chan struct{} // closed when the exchange before was sent
	sent   chan struct{}

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
	x := &Exchange{
		stream: s, number: s.received, compressed: head[0] == 1, length: head.length(), left: head.length(),
		before: s.last, sent: make(chan struct{}),
	}
	switch {
	case x.length > s.most:
		return nil, tooLarge(s.most)
	case head[0] > 1:
		return nil, problem.New(problem.MalformedBody, "the message's flag is %d; expected 0, or 1 for a compressed one", head[0])
	case x.compressed && plain:
		return nil, notAsSaid()
	}
	s.last = x.sent
	s.received++
	return x, nil
}

// Only is the exchange of a call that has one message, behind which none may follow.
func (s *Stream) Only() (*Exchange, error) {
	s.single = true
	x, err := s.Next()
	if errors.Is(err, io.EOF) {
		return nil, problem.New(problem.MalformedBody, "expected one message, got none")
	}
	return x, err
}

// Message is what is read of the message; decompressed once it is whole.
func (x *Exchange) Message() Message { return x.message }

// Came is how many bytes of the message have come, and of what precedes it.
func (x *Exchange) Came() int64 { return HeaderLen + x.came.Load() }

// Length is that of the message as it comes, in bytes.
func (x *Exchange) Length() int64 { return x.length }

// Begin reads the beginning of the message, which takes no room, so that whoever is
// refused is so by what it holds. It returns that, decompressed, and whether there is
// more. plain is whether the message is not compressed.
func (x *Exchange) Begin() (beginning []byte, more, plain bool, err error) {
	first := min(x.length, firstPiece)
	x.message = make(Message, 0, first+Spare)
	if err := x.fill(first); err != nil {
		return nil, false, false, err
	}
	if x.compressed {
		beginning, err = beginningOf(x.message, x.stream.encoding)
		return beginning, true, false, err
	}
	return x.message, x.left > 0, true, nil
}

// Read takes room for the message as it comes, and reads the rest of it. What it is
// decompressed to takes room as that grows.
func (x *Exchange) Read(ctx context.Context) error {
	if err := x.takeForMessage(ctx, int64(cap(x.message))); err != nil {
		return err
	}
	for x.left > 0 {
		larger, err := x.larger(ctx, x.message, x.length)
		if err != nil {
			return err
		}
		x.message = larger
		if err := x.fill(min(x.left, int64(space(larger)))); err != nil {
			return err
		}
	}
	if x.compressed {
		if err := x.decompress(ctx); err != nil {
			return err
		}
	}
	return x.stream.over()
}

// larger takes room for more space, and moves into it what there is of a message, which
// will have at most most bytes. It has four times as much as before, twice from 1 MiB on.
func (x *Exchange) larger(ctx context.Context, m Message, most int64) (Message, error) {
	const large = 1 << 20
	n := 2 * int64(len(m))
	if len(m) < large {
		n = max(2*n, firstPiece)
	}
	n = min(n+1, most) + Spare // 1: what ends at a power of two is not moved to see that
	if err := x.takeForMessage(ctx, n); err != nil {
		return nil, err
	}
	larger := append(make(Message, 0, n), m...)
	x.shrink(x.held - int64(cap(m)))
	return larger, nil
}

// space is what of a message's is free, in bytes, but for Spare.
func space(m Message) int { return cap(m) - Spare - len(m) }

// over holds that nothing follows the message of a call that has one.
func (s *Stream) over() error {
	if !s.single {
		return nil
	}
	switch n, err := s.body.Read(make([]byte, 1)); {
	case n > 0:
		return problem.New(problem.MalformedBody, "expected one message, got more")
	case err != nil && !errors.Is(err, io.EOF):
		return err //nolint:wrapcheck // the body's own problem
	}
	return nil
}

// Refuse gives back what there is of a message that is not answered by a function.
// Skip follows, while others may already send its error.
func (x *Exchange) Refuse() {
	x.drop()
	if x.passes != nil {
		_ = x.passes.Close()
	}
}

// Skip waits until nobody reads what is left of the message, and reads over it.
// Whoever reads it later fails. An error ends the call.
func (x *Exchange) Skip(ctx context.Context) error {
	if x.passes != nil {
		select {
		case <-x.passes.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	x.coming.Lock()
	defer x.coming.Unlock()
	if x.passes != nil && x.left > 0 {
		x.passes.ended = http.ErrBodyReadAfterClose
	}
	n, err := io.CopyN(io.Discard, x.stream.body, x.left)
	x.left -= n
	x.came.Add(n)
	return broken(err)
}

// Turn returns when all that the call received before this was answered.
func (x *Exchange) Turn(ctx context.Context) error {
	select {
	case <-x.before:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Done gives back all that the exchange holds, whose message and answer are not
// looked at any more. The next one's turn has come.
func (x *Exchange) Done() {
	x.Refuse()
	x.stream.done.Add(1)
	close(x.sent)
}

// takeForMessage takes room for n bytes of the message, beside what it has.
func (x *Exchange) takeForMessage(ctx context.Context, n int64) error {
	comesBack := func() bool { return x.stream.done.Load() < x.number }
	return x.take(ctx, room.Message, n, wait{patience: x.stream.patience, comesBack: comesBack})
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
	x.came.Add(int64(got))
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
