package grpcwire

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// passingRoom is what a message takes, in bytes, that passes: its beginning, what its
// connection has received and nobody has read, and what a transport holds to send.
const passingRoom = 512 << 10

// Passing is a message that passes: the body of a request for it, with the header before
// it, which reads the message while it comes. It ends before its last byte where
// something is wrong with it, so that no function gets it whole.
type Passing struct {
	of     *Exchange
	length int64
	look   func([]byte) error

	front, back []byte // what is before that which has not come, and behind it; under of.coming
	ended       error  // what each Read returns from then on; under of.coming

	closed atomic.Bool
	failed atomic.Pointer[error]
	once   sync.Once
	over   chan struct{} // closed when nobody reads what has not come any more
}

// Pass takes room for a message that passes, which Begin has read the beginning of. look
// sees each piece of the rest before it goes on, whose error ends it.
func (x *Exchange) Pass(ctx context.Context, look func([]byte) error) error {
	if err := x.takeForMessage(ctx, min(x.length, passingRoom)); err != nil {
		return err
	}
	x.passes = &Passing{of: x, look: look, front: x.message, over: make(chan struct{})}
	x.message = nil
	return nil
}

// Passes is the message where it passes, with so many bytes behind it; nil where it is
// held.
func (x *Exchange) Passes(behind []byte) *Passing {
	p := x.passes
	if p == nil {
		return nil
	}
	p.length = HeaderLen + x.length + int64(len(behind))
	p.front = append(header(int(x.length)+len(behind)), p.front...)
	p.back = behind
	return p
}

// Failed is what was wrong with the message, or with its client's side; nil for nothing.
func (p *Passing) Failed() error {
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Read implements io.Reader.
func (p *Passing) Read(into []byte) (int, error) {
	p.of.coming.Lock()
	defer p.of.coming.Unlock()
	switch {
	case p.ended != nil:
		return 0, p.ended
	case p.closed.Load() && p.of.left > 0:
		return 0, http.ErrBodyReadAfterClose
	case len(p.front) > 0:
		n := copy(into, p.front)
		p.front = p.front[n:]
		return n, nil
	case p.of.left > 0:
		n, err := p.rest(into)
		if err != nil {
			p.failed.Store(&err)
			p.ended = err
			p.end()
			return 0, err
		}
		return n, nil
	}
	n := copy(into, p.back)
	if p.back = p.back[n:]; n == 0 && len(into) > 0 {
		p.ended = io.EOF
	}
	return n, p.ended
}

// rest reads what has not come. The caller holds coming.
func (p *Passing) rest(into []byte) (int, error) {
	x := p.of
	n, err := x.stream.body.Read(into[:min(int64(len(into)), x.left)])
	x.left -= int64(n)
	x.came.Add(int64(n))
	if errors.Is(err, io.EOF) && x.left == 0 {
		err = nil
	}
	if err != nil {
		return 0, broken(err)
	}
	if err := p.look(into[:n]); err != nil {
		return 0, err
	}
	if x.left > 0 {
		return n, nil
	}
	if err := x.stream.over(); err != nil {
		return 0, err
	}
	p.end()
	return n, nil
}

func (p *Passing) end() { p.once.Do(func() { close(p.over) }) }

// Close implements io.Closer. It waits for no Read.
func (p *Passing) Close() error {
	p.closed.Store(true)
	p.end()
	return nil
}
