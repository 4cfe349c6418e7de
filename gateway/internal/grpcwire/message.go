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

// ratio is what DEFLATE (RFC 1951) makes of one byte at most: 258 bytes take two bits.
const ratio = 1032

// decompress puts a decompressed message in place of the compressed one. Its length
// is known behind it alone: the most that it can need is taken for as long as that
// takes, which depends on nobody.
func (x *Exchange) decompress(ctx context.Context) error {
	most := min(x.stream.most, ratio*int64(len(x.message)))
	if err := x.takeForMessage(ctx, grown(most)); err != nil {
		return err
	}
	plain, err := inflate(x.message, x.stream.encoding, most)
	if err != nil {
		return err
	}
	if int64(len(plain)) > most {
		return tooLarge(x.stream.most)
	}
	x.message = plain
	x.shrink(int64(cap(plain)))
	return nil
}

// grown is what a message takes, in bytes, while it grows to most bytes and one: the
// last time it moves it is there twice, once as half.
func grown(most int64) int64 { return (most+1)*3/2 + 2*Spare }

// inflate decompresses a whole message, to at most most bytes and one.
func inflate(message Message, encoding string, most int64) (Message, error) {
	source := bytes.NewReader(message)
	plain, err := decompressor(source, encoding)
	if err != nil {
		return nil, notAsSaid()
	}
	out := make(Message, 0, min(64<<10, most+1)+Spare)
	for int64(len(out)) <= most {
		if cap(out)-len(out) <= Spare {
			out = append(make(Message, 0, min(2*int64(len(out)), most+1)+Spare), out...)
		}
		n, err := plain.Read(out[len(out) : cap(out)-Spare])
		out = out[:len(out)+n]
		switch {
		case errors.Is(err, io.EOF) && plain.Close() == nil && source.Len() == 0:
			return out, nil
		case err != nil: // also of bytes behind the end
			return nil, notAsSaid()
		}
	}
	return out, nil
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
