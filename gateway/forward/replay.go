package forward

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/modelserveai/modelserve/problem"
)

// kept is a request's body that can be read again from its beginning, as long as
// all that was read of it is kept, which it is while the budget of all calls
// allows it. One reader follows another; what an earlier one still reads, in its own
// time, is not lost.
type kept struct {
	source io.ReadCloser // nil for none
	budget limiter
	length int64 // bytes; -1 when that is not known

	reading sync.Mutex // held over a Read of the source

	mu      sync.Mutex
	pieces  [][]byte // bytes from to taken
	from    int64
	taken   int64 // bytes read of the source
	charged int64 // bytes of the budget
	lost    bool  // another reader would not find all
	ended   error // the last error of the source, which each Read returns from then on
	isLast  bool  // current is the last reader
	current *keptReader
}

// limiter decides how many bytes may be kept.
type limiter interface {
	TryAcquire(n int64) bool
	Release(n int64)
}

// keep makes the body of r one that can be read again.
func keep(r *http.Request, budget limiter) *kept {
	k := &kept{source: r.Body, budget: budget, length: r.ContentLength}
	if r.Body == http.NoBody {
		k.source = nil
	}
	return k
}

// reader reads from the beginning; nil when there is no body.
func (k *kept) reader() io.ReadCloser {
	if k.source == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != nil {
		k.current.closed = true
	}
	k.current = &keptReader{of: k}
	return k.current
}

// whole reports whether another reader would find all of the body.
func (k *kept) whole() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.lost
}

// noMoreReaders releases what is kept once the last reader has read it.
func (k *kept) noMoreReaders() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.isLast = true
	switch {
	case k.source == nil:
	case k.current == nil || k.current.closed:
		k.drop()
		_ = k.source.Close() // nobody reads it any more
	case k.current.at == k.taken:
		k.drop()
	}
}

// A piece of what is kept is as large as all before it, within these bounds.
const (
	leastPiece = 4 << 10
	mostPiece  = 256 << 10
)

// space is a buffer for more bytes behind what is kept; nil where the budget allows
// no more. Called with mu held.
func (k *kept) space() []byte {
	if n := len(k.pieces); n > 0 {
		if last := k.pieces[n-1]; len(last) < cap(last) {
			return last[len(last):cap(last)]
		}
	}
	size := min(max(k.taken, leastPiece), mostPiece)
	if left := k.length - k.taken; left > 0 {
		size = min(size, left)
	}
	if !k.budget.TryAcquire(size) {
		return nil
	}
	k.charged += size
	k.pieces = append(k.pieces, make([]byte, 0, size))
	return k.pieces[len(k.pieces)-1][:size]
}

// extend notes that the first n bytes of space are kept. Called with mu held.
func (k *kept) extend(n int) {
	last := &k.pieces[len(k.pieces)-1]
	*last = (*last)[:len(*last)+n]
	k.taken += int64(n)
}

// store keeps bytes that were read, and is false where the budget does not
// allow it. Called with mu held.
func (k *kept) store(p []byte) bool {
	for len(p) > 0 {
		into := k.space()
		if into == nil {
			return false
		}
		n := copy(into, p)
		k.extend(n)
		p = p[n:]
	}
	return true
}

// load copies what is kept from a place on. Called with mu held.
func (k *kept) load(p []byte, at int64) (n int) {
	begin := k.from
	for _, piece := range k.pieces {
		end := begin + int64(len(piece))
		if at+int64(n) < end && n < len(p) {
			n += copy(p[n:], piece[at+int64(n)-begin:])
		}
		begin = end
	}
	return n
}

// drop gives back what is kept. Called with mu held.
func (k *kept) drop() {
	k.budget.Release(k.charged)
	k.pieces, k.charged, k.from = nil, 0, k.taken
}

// errNotKept is of a look ahead at what is not kept.
var errNotKept = errors.New("the body is no longer kept")

// lookAhead reads the body from its beginning before its reader does, which finds
// all the same. It fails where the budget does not allow what it reads, and once all
// has gone to the reader.
type lookAhead struct {
	of *kept
	at int64
}

// Read implements io.Reader.
func (l *lookAhead) Read(p []byte) (int, error) {
	for len(p) > 0 {
		n, err := l.again(p)
		if n == 0 && err == nil {
			err = l.of.step(l.at)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// again reads what is kept; nothing where that is all.
func (l *lookAhead) again(p []byte) (int, error) {
	k := l.of
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.source == nil, k.length > 0 && l.at == k.length:
		return 0, io.EOF
	case k.isLast || k.lost || l.at < k.from:
		return 0, errNotKept
	case l.at < k.taken:
		n := k.load(p, l.at)
		l.at += int64(n)
		return n, nil
	default:
		return 0, k.ended
	}
}

// step reads one piece that begins at a place, unless a reader has meanwhile.
func (k *kept) step(at int64) error {
	k.reading.Lock() // readers wait, and find it in what is kept
	defer k.reading.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.taken > at || k.ended != nil || k.isLast || k.lost {
		return nil
	}
	into := k.space()
	if into == nil {
		return errNotKept
	}
	k.mu.Unlock()
	n, err := k.source.Read(into)
	k.mu.Lock()
	k.ended = err
	if k.charged > 0 {
		k.extend(n)
		return nil
	}
	// Dropped meanwhile: the reader has had all but this.
	k.pieces = [][]byte{append([]byte(nil), into[:n]...)}
	k.taken += int64(n)
	return nil
}

// keptReader is one way through a kept body.
type keptReader struct {
	of     *kept
	at     int64 // bytes that it has had
	closed bool  // under of.mu
}

// Read implements io.Reader.
func (r *keptReader) Read(p []byte) (int, error) {
	k := r.of
	if n, err, done := r.again(p); done {
		return n, err
	}
	k.reading.Lock()
	defer k.reading.Unlock()
	if n, err, done := r.again(p); done { // somebody has read meanwhile
		return n, err
	}
	n, err := k.source.Read(p)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = err
	r.at += int64(n)
	taken := k.taken + int64(n)
	needed := !k.lost && (!k.isLast || k.current != r)
	if n > 0 && (!needed || !k.store(p[:n])) {
		k.taken = taken
		k.drop()
		k.lost = true
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

// again reads what was kept, or reports that the reader is done.
func (r *keptReader) again(p []byte) (n int, err error, done bool) { //nolint:revive // done is whether the others count
	k := r.of
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case r.closed && k.ended == nil:
		return 0, http.ErrBodyReadAfterClose, true
	case r.closed:
		return 0, k.ended, true
	case r.at < k.from:
		// This try began when all was kept, and has missed what an earlier one
		// read since.
		return 0, problem.New(problem.BadGateway, "the function broke off before its answer was whole"), true
	case r.at < k.taken:
		n = k.load(p, r.at)
		if r.at += int64(n); k.isLast && r.at == k.taken {
			k.drop()
		}
		return n, nil, true
	case k.ended != nil:
		return 0, k.ended, true
	default:
		return 0, nil, false
	}
}

// Close implements io.Closer. It waits for no Read.
func (r *keptReader) Close() error {
	k := r.of
	k.mu.Lock()
	defer k.mu.Unlock()
	r.closed = true
	if !k.isLast || k.current != r {
		return nil
	}
	k.drop()
	return k.source.Close() //nolint:wrapcheck // passed through
}
