package infer

import (
	"errors"
	"io"
	"unsafe"

	"github.com/modelserveai/modelserve/problem"
)

// proveBytes is how much of a body is read before what its length announced is
// believed, and allocated.
const proveBytes = 1 << 20

// alignment is the address the binary section is placed at a multiple of: the
// largest element is 8 bytes, and vector units like a whole cache line.
const alignment = 64

// ReadBody reads a whole body of at most limit bytes, so that the binary
// section behind its headerLength bytes of JSON (NoHeader: there is none) is
// aligned for every data type. length is the Content-Length, -1 when it is not
// known; a body that has more or fewer bytes is problem.MalformedBody, one over
// the limit problem.PayloadTooLarge. Errors of the reader are returned wrapped.
func ReadBody(r io.Reader, length int64, headerLength int, limit int64) ([]byte, error) {
	if length > limit {
		return nil, tooLarge(limit)
	}
	size := int64(4 << 10)
	if length >= 0 {
		size = length
	}
	body := alignedBytes(int(min(size, proveBytes)), headerLength)
	n := 0
	for {
		if n == len(body) {
			if int64(n) == length {
				if err := expectEnd(r, length); err != nil {
					return nil, err
				}
				return body, nil
			}
			// More than was allocated: believe the length now, or double.
			next := min(2*int64(n)+4<<10, limit+1)
			if length >= 0 {
				next = length
			}
			if next <= int64(n) {
				return nil, tooLarge(limit)
			}
			grown := alignedBytes(int(next), headerLength)
			copy(grown, body)
			body = grown
		}
		m, err := r.Read(body[n:])
		n += m
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return bodyEnd(body[:n], length, limit, !errors.Is(err, io.EOF))
		case err != nil:
			return nil, err
		}
	}
}

// bodyEnd checks a body that has ended.
func bodyEnd(body []byte, length, limit int64, cut bool) ([]byte, error) {
	n := int64(len(body))
	switch {
	case n > limit:
		return nil, tooLarge(limit)
	case length >= 0 && n != length:
		return nil, problem.New(problem.MalformedBody, "the body ends after %d of the %d bytes announced", n, length)
	case cut:
		return nil, problem.New(problem.MalformedBody, "the body is cut short after %d bytes", n)
	}
	return body, nil
}

// expectEnd checks that nothing follows a body that has its announced length.
func expectEnd(r io.Reader, length int64) error {
	var more [1]byte
	n, err := io.ReadFull(r, more[:])
	if n > 0 {
		return problem.New(problem.MalformedBody, "the body has more than the %d bytes announced", length)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// tooLarge is the fault of a body over its bound.
func tooLarge(limit int64) error {
	return problem.New(problem.PayloadTooLarge, "expected a body of at most %d bytes", limit)
}

// alignedBytes allocates size bytes of which the one at headerLength lies at a
// multiple of alignment.
func alignedBytes(size, headerLength int) []byte {
	if headerLength <= 0 || headerLength >= size {
		return make([]byte, size)
	}
	buffer := make([]byte, size+alignment-1)
	at := uintptr(unsafe.Pointer(unsafe.SliceData(buffer))) + uintptr(headerLength) //nolint:gosec // an address is only looked at
	skip := int(-at % alignment)
	return buffer[skip : skip+size : skip+size]
}
