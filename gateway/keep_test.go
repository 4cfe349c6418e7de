package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"golang.org/x/sync/semaphore"
)

// bodyOf is a body of size bytes of which each differs from its neighbours; its
// length is known or not.
func bodyOf(t *testing.T, size int, known bool, source func(io.Reader) io.Reader) (*http.Request, []byte) {
	t.Helper()
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7 / 3)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/", source(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = -1
	if known {
		r.ContentLength = int64(size)
	}
	return r, data
}

// TestAKeptBodyIsReadWhole holds that each reader gets the body from its
// beginning, whatever was read ahead or by an earlier one, and that the room
// comes back.
func TestAKeptBodyIsReadWhole(t *testing.T) {
	t.Parallel()
	const room = 4 << 20
	for _, tc := range []struct {
		name   string
		size   int
		known  bool
		ahead  int // -2: not
		before int // bytes that a first reader reads
		whole  bool
		told   int // bytes that ahead returns
	}{
		{"as it is", 100000, true, -2, 0, true, 0},
		{"after a first that read nothing", 100000, true, -2, 0, true, 0},
		{"after a first that read some", 100000, true, -2, 50000, true, 0},
		{"after a first that read all", 100000, false, -2, 100000, true, 0},
		{"read ahead", 100000, true, -1, 0, true, 100000},
		{"read ahead, of a length not known", 100000, false, -1, 0, true, 100000},
		{"read ahead, behind a first reader", 100000, true, -1, 50000, true, 100000},
		{"its head read ahead", 100000, true, 10, 0, true, 10},
		{"all that is kept", keptMost, true, -1, 0, true, keptMost},
		{"more than is kept", keptMost + 1, true, -2, 0, false, 0},
		{"more than is kept, read ahead", keptMost + 1, true, -1, 0, false, 0},
		{"more than is kept, its head read ahead", 3 * keptMost, true, 1000, 0, false, 1000},
		{"more than is kept, of a length not known, its head read ahead", 3 * keptMost, false, 1000, 0, true, 1000},
		{"a head that is more than is kept", 3 * keptMost, true, 2 * keptMost, 0, false, 0},
	} {
		for kind, source := range map[string]func(io.Reader) io.Reader{
			"": func(r io.Reader) io.Reader { return r }, ", its end with its last bytes": iotest.DataErrReader, ", in halves": iotest.HalfReader,
		} {
			t.Run(tc.name+kind, func(t *testing.T) {
				t.Parallel()
				r, data := bodyOf(t, tc.size, tc.known, source)
				left := semaphore.NewWeighted(room)
				k := keep(r, left)
				if tc.before > 0 {
					if _, err := io.CopyN(io.Discard, k.reader(), int64(tc.before)); err != nil {
						t.Fatal(err)
					}
				}
				if tc.ahead > -2 {
					if got := k.ahead(tc.ahead); !bytes.Equal(got, data[:tc.told]) {
						t.Errorf("%d bytes ahead, want %d", len(got), tc.told)
					}
				}
				if k.whole() != tc.whole {
					t.Errorf("whole: %v", k.whole())
				}
				last := k.reader()
				k.settle()
				got, err := io.ReadAll(last)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v; want the %d", len(got), err, len(data))
				}
				if err := last.Close(); err != nil {
					t.Error(err)
				}
				if !left.TryAcquire(room) {
					t.Error("room is missing")
				}
			})
		}
	}
}

// TestReadersOfAKeptBodyAtOnce holds the same while an earlier reader, and what
// reads ahead, go on in their own time.
func TestReadersOfAKeptBodyAtOnce(t *testing.T) {
	t.Parallel()
	for range 50 {
		r, data := bodyOf(t, 500000, false, iotest.HalfReader)
		left := semaphore.NewWeighted(keptMost)
		k := keep(r, left)
		var wg sync.WaitGroup
		first := k.reader()
		wg.Go(func() { _, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, first, make([]byte, 1000)) })
		wg.Go(func() { k.ahead(-1) })
		second := k.reader()
		k.settle()
		got, err := io.ReadAll(second)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		wg.Wait()
		_ = second.Close()
		if !left.TryAcquire(keptMost) {
			t.Fatal("room is missing")
		}
	}
}

// TestABodyThatBreaksOffStaysSo holds that each reader gets the error where the
// first got it, and that nothing is told of what is not whole.
func TestABodyThatBreaksOffStaysSo(t *testing.T) {
	t.Parallel()
	broken := errors.New("the client left")
	r, _ := bodyOf(t, 0, false, func(io.Reader) io.Reader {
		return io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))
	})
	k := keep(r, semaphore.NewWeighted(keptMost))
	if text := k.ahead(-1); text != nil {
		t.Errorf("ahead: %q", text)
	}
	for range 2 {
		if got, err := io.ReadAll(k.reader()); string(got) != "half" || !errors.Is(err, broken) {
			t.Errorf("%q, %v", got, err)
		}
	}
}
