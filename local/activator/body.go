package activator

import (
	"io"
	"net/http"
	"sync"
)

// replayBody lets a request be sent again as long as nobody has read from its
// body. A transport closes the body of a request that it could not send, so the
// real one is closed only when the request is committed or given up. Once it
// has ended, or is closed, each Read returns the same error, and the real one is left alone.
type replayBody struct {
	body io.ReadCloser // nil for none

	mu        sync.Mutex
	read      bool
	closed    bool // the transport is done with it
	committed bool
	ended     error // what each Read returns from then on
}

func newBody(body io.ReadCloser) *replayBody { return &replayBody{body: body} }

// reader is what to send; nil when there is no body.
func (b *replayBody) reader() io.ReadCloser {
	if b.body == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = false
	return b
}

// Read reads from the request's body.
func (b *replayBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read = true
	ended := b.ended
	if ended == nil && b.closed && b.committed {
		ended = http.ErrBodyReadAfterClose
	}
	b.mu.Unlock()
	if ended != nil {
		return 0, ended
	}
	n, err := b.body.Read(p)
	if err != nil {
		b.mu.Lock()
		b.ended = err
		b.mu.Unlock()
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

// Close notes that the transport is done, and closes the body once the request
// is committed.
func (b *replayBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.committed {
		return b.body.Close() //nolint:wrapcheck // passed through
	}
	return nil
}

// untouched reports whether nothing was read.
func (b *replayBody) untouched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.read
}

// commit marks this as the last attempt.
func (b *replayBody) commit() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.committed = true
	if b.closed && b.body != nil {
		_ = b.body.Close() // the transport has had its answer
	}
}

// abandon closes the body of a request that was not sent.
func (b *replayBody) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.committed = true
	if b.body != nil {
		_ = b.body.Close() // the error of the request is what is returned
	}
}
