package activator

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// touchy fails a test that reads it once it has ended or is closed.
type touchy struct {
	t *testing.T
	io.Reader
	over bool
}

func (b *touchy) Read(p []byte) (int, error) {
	if b.over {
		b.t.Error("read though it was over")
	}
	n, err := b.Reader.Read(p)
	b.over = err != nil
	return n, err
}

func (b *touchy) Close() error {
	b.over = true
	return nil
}

// TestAnEndedBodyReturnsTheSameErrorAgain holds that a transport that reads past the end, or
// after it has closed a request's body, gets that error without touching the client's.
func TestAnEndedBodyReturnsTheSameErrorAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		until func(*replayBody)
		want  error
	}{
		"ended":             {func(b *replayBody) { _, _ = io.Copy(io.Discard, b) }, io.EOF},
		"ended and closed":  {func(b *replayBody) { _, _ = io.Copy(io.Discard, b); _ = b.Close(); b.commit() }, io.EOF},
		"closed before":     {func(b *replayBody) { _ = b.Close(); b.commit() }, http.ErrBodyReadAfterClose},
		"closed, committed": {func(b *replayBody) { b.commit(); _ = b.Close() }, http.ErrBodyReadAfterClose},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBody(&touchy{t: t, Reader: strings.NewReader("hello")})
			tc.until(b)
			for range 2 {
				if n, err := b.Read(make([]byte, 10)); n != 0 || !errors.Is(err, tc.want) {
					t.Errorf("read again: %d, %v", n, err)
				}
			}
		})
	}
}
