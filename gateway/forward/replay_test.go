package forward

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
// beginning, whatever was read ahead or by an earlier one, that it is known when
// another would not, and that the budget comes back.
func TestAKeptBodyIsReadWhole(t *testing.T) {
	t.Parallel()
	const budget, all, none = 4 << 20, -1, -2
	for _, tc := range []struct {
		name   string
		size   int
		known  bool
		ahead  int // bytes that are read ahead
		before int // bytes that a first reader reads
		whole  bool
		seen   int // bytes that were read ahead
	}{
		{"as it is", 100000, true, none, 0, true, 0},
		{"after a first that read nothing", 100000, true, none, 0, true, 0},
		{"after a first that read some", 100000, true, none, 50000, true, 0},
		{"after a first that read all", 100000, false, none, 100000, true, 0},
		{"read ahead", 100000, true, all, 0, true, 100000},
		{"read ahead, of a length not known", 100000, false, all, 0, true, 100000},
		{"read ahead, behind a first reader", 100000, true, all, 50000, true, 100000},
		{"its head read ahead", 100000, true, 10, 0, true, 10},
		{"one byte", 1, true, all, 1, true, 1},
		{"all that the budget allows", budget, true, all, budget, true, budget},
		{"more than the budget allows", budget + 1, true, none, budget + 1, false, 0},
		{"more than the budget allows, unread", budget + 1, true, none, 0, true, 0},
		{"more than the budget allows, read ahead", budget + 1, true, all, 0, true, budget},
		{"more than the budget allows, read ahead and then read", budget + 1, false, all, budget + 1, false, budget},
		{"more than the budget allows, its head read ahead", 3 * budget, true, 1000, 0, true, 1000},
	} {
		for kind, source := range map[string]func(io.Reader) io.Reader{
			"": func(r io.Reader) io.Reader { return r }, ", its end with its last bytes": iotest.DataErrReader, ", in halves": iotest.HalfReader,
		} {
			t.Run(tc.name+kind, func(t *testing.T) {
				t.Parallel()
				r, data := bodyOf(t, tc.size, tc.known, source)
				left := semaphore.NewWeighted(budget)
				k := keep(r, left)
				first := k.reader()
				got, err := io.ReadAll(io.LimitReader(first, int64(tc.before)/2))
				if err != nil {
					t.Fatal(err)
				}
				if tc.ahead != none {
					var in io.Reader = &lookAhead{of: k}
					if tc.ahead != all {
						in = io.LimitReader(in, int64(tc.ahead))
					}
					seen, err := io.ReadAll(in)
					if !bytes.HasPrefix(data, seen) || len(seen) > tc.seen || len(seen) < tc.seen-mostPiece {
						t.Errorf("%d bytes ahead, want %d", len(seen), tc.seen)
					}
					if short := tc.ahead == all && tc.size > budget; short != errors.Is(err, errNotKept) {
						t.Errorf("ahead: %v", err)
					}
				}
				rest, err := io.ReadAll(io.LimitReader(first, int64(tc.before-len(got))))
				if got = append(got, rest...); err != nil || !bytes.Equal(got, data[:tc.before]) {
					t.Fatalf("first %d bytes, %v", len(got), err)
				}
				if k.whole() != tc.whole {
					t.Errorf("whole: %v", k.whole())
				}
				last := first
				if tc.whole {
					last, got = k.reader(), nil
				}
				k.noMoreReaders()
				rest, err = io.ReadAll(last)
				if got = append(got, rest...); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v; want the %d", len(got), err, len(data))
				}
				if err := last.Close(); err != nil {
					t.Error(err)
				}
				if !left.TryAcquire(budget) {
					t.Error("bytes of the budget are missing")
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
		left := semaphore.NewWeighted(1 << 20)
		k := keep(r, left)
		var wg sync.WaitGroup
		first := k.reader()
		wg.Go(func() { _, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, first, make([]byte, 1000)) })
		wg.Go(func() { _, _ = io.Copy(io.Discard, &lookAhead{of: k}) })
		second := k.reader()
		k.noMoreReaders()
		got, err := io.ReadAll(second)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		wg.Wait()
		_ = second.Close()
		if !left.TryAcquire(1 << 20) {
			t.Fatal("bytes of the budget are missing")
		}
	}
}

// TestABodyThatBreaksOffStaysSo holds that each reader gets the error where the
// first got it, and that nothing is returned of what is not whole.
func TestABodyThatBreaksOffStaysSo(t *testing.T) {
	t.Parallel()
	broken := errors.New("the client left")
	r, _ := bodyOf(t, 0, false, func(io.Reader) io.Reader {
		return io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))
	})
	k := keep(r, semaphore.NewWeighted(1<<20))
	if text, err := io.ReadAll(&lookAhead{of: k}); string(text) != "half" || !errors.Is(err, broken) {
		t.Errorf("ahead: %q, %v", text, err)
	}
	for range 2 {
		if got, err := io.ReadAll(k.reader()); string(got) != "half" || !errors.Is(err, broken) {
			t.Errorf("%q, %v", got, err)
		}
	}
}
