package nice

import (
	"context"
	"io"
)

// LargeBytes is from how many bytes on it takes milliseconds to decompress or decode a
// message, so that it is done here, where others do not wait for it.
const LargeBytes = 1 << 20

// Large runs f where it keeps nobody waiting. Its error is why it did not.
type Large func(f func()) error

// For is what does what takes long for one who asks, as long as ctx lasts.
func (t *Threads) For(ctx context.Context, who string) Large {
	return func(f func()) error { return t.Do(ctx, who, f) }
}

// Of runs f, which works on so many bytes: here, when they are few.
func (l Large) Of(bytes int, f func()) error {
	if l == nil || bytes < LargeBytes {
		f()
		return nil
	}
	return l(f)
}

// Reader reads from r by l once it has read LargeBytes, a whole buffer at a time. r waits
// for nothing: it decompresses what is there. Errors are r's and those of l.
func (l Large) Reader(r io.Reader) io.Reader { return &reader{r: r, large: l} }

type reader struct {
	r     io.Reader
	large Large
	n     int
}

// Read implements io.Reader.
func (a *reader) Read(p []byte) (n int, err error) {
	if a.n < LargeBytes {
		n, err = a.r.Read(p[:min(len(p), LargeBytes)])
		a.n += n
		return n, err //nolint:wrapcheck // r's own
	}
	failed := a.large.Of(a.n, func() {
		for n < len(p) && err == nil {
			var more int
			more, err = a.r.Read(p[n:])
			n += more
		}
	})
	if failed != nil {
		return 0, failed
	}
	return n, err
}
