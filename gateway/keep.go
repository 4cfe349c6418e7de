package gateway

import (
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
	most   int // bytes that there can be to keep

	reading sync.Mutex // held over a Read of the source

	mu      sync.Mutex
	data    []byte
	charged int64 // of room
	lost    bool  // more was read than is kept
	ended   error // what the source said last, which each Read says from then on
	settled bool  // there will be no other reader
	current *keptReader
}

// keep makes the body of r one that can be read again.
func keep(r *http.Request, room *semaphore.Weighted) *kept {
	k := &kept{source: r.Body, room: room, most: keptMost, lost: r.ContentLength > keptMost}
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

// add keeps p, or nothing from then on. Called with mu held.
func (k *kept) add(p []byte) {
	need := len(k.data) + len(p)
	if need > cap(k.data) {
		grown := min(max(2*cap(k.data), need, 4<<10), k.most)
		if need > k.most || !k.room.TryAcquire(int64(grown)-k.charged) {
			k.drop()
			k.lost = true
			return
		}
		k.charged = int64(grown)
		k.data = append(make([]byte, 0, grown), k.data...)
	}
	k.data = append(k.data, p...)
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
		k.add(p[:n])
		r.at += n
	}
	if k.lost && k.current != r {
		// The second try began when all was kept, and has missed this.
		k.ended = problem.New(problem.BadGateway, "the function broke off before its answer was whole")
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

// again reads what was kept, or says that the reader is done.
func (r *keptReader) again(p []byte) (n int, err error, done bool) { //nolint:revive,staticcheck // done says whether the others count
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
		if r.at += n; k.settled && r.at == len(k.data) {
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
