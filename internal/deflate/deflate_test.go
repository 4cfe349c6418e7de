package deflate_test

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/modelserveai/modelserve/internal/deflate"
)

// TestInflate holds what comes of a message, by one inflater after the other.
func TestInflate(t *testing.T) {
	t.Parallel()
	var sent bytes.Buffer
	w := deflate.NewDeflater()
	w.Reset(&sent)
	if _, err := io.WriteString(w, "a message"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := deflate.NewInflater()
	for _, tc := range []struct {
		name string
		data []byte
		want bool
	}{
		{"whole", sent.Bytes(), true},
		{"something behind it", append(bytes.Clone(sent.Bytes()), 0), false},
		{"whole again", sent.Bytes(), true},
		{"cut", sent.Bytes()[:sent.Len()-1], false},
	} {
		for _, source := range []io.Reader{bytes.NewReader(tc.data), iotest.OneByteReader(bytes.NewReader(tc.data))} {
			err := r.Reset(source)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(r)
			}
			if (err == nil) != tc.want || tc.want && string(got) != "a message" {
				t.Errorf("%s: %q, %v", tc.name, got, err)
			}
		}
	}
}
