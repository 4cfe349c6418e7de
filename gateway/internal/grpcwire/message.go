// Package grpcwire frames messages of gRPC over HTTP/2 that the gateway forwards
// as they came: a server's side of a call (Stream) and a client's
// (NewRequest, Stream.Answer). It follows gRPC's PROTOCOL-HTTP2.md and compression.md.
//
// It decodes no message and knows no procedure.
package grpcwire

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// Message is one protobuf message as it came, decompressed.
type Message []byte

// HeaderLen is the length of what precedes each message, in bytes: a flag of
// whether it is compressed, and its length.
const HeaderLen = 5

// Spare is the space, in bytes, that is left behind a message for a field more.
const Spare = 32

// header precedes a message that is not compressed.
func header(length int) []byte {
	return binary.BigEndian.AppendUint32([]byte{0}, uint32(length))
}

// errEnd is of a body that ends before a message begins.
var errEnd = errors.New("no message")

// Room is memory for messages, in bytes, that all calls have together. It is safe
// for concurrent use (semaphore.Weighted is one).
type Room interface {
	TryAcquire(n int64) bool
	Release(n int64)
}

// share is what one call has of the room.
type share struct {
	of   Room
	held atomic.Int64
}

func (s *share) take(n int64) error {
	if !s.of.TryAcquire(n) {
		return problem.New(problem.Overloaded, "messages that are being handed on take all the memory there is for them; call again").WithRetryAfter(time.Second)
	}
	s.held.Add(n)
	return nil
}

func (s *share) release(n int64) {
	s.held.Add(-n)
	s.of.Release(n)
}

// end gives back all that is left.
func (s *share) end() { s.of.Release(s.held.Swap(0)) }

// buffer is a message that grows as it comes, in memory that is taken of the room
// first: what is announced costs nothing.
type buffer struct {
	message Message
	room    *share
}

// firstPiece is as much as is taken for a message before any of it came.
const firstPiece = 64 << 10

// grow makes room for more, up to most bytes in all.
func (b *buffer) grow(most int64) error {
	size := min(max(2*int64(len(b.message)), firstPiece), most) + Spare
	if err := b.room.take(size); err != nil {
		return err
	}
	grown := make(Message, len(b.message), size)
	copy(grown, b.message)
	b.room.release(int64(cap(b.message)))
	b.message = grown
	return nil
}

// free is what can be read into.
func (b *buffer) free() []byte {
	return b.message[len(b.message):max(cap(b.message)-Spare, len(b.message))]
}

// fill reads up to most bytes, to the end of the source or to that bound.
func (b *buffer) fill(source io.Reader, most int64) error {
	for int64(len(b.message)) < most {
		if len(b.free()) == 0 {
			if err := b.grow(most); err != nil {
				return err
			}
		}
		free := b.free()
		n, err := source.Read(free[:min(int64(len(free)), most-int64(len(b.message)))])
		if b.message = b.message[:len(b.message)+n]; err != nil {
			return err //nolint:wrapcheck // the source's own problem
		}
	}
	return nil
}

// drop gives its memory back.
func (b *buffer) drop() {
	b.room.release(int64(cap(b.message)))
	b.message = nil
}

// read reads one message of at most most bytes, errEnd where there is none. Its
// memory is the room's until it is given back. Errors of the body are returned as
// they are.
func read(body io.Reader, most int64, encoding string, room *share) (Message, error) {
	var head [HeaderLen]byte
	switch n, err := io.ReadFull(body, head[:]); {
	case n == 0 && errors.Is(err, io.EOF):
		return nil, errEnd
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, brokeOff()
	case err != nil:
		return nil, err //nolint:wrapcheck // the body's own problem
	}
	length := int64(binary.BigEndian.Uint32(head[1:]))
	if length > most {
		return nil, tooLarge(most)
	}
	switch {
	case head[0] > 1:
		return nil, problem.New(problem.MalformedBody, "the message's flag is %d; expected 0, or 1 for a compressed one", head[0])
	case head[0] == 1 && encoding == "":
		return nil, notAsSaid()
	}
	b := &buffer{message: Message{}, room: room}
	err := b.fill(body, length)
	if errors.Is(err, io.EOF) && int64(len(b.message)) == length {
		err = nil
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		b.drop()
		return nil, brokeOff()
	case err != nil:
		b.drop()
		return nil, err
	case head[0] == 0:
		return b.message, nil
	}
	defer b.drop()
	return decompress(b.message, encoding, most, room)
}

// decompress is a compressed message of at most most bytes.
func decompress(message Message, encoding string, most int64, room *share) (Message, error) {
	var plain io.ReadCloser
	var err error
	source := bytes.NewReader(message)
	if encoding == gzipEncoding {
		plain, err = gzip.NewReader(source)
	} else {
		plain, err = zlib.NewReader(source)
	}
	if err != nil {
		return nil, notAsSaid()
	}
	out := &buffer{message: Message{}, room: room}
	err = out.fill(plain, most+1)
	var full *problem.Error
	switch {
	case int64(len(out.message)) > most:
		err = tooLarge(most)
	case errors.As(err, &full):
	case !errors.Is(err, io.EOF), plain.Close() != nil:
		err = notAsSaid()
	default:
		return out.message, nil
	}
	out.drop()
	return nil, err
}

func tooLarge(most int64) error {
	return problem.New(problem.PayloadTooLarge, "expected a message of at most %d bytes, also decompressed; send larger inputs by reference", most)
}

func brokeOff() error {
	return problem.New(problem.MalformedBody, "the message broke off before its announced end")
}

func notAsSaid() error {
	return problem.New(problem.MalformedBody, "the message is not compressed as grpc-encoding says")
}
