package grpcwire

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

// TestLargeMessagesAreDecompressedAside holds which messages are, that they come whole, and
// that a caller who left while theirs waited gets that for an error.
func TestLargeMessagesAreDecompressedAside(t *testing.T) {
	t.Parallel()
	const kib, mib = 1 << 10, 1 << 20
	for name, tc := range map[string]struct {
		size       int
		compressed bool
		fails      error
		aside      bool
	}{
		"small and compressed":       {size: kib, compressed: true},
		"large and not compressed":   {size: 3 * mib},
		"large and compressed":       {size: 3 * mib, compressed: true, aside: true},
		"large, and its caller left": {size: 3 * mib, compressed: true, fails: context.Canceled, aside: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			message := bytes.Repeat([]byte("0123456"), tc.size/7)
			body := frame(0, message)
			if tc.compressed {
				body = frame(1, compressed(t, "gzip", message))
			}
			s := accept(t, bytes.NewReader(body), "gzip", 8*mib, ample())
			defer s.Close()
			aside := false
			s.Aside(func(f func()) error {
				aside = true
				if tc.fails == nil {
					f()
				}
				return tc.fails
			})
			got, err := receiveOnly(t.Context(), s)
			if tc.fails == nil && (err != nil || !bytes.Equal(got, message)) {
				t.Errorf("%d bytes of %d, %v", len(got), len(message), err)
			}
			if tc.fails != nil && !errors.Is(err, tc.fails) {
				t.Errorf("got %v, want %v", err, tc.fails)
			}
			if aside != tc.aside {
				t.Errorf("it was done aside: %v", aside)
			}
		})
	}
}
