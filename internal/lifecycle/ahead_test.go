package lifecycle_test

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// TestAnAnswerIsNotAheadOfItsReader holds that what is written of an answer is what its
// client has read, but for a little: else who is slow is not seen, or seen too late, and
// who is not is cut off. It counts bytes, whatever time they take.
func TestAnAnswerIsNotAheadOfItsReader(t *testing.T) {
	t.Parallel()
	const size, ahead = 32 << 20, 1 << 20
	var written atomic.Int64
	c := dial(t, serving(t, lifecycle.DefaultLimits(), func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 64<<10)
		for range size / len(piece) {
			n, _ := w.Write(piece)
			written.Add(int64(n))
		}
	}))
	lifecycle.BoundUnread(c)
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4<<10)
	for read := int64(0); ; {
		n, err := c.Read(buffer)
		read += int64(n)
		if more := written.Load() - read; more > ahead {
			t.Fatalf("%d bytes are written that are not read", more)
		}
		if err != nil {
			if read < size {
				t.Errorf("%d bytes, %v", read, err)
			}
			return
		}
	}
}
