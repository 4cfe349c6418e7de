package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/problem"
)

// onceOnly is a server's body that must not be touched once it has ended.
type onceOnly struct {
	t     *testing.T
	r     io.Reader
	mu    sync.Mutex
	ended bool
}

func (o *onceOnly) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		o.t.Error("read after it has ended")
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := o.r.Read(p)
	o.ended = err != nil
	return n, err
}

func (o *onceOnly) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	return nil
}

// TestAnEndedBodyReturnsTheSameErrorAgain holds that what reads a request's body past
// its end, or after it was closed, gets the same error each time, and that the
// server's body is left alone.
func TestAnEndedBodyReturnsTheSameErrorAgain(t *testing.T) {
	t.Parallel()
	broken := io.ErrUnexpectedEOF
	for name, tc := range map[string]struct {
		body   io.Reader
		length int64
		first  int // bytes read before the end; -1 all
		want   error
		code   string // of the problem that the client gets
	}{
		"a length":            {strings.NewReader("hello"), 5, -1, io.EOF, ""},
		"no length":           {strings.NewReader("hello"), -1, -1, io.EOF, ""},
		"an end with bytes":   {endsAtOnce("hello"), 5, -1, io.EOF, ""},
		"closed before":       {strings.NewReader("hello"), 5, 2, http.ErrBodyReadAfterClose, ""},
		"closed unread":       {strings.NewReader("hello"), -1, 0, http.ErrBodyReadAfterClose, ""},
		"broke off":           {io.MultiReader(strings.NewReader("he"), failingReader{broken}), 5, -1, nil, "malformed_body"},
		"more than is taken":  {bytes.NewReader(make([]byte, 2000)), -1, -1, nil, "payload_too_large"},
		"ended, in one piece": {endsAtOnce(strings.Repeat("x", 1000)), 1000, -1, io.EOF, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", &onceOnly{t: t, r: tc.body})
			r.ContentLength = tc.length
			if err := gateway.Bound(gateway.Config{MaxBody: 1000}, httptest.NewRecorder(), r); err != nil {
				t.Fatal(err)
			}
			var ended error
			if tc.first < 0 {
				_, ended = io.Copy(io.Discard, r.Body)
			} else if _, err := io.ReadFull(r.Body, make([]byte, tc.first)); err != nil {
				t.Fatal(err)
			}
			if got := string(problem.CodeOf(ended)); got != tc.code {
				t.Errorf("%v", ended)
			}
			if err := r.Body.Close(); err != nil {
				t.Error(err)
			}
			want := tc.want
			if tc.code != "" {
				want = ended
			}
			var again sync.WaitGroup
			for range 3 {
				again.Go(func() {
					if n, err := r.Body.Read(make([]byte, 10)); n != 0 || !errors.Is(err, want) {
						t.Errorf("read again: %d, %v", n, err)
					}
					_ = r.Body.Close()
				})
			}
			again.Wait()
		})
	}
}

// endsAtOnce returns io.EOF with its last bytes.
func endsAtOnce(s string) io.Reader { return &atOnce{strings.NewReader(s)} }

type atOnce struct{ r *strings.Reader }

func (a *atOnce) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if err == nil && a.r.Len() == 0 {
		err = io.EOF
	}
	return n, err
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }
