package door

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"
	"sync"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/internal/grpcwire"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// mostNamed is how much of a request is kept to see what it names: the shapes of its
// first inputs.
const mostNamed = 4 << 10

// named is the body of a request, of which the beginning is kept.
type named struct {
	io.ReadCloser

	encoding string

	mu   sync.Mutex
	head []byte
	read int64
}

// Read implements io.Reader.
func (b *named) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read += int64(n)
	if left := mostNamed - len(b.head); left > 0 {
		b.head = append(b.head, into[:min(n, left)]...)
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

// of is how many rows and elements the request names: one row where that cannot be
// seen, and none of what is more than the bytes that came, so that nobody owes what
// they only name.
func (b *named) of(protocol call.Protocol) (rows, elements int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var u infer.Usage
	if protocol == call.GRPC {
		if len(b.head) > grpcwire.HeaderLen && b.head[0] == 0 {
			u = infer.NamedByMessage(b.head[grpcwire.HeaderLen:])
		}
	} else if text := b.text(); text != nil {
		u = infer.NamedByJSON(text)
	}
	return max(1, min(u.Rows, b.read)), min(u.Elements, b.read)
}

// text is the beginning of the request's JSON; nil where it cannot be read.
func (b *named) text() io.Reader {
	head := bytes.NewReader(b.head)
	switch strings.ToLower(strings.TrimSpace(b.encoding)) {
	case "", "identity":
		return head
	case "gzip", "x-gzip":
		if r, err := gzip.NewReader(head); err == nil {
			return io.LimitReader(r, mostNamed)
		}
	case "deflate":
		if r, err := zlib.NewReader(head); err == nil {
			return io.LimitReader(r, mostNamed)
		}
	}
	return nil
}
