// Package grpcwire frames messages of gRPC over HTTP/2 that the gateway hands on
// as they came: a server's side of a call (Stream) and a client's (NewRequest,
// Receive). It follows gRPC's PROTOCOL-HTTP2.md and compression.md.
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

	"github.com/modelserveai/modelserve/problem"
)

// Message is one protobuf message as it came, decompressed.
type Message []byte

// HeaderLen is what stands before each message, in bytes: a flag that says
// whether it is compressed, and its length.
const HeaderLen = 5

// Spare is the room, in bytes, that is left behind a message for a field more.
const Spare = 32

// header is what stands before a message that is not compressed.
func header(length int) []byte {
	return binary.BigEndian.AppendUint32([]byte{0}, uint32(length))
}

// errEnd is of a body that ends before a message begins.
var errEnd = errors.New("no message")

// read reads one message of at most most bytes, errEnd where there is none.
// Errors of the body are returned as they are.
func read(body io.Reader, most int64, encoding string) (Message, error) {
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
	message, err := readAll(body, length)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, brokeOff()
	}
	if err != nil || head[0] == 0 {
		return message, err
	}
	return decompress(message, encoding, most)
}

// firstPiece is as much as is taken for a message before any of it came.
const firstPiece = 64 << 10

// readAll reads length bytes, for which memory is taken as they come: what is
// announced costs nothing.
func readAll(body io.Reader, length int64) (Message, error) {
	message := make(Message, 0, min(length, firstPiece)+Spare)
	for int64(len(message)) < length {
		if cap(message)-len(message) <= Spare {
			grown := make(Message, len(message), min(2*int64(len(message)), length)+Spare)
			copy(grown, message)
			message = grown
		}
		end := min(int64(cap(message)-Spare), length)
		n, err := io.ReadFull(body, message[len(message):end])
		if message = message[:len(message)+n]; err != nil {
			return nil, err //nolint:wrapcheck // the body's own problem
		}
	}
	return message, nil
}

// decompress is a compressed message of at most most bytes.
func decompress(message Message, encoding string, most int64) (Message, error) {
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
	out, err := io.ReadAll(io.LimitReader(plain, most+1))
	switch {
	case err != nil, plain.Close() != nil:
		return nil, notAsSaid()
	case int64(len(out)) > most:
		return nil, tooLarge(most)
	}
	return out, nil
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
