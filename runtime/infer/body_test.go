package infer_test

import (
	"bytes"
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
			got, err := infer.ReadBody(tc.r, tc.length, 1, tc.limit)
			if code := problem.CodeOf(err); code != tc.code {
				t.Fatalf("%v is %q, want %q", err, code, tc.code)
			}
			if !bytes.Equal(got, tc.want) {
				t.Errorf("read %d bytes, want %d", len(got), len(tc.want))
			}
		})
	}
}
