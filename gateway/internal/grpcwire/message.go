// Package grpcwire frames messages of gRPC over HTTP/2 that the gateway forwards
// as they came, and while they come: a server's side of a call (Stream, whose messages
// and their answers are Exchanges) and a client's (NewRequest, NewPassing,
// Exchange.Answer). It follows gRPC's PROTOCOL-HTTP2.md and compression.md.
//
// It decodes no message and knows no procedure.
package grpcwire

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"

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

// inflaterRoom is what decompressing takes beside what comes of it, in bytes: DEFLATE's
// window (RFC 1951), twice, and its tables.
const inflaterRoom = 64 << 10

// decompress puts a decompressed message in place of the compressed one, which is whole:
// what little becomes much waits for nothing of its client's.
func (x *Exchange) decompress(ctx context.Context) error {
	if err := x.takeForMessage(ctx, inflaterRoom); err != nil {
		return err
	}
	source := bytes.NewReader(x.message)
	inflater, err := decompressor(source, x.stream.encoding)
	if err != nil {
		return notAsSaid()
	}
	aside := x.stream.large.Reader(inflater)
	var plain Message
	for most := x.stream.most; int64(len(plain)) <= most; {
		if space(plain) <= 0 {
			if plain, err = x.larger(ctx, plain, most+1); err != nil {
				return err
			}
		}
		n, err := aside.Read(plain[len(plain) : cap(plain)-Spare])
		plain = plain[:len(plain)+n]
		switch {
		case int64(len(plain)) > most:
		case errors.Is(err, io.EOF) && inflater.Close() == nil && source.Len() == 0:
			x.message = plain
			x.shrink(int64(cap(plain)))
			return nil
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			return err // it waited for its turn for too long
		case err != nil: // also of bytes behind the end
			return notAsSaid()
		}
	}
	return tooLarge(x.stream.most)
}

// beginningOf decompresses the beginning of a message, of which the beginning is there.
func beginningOf(message Message, encoding string) ([]byte, error) {
	plain, err := decompressor(bytes.NewReader(message), encoding)
	if err != nil {
		return nil, notAsSaid()
	}
	out := make([]byte, 4<<10)
	n, _ := io.ReadFull(plain, out) // what is wrong with it is found when all is read
	return out[:n], nil
}

func decompressor(source io.Reader, encoding string) (io.ReadCloser, error) {
	if encoding == gzipEncoding {
		return gzip.NewReader(source) //nolint:wrapcheck // looked at by nobody
	}
	return zlib.NewReader(source) //nolint:wrapcheck // looked at by nobody
}

// isPlain reports whether a call has no compressed messages. An error is of an
// encoding that is not known.
func isPlain(encoding string) (bool, error) {
	switch encoding {
	case "", "identity":
		return true, nil
	case gzipEncoding, deflateEncoding:
		return false, nil
	default:
		return false, problem.New(problem.Unimplemented, "grpc-encoding: expected %s or none", strings.ReplaceAll(encodings, ",", ", "))
	}
}

func tooLarge(most int64) error {
	return problem.New(problem.PayloadTooLarge, "expected a message of at most %d bytes, also decompressed; send larger inputs by reference", most)
}

func notAsSaid() error {
	return problem.New(problem.MalformedBody, "the message is not compressed as grpc-encoding says")
}
