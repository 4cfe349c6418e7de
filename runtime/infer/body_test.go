package infer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

func TestReadBody(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte("0123456789"), 300_000)
	for name, tc := range map[string]struct {
		r      io.Reader
		length int64
		limit  int64
		want   []byte
		code   problem.Code
	}{
		"announced":          {r: bytes.NewReader(big), length: 3_000_000, limit: 3_000_000, want: big},
		"not announced":      {r: bytes.NewReader(big), length: -1, limit: 3_000_000, want: big},
		"byte by byte":       {r: iotest.OneByteReader(strings.NewReader("abc")), length: 3, limit: 10, want: []byte("abc")},
		"data with EOF":      {r: iotest.DataErrReader(strings.NewReader("abc")), length: 3, limit: 10, want: []byte("abc")},
		"empty":              {r: strings.NewReader(""), length: 0, limit: 10, want: []byte{}},
		"short":              {r: strings.NewReader("abc"), length: 4, limit: 10, code: problem.MalformedBody},
		"long":               {r: strings.NewReader("abcde"), length: 4, limit: 10, code: problem.MalformedBody},
		"announced too much": {r: strings.NewReader(""), length: 11, limit: 10, code: problem.PayloadTooLarge},
		"too much":           {r: bytes.NewReader(big), length: -1, limit: 2_999_999, code: problem.PayloadTooLarge},
		"at the limit":       {r: strings.NewReader("0123456789"), length: -1, limit: 10, want: []byte("0123456789")},
		"over the limit":     {r: strings.NewReader("0123456789a"), length: -1, limit: 10, code: problem.PayloadTooLarge},
		"broken":             {r: iotest.ErrReader(errors.New("broken")), length: -1, limit: 10, code: problem.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := infer.ReadBody(t.Context(), tc.r, infer.Body{Length: tc.length, HeaderLength: 1, Limit: tc.limit})
			if code := problem.CodeOf(err); code != tc.code {
				t.Fatalf("%v is %q, want %q", err, code, tc.code)
			}
			if !bytes.Equal(got, tc.want) {
				t.Errorf("read %d bytes, want %d", len(got), len(tc.want))
			}
		})
	}
}

// charged is a Holder that remembers the most that it was charged.
type charged struct{ now, most int64 }

func (c *charged) Take(_ context.Context, n int64) error {
	c.now += n
	c.most = max(c.most, c.now)
	return nil
}

func (c *charged) Give(n int64) { c.now -= n }

// TestABodyIsChargedAsItArrives holds that an announced length takes no memory, and
// that what is held in the end is what is charged.
func TestABodyIsChargedAsItArrives(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		sent, announced int64
		most, held      int64 // charged
	}{
		"nothing came":            {0, 32 * mib, 4 << 10, 4 << 10},
		"a byte came":             {1, 32 * mib, 4 << 10, 4 << 10},
		"a megabyte came":         {mib, 32 * mib, 3 * mib, 2 * mib},
		"half came":               {16 * mib, 32 * mib, 48 * mib, 32 * mib},
		"all came":                {32 * mib, 32 * mib, 48 * mib, 32 * mib},
		"little is announced":     {100, 100, 100, 100},
		"little is not announced": {100, -1, 4 << 10, 4 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c charged
			body, err := infer.ReadBody(t.Context(), io.LimitReader(zeros{}, tc.sent), infer.Body{Length: tc.announced, Limit: 32 * mib, Memory: &c})
			if whole := tc.announced < 0 || tc.sent == tc.announced; (err == nil) != whole || whole && int64(len(body)) != tc.sent {
				t.Errorf("%d bytes, %v", len(body), err)
			}
			if c.most != tc.most || c.now != tc.held {
				t.Errorf("charged %d, at most %d; want %d and %d", c.now, c.most, tc.held, tc.most)
			}
		})
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
