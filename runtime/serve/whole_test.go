package serve_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// open opens a connection to a server that answers exactly what a test wants.
func open(t *testing.T, ts *listening) *net.TCPConn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatalf("dialled a %T", c)
	}
	return tcp
}

// read reads an answer whole.
func read(t *testing.T, in *bufio.Reader) reply {
	t.Helper()
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, body}
}

// TestARefusalReachesAClientThatSendsFirst holds that a client that reads nothing before
// all of its body is sent finds out why it was refused.
func TestARefusalReachesAClientThatSendsFirst(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Function: "double", Model: "double", Codec: echo{}, Limits: serve.Limits{MaxBody: 1 << 20}})
	for name, tc := range map[string]struct {
		path string
		code problem.Code
	}{
		"V2":            {"/v2/models/double/infer", problem.PayloadTooLarge},
		"native":        {"/", problem.PayloadTooLarge},
		"the index":     {"/v2/repository/index", problem.PayloadTooLarge},
		"no such URL":   {"/nowhere", problem.NotFound},
		"another verb":  {"/v2/models/double", problem.MethodNotAllowed},
		"a wrong model": {"/v2/models/Double/infer", problem.InvalidArgument},
	} {
		for kind, chunked := range map[string]bool{"a length": false, "chunks": true} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				const size = 40 << 20 // more than the system holds for a connection
				c := open(t, ts)
				head, tail := fmt.Sprintf("Content-Length: %d\r\n\r\n", size), ""
				if chunked {
					head, tail = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", size), "\r\n0\r\n\r\n"
				}
				for _, part := range []string{"POST " + tc.path + " HTTP/1.1\r\nHost: x\r\n" + head, strings.Repeat(" ", size), tail} {
					if _, err := io.WriteString(c, part); err != nil {
						t.Fatal(err)
					}
				}
				read(t, bufio.NewReader(c)).failed(t, tc.code)
			})
		}
	}
}

// TestAClientThatEndsItsSideIsAnswered holds that a request is not cancelled by
// the end of what its client sends.
func TestAClientThatEndsItsSideIsAnswered(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f})
	const body = `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`
	for range 100 { // the end may come before, while and after it runs
		c := open(t, ts)
		if _, err := fmt.Fprintf(c, "POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, bufio.NewReader(c)); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
}

// fullWriter takes some bytes of an answer and no more.
type fullWriter struct {
	*httptest.ResponseRecorder
	room int
}

var errFull = errors.New("full")

func (f *fullWriter) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	if n < len(p) {
		return n, errFull
	}
	return f.ResponseRecorder.Write(p)
}

// TestAnAnswerThatIsNotWrittenWholeBreaksOff holds that no answer ends as if it
// were whole after a part of it could not be written.
func TestAnAnswerThatIsNotWrittenWholeBreaksOff(t *testing.T) {
	t.Parallel()
	f := newFake()
	server, err := serve.New(serve.Config{Backend: f, Repository: f, Function: "double", Model: "double", Codec: echo{}})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 100000)
	for i := range x {
		x[i] = float32(i) / 7
	}
	body, err := infer.EncodeRequest(&infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{50000, 2}, x)}}, func(*infer.Tensor) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	for _, encoding := range []string{"identity", "gzip", "deflate"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v2/models/double/infer", bytes.NewReader(body.Bytes()))
			r.Header.Set("Accept-Encoding", encoding)
			defer func() {
				if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
					t.Errorf("the answer ended with %v", p)
				}
			}()
			server.ServeHTTP(&fullWriter{httptest.NewRecorder(), 1000}, r)
		})
	}
}
