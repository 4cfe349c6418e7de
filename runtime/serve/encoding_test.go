package serve_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// TestContentEncodings holds what is read of a body that is compressed in
// unusual ways, and what its sender gets.
func TestContentEncodings(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f})
	half := len(inferBody) / 2
	whole := squeeze(t, "gzip", []byte(inferBody))
	members := append(squeeze(t, "gzip", []byte(inferBody[:half])), squeeze(t, "gzip", []byte(inferBody[half:]))...)
	const follows = "something follows the compressed data"
	for name, tc := range map[string]struct {
		lines []string
		body  []byte
		want  int
		text  string // in the answer
	}{
		"gzip":                        {[]string{"gzip"}, whole, http.StatusOK, "outputs"},
		"gzip, in members":            {[]string{"gzip"}, members, http.StatusOK, "outputs"},
		"a member cut short":          {[]string{"gzip"}, members[:len(members)-4], http.StatusBadRequest, "cut short"},
		"a member's header cut short": {[]string{"gzip"}, append(bytes.Clone(whole), "\x1f\x8b\x08"...), http.StatusBadRequest, "cut short"},
		"a member's first byte":       {[]string{"gzip"}, append(bytes.Clone(whole), '\x1f'), http.StatusBadRequest, "cut short"},
		"gzip and a byte":             {[]string{"gzip"}, append(bytes.Clone(whole), 'x'), http.StatusBadRequest, follows},
		"gzip and many bytes":         {[]string{"gzip"}, append(bytes.Clone(whole), inferBody...), http.StatusBadRequest, follows},
		"gzip and zeros":              {[]string{"gzip"}, append(bytes.Clone(whole), make([]byte, 512)...), http.StatusBadRequest, follows},
		"deflate and a byte":          {[]string{"deflate"}, append(squeeze(t, "deflate", []byte(inferBody)), 'x'), http.StatusBadRequest, follows},
		"a list":                      {[]string{"identity, gzip"}, whole, http.StatusUnsupportedMediaType, "expected one Content-Encoding"},
		"a list in two lines":         {[]string{"identity", "gzip"}, whole, http.StatusUnsupportedMediaType, "expected one Content-Encoding"},
		"two lines, the other way":    {[]string{"gzip", "br"}, whole, http.StatusUnsupportedMediaType, "expected one Content-Encoding"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ts.URL+"/v2/models/double/infer", bytes.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header["Content-Encoding"] = tc.lines
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tc.want || !strings.Contains(string(body), tc.text) {
				t.Errorf("%d %s, want %d and %q", res.StatusCode, body, tc.want, tc.text)
			}
		})
	}
}

// TestAnAnswerToHTTP10HasItsLength holds that nobody who cannot read chunks takes
// a compressed answer that was cut off for a whole one.
func TestAnAnswerToHTTP10HasItsLength(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f})
	body, err := infer.EncodeRequest(&infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1000, 2}, make([]float32, 2000))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for version, encoding := range map[string]string{"1.0": "", "1.1": "gzip"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			request := fmt.Sprintf("POST /v2/models/double/infer HTTP/%s\r\nHost: localhost\r\nConnection: close\r\nAccept-Encoding: gzip\r\n"+
				"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n%s", version, body.HeaderLength(), body.Size(), body.Bytes())
			got := raw(t, ts.URL, request, false)
			if got.status != http.StatusOK || got.header.Get("Content-Encoding") != encoding {
				t.Fatalf("%d %v", got.status, got.header)
			}
			if length := got.header.Get("Content-Length"); encoding == "" && length != strconv.Itoa(len(got.body)) {
				t.Errorf("a length of %q is announced, of %d bytes", length, len(got.body))
			}
		})
	}
}
