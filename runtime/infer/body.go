package infer

import (
	"cmp"
	"context"
	"errors"
	"io"
	"unsafe"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/problem"
)

// How a buffer grows with what arrives: what a length announces is not believed.
// Copying costs a body of 1 MiB a tenth of a millisecond.
const (
	exactBytes = 64 << 10 // an announced length of no more is believed: a connection's buffers are as large
	firstBytes = 4 << 10  // of any other
	smallBytes = 1 << 20  // below it four times at once, above it twice
)

// alignment is the address the binary section is placed at a multiple of: the
// largest element is 8 bytes, and vector units like a whole cache line.
const alignment = 64

// Body is what is known of a body before it is read.
type Body struct {
	Name         string // what errors call it; "" is "body"
	Length       int64  // its Content-Length; -1 when it is not known
	HeaderLength int    // of the JSON before its binary section, in bytes; NoHeader when there is none
	Limit        int64  // the most bytes it may have

	// Memory is charged for each buffer before it is allocated, and given those that
	// were outgrown; nil charges nobody.
	Memory memory.Holder
}

// ReadBody reads a whole body, so that the binary section behind its JSON is
// aligned for every data type. What it allocates follows from what has arrived: at
// most four times that, or twice from 1 MiB on. A body that has more or fewer bytes than
// it announced is problem.MalformedBody, one over the limit problem.PayloadTooLarge.
// Errors of the reader and of Memory are returned as they are.
func ReadBody(ctx context.Context, r io.Reader, b Body) ([]byte, error) {
	if b.Length > b.Limit {
		return nil, b.tooLarge()
	}
	if b.Memory == nil {
		b.Memory = memory.Unbounded{}
	}
	size := int64(firstBytes)
	if b.Length >= 0 && b.Length <= exactBytes {
		size = b.Length
	}
	if err := b.Memory.Take(ctx, size); err != nil {
		return nil, err
	}
	body := alignedBytes(int(size), b.HeaderLength)
	n := 0
	for {
		if n == len(body) {
			if int64(n) == b.Length {
				if err := b.expectEnd(r); err != nil {
					return nil, err
				}
				return body, nil
			}
			var err error
			if body, err = b.grow(ctx, body); err != nil {
				return nil, err
			}
		}
		m, err := r.Read(body[n:])
		n += m
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return b.end(body[:n], !errors.Is(err, io.EOF))
		case err != nil:
			return nil, err
		}
	}
}

// grow gives a full buffer more room.
func (b *Body) grow(ctx context.Context, body []byte) ([]byte, error) {
	n := int64(len(body))
	next := 2 * n
	if n < smallBytes {
		next = 4 * n
	}
	most := b.Limit + 1 // one more shows that there is more
	if b.Length >= 0 {
		most = b.Length
	}
	if next = min(next, most); next <= n {
		return nil, b.tooLarge()
	}
	if err := b.Memory.Take(ctx, next); err != nil {
		return nil, err
	}
	grown := alignedBytes(int(next), b.HeaderLength)
	copy(grown, body)
	b.Memory.Give(n)
	return grown, nil
}

// end checks a body that has ended. cut is whether something said that there is more.
func (b *Body) end(body []byte, cut bool) ([]byte, error) {
	n := int64(len(body))
	switch {
	case n > b.Limit:
		return nil, b.tooLarge()
	case b.Length >= 0 && n != b.Length:
		return nil, problem.New(problem.MalformedBody, "the %s ends after %d of the %d bytes announced", b.name(), n, b.Length)
	case cut:
		return nil, problem.New(problem.MalformedBody, "the %s is cut short after %d bytes", b.name(), n)
	}
	return body, nil
}

// expectEnd checks that nothing follows a body that has its announced length.
func (b *Body) expectEnd(r io.Reader) error {
	var more [1]byte
	n, err := io.ReadFull(r, more[:])
	if n > 0 {
		return problem.New(problem.MalformedBody, "the %s has more than the %d bytes announced", b.name(), b.Length)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (b *Body) name() string { return cmp.Or(b.Name, "body") }

// tooLarge is the fault of a body over its bound.
func (b *Body) tooLarge() error {
	return problem.New(problem.PayloadTooLarge, "expected a %s of at most %d bytes", b.name(), b.Limit)
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
