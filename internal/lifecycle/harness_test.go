package lifecycle_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// serving answers on a port of its own until the test ends.
func serving(t *testing.T, limits lifecycle.Limits, handler http.HandlerFunc) string {
	t.Helper()
	l := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- lifecycle.Serve(ctx, lifecycle.NewServer(handler, limits), l, time.Minute, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// dial opens a connection that ends with the test.
func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", address)
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

const (
	withBody    = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
	inChunks    = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
	withoutBody = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	oldVersion  = "POST / HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
	expecting   = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"
)

// overHTTP2 is a client's first frames, with a request: its preface, no
// settings, and the headers of GET http://x/.
const overHTTP2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
	"\x00\x00\x00\x04\x00\x00\x00\x00\x00" +
	"\x00\x00\x06\x01\x05\x00\x00\x00\x01" + "\x82\x86\x84\x41\x01x"

// receive reads an answer whole.
func receive(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }
