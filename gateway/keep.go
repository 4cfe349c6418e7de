package gateway

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/modelserveai/modelserve/internal/problem"
)

// keptMost bounds what is kept of one body, in bytes.
const keptMost = 1 << 20

// kept is a request's body that can be read again from its beginning, as long as
// all that was read of it is kept: at most keptMost bytes, and only while there
// is room for what all calls keep. One reader follows another; what an earlier
// one still reads, in its own time, is not lost.
type kept struct {
	source io.ReadCloser // nil for none
	room   *semaphore.Weighted
	length int // bytes; -1 when that is not known
	most   int // bytes that there can be to keep

	reading sync.Mutex // held over a Read of the source

	mu      sync.Mutex
	data    []byte
	charged int64 // of room
	taken   int   // bytes read of the source, as far as data is their beginning
	lost    bool  // another reader would not find all
	ended   error // what the source said last, which each Read says from then on
	settled bool  // there will be no other reader
	current *keptReader
}

// keep makes the body of r one that can be read again.
func keep(r *http.Request, room *semaphore.Weighted) *kept {
	k := &kept{source: r.Body, room: room, length: int(r.ContentLength), most: keptMost, lost: r.ContentLength > keptMost}
	if r.ContentLength > 0 && !k.lost {
		k.most = int(r.ContentLength)
	}
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

// whole says whether another reader would find all of the body.
func (k *kept) whole() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.lost
}

// settle says that there will be no other reader. What is kept goes once the
// last has read it.
func (k *kept) settle() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settled = true
	switch {
	case k.source == nil:
	case k.current == nil || k.current.closed:
		k.drop()
		_ = k.source.Close() // nobody reads it any more
	case k.current.at >= len(k.data):
		k.drop()
	}
}

// grow makes room for n more bytes, and is false where there is none. Called with
// mu held.
func (k *kept) grow(n int) bool {
	need := len(k.data) + n
	if need <= cap(k.data) {
		return true
	}
	grown := min(max(2*cap(k.data), need, 4<<10), k.most)
	if need > k.most || !k.room.TryAcquire(int64(grown)-k.charged) {
		return false
	}
	k.charged = int64(grown)
	k.data = append(make([]byte, 0, grown), k.data...)
	return true
}

// ahead reads the first n bytes of the body before its reader does, or all of it
// where n is negative, and returns them. It is nil where that is more than can be
// kept.
func (k *kept) ahead(n int) []byte {
	if k.source == nil {
		return nil
	}
	for {
		text, more := k.step(n)
		if !more {
			return text
		}
	}
}

// step reads one piece ahead; more says that ahead has not ended.
func (k *kept) step(n int) (text []byte, more bool) {
	k.reading.Lock() // readers wait, and find it in what is kept
	defer k.reading.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	piece := min(32<<10, k.most-len(k.data))
	switch {
	case k.settled || k.taken != len(k.data):
		return nil, false // part of it has gone by
	case n >= 0 && len(k.data) >= n:
		return k.data[:n:n], false
	case n < 0 && (errors.Is(k.ended, io.EOF) || len(k.data) == k.length):
		return k.data[:len(k.data):len(k.data)], false
	case k.ended != nil || piece == 0 || !k.grow(piece):
		return nil, false
	}
	into := k.data[len(k.data) : len(k.data)+piece]
	k.mu.Unlock()
	got, err := k.source.Read(into)
	k.mu.Lock()
	k.taken += got
	k.ended = err
	if k.charged == 0 { // dropped meanwhile: the reader has had all but this
		k.data = append([]byte(nil), into[:got]...)
		k.lost = true
		if k.current != nil {
			k.current.at = 0
		}
		return nil, false
	}
	k.data = k.data[:len(k.data)+got]
	return nil, true
}

// drop gives back what is kept. Called with mu held.
func (k *kept) drop() {
	k.room.Release(k.charged)
	k.data, k.charged = nil, 0
}

// keptReader is one way through a kept body.
type keptReader struct {
	of     *kept
	at     int  // bytes of what is kept that it has had
	closed bool // under of.mu
}

// Read implements io.Reader.
func (r *keptReader) Read(p []byte) (int, error) {
	k := r.of
	k.reading.Lock()
	defer k.reading.Unlock()
	if n, err, done := r.again(p); done {
		return n, err
	}
	n, err := k.source.Read(p)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = err
	if n > 0 && !k.lost && (!k.settled || k.current != r) {
		if k.grow(n) {
			k.data = append(k.data, p[:n]...)
			r.at += n
		} else {
			k.drop()
			k.lost = true
		}
	}
	k.taken += n
	if k.lost && k.current != r {
		// The second try began when all was kept, and has missed this.
		k.ended = problem.New(problem.BadGateway, "the function broke off before its answer was whole")
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

// again reads what was kept, or says that the reader is done.
func (r *keptReader) again(p []byte) (n int, err error, done bool) { //nolint:revive // done says whether the others count
	k := r.of
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case r.closed && k.ended == nil:
		return 0, http.ErrBodyReadAfterClose, true
	case r.closed:
		return 0, k.ended, true
	case r.at < len(k.data):
		n = copy(p, k.data[r.at:])
		if r.at += n; (k.settled || k.lost) && r.at == len(k.data) {
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
	if !k.settled || k.current != r {
		return nil
	}
	k.drop()
	return k.source.Close() //nolint:wrapcheck // passed through
}
