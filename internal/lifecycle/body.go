package lifecycle

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// requestBody is a request's body as handlers see it. Once it has ended each
// Read returns the same error, and what is below is not read again; net/http's own
// body returns another as soon as the answer is begun, which a transport that reads
// once more, in its own time, must not get.
//
// Close may be called while a Read waits, and leaves the rest to be drained.
type requestBody struct {
	from io.Reader

	reading sync.Mutex // held while from is read

	mu     sync.Mutex
	left   int64 // bytes that are announced and not read; -1 when that is not known
	ended  error // what every Read returns from then on
	closed bool
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if err := b.end(); err != nil {
		return 0, err
	}
	return b.read(p)
}

// end is what a Read returns without reading: nil while there is more.
func (b *requestBody) end() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended == nil && b.closed {
		return http.ErrBodyReadAfterClose
	}
	return b.ended
}

// read reads from below. The caller holds reading.
func (b *requestBody) read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left > 0 {
		b.left -= int64(n)
	}
	b.ended = err
	return n, err
}

// Close implements io.Closer. The server closes what is below.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// discard reads some of what nobody has read, closed or not.
func (b *requestBody) discard(buffer []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	b.mu.Lock()
	ended := b.ended
	b.mu.Unlock()
	if ended != nil {
		return 0, ended
	}
	return b.read(buffer)
}

// whole reports whether all of the body was read.
func (b *requestBody) whole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Is(b.ended, io.EOF)
}

// failed reports that the body cannot be read to its end.
func (b *requestBody) failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended != nil && !errors.Is(b.ended, io.EOF)
}

// soon reports whether what is left of the body is known and little.
func (b *requestBody) soon() bool {
	const little = 256 << 10 // as net/http has it
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended == nil && b.left >= 0 && b.left <= little
}
