//go:build linux

package lifecycle_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
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

// TestAClientThatEndsItsSideIsAnswered holds that the end of a client's side is
// not the end of its request.
func TestAClientThatEndsItsSideIsAnswered(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"a length": withBody, "chunks": inChunks, "no body": withoutBody, "HTTP/1.0": oldVersion, "100-continue": expecting,
		"two at once": withoutBody + withBody,
	} {
		for size, answer := range map[string]string{"short": "done", "long": strings.Repeat("x", 1<<20)} {
			t.Run(name+", "+size, func(t *testing.T) {
				t.Parallel()
				address := serving(t, lifecycle.DefaultLimits(), func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						t.Error(err)
					}
					_, _ = io.WriteString(w, answer)
				})
				c := dial(t, address)
				if _, err := io.WriteString(c, request); err != nil {
					t.Fatal(err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				in := bufio.NewReader(c)
				for range strings.Count(request, "Host") {
					if got := receive(t, in); got != answer {
						t.Errorf("%d bytes of %d", len(got), len(answer))
					}
				}
				if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
					t.Errorf("after the answer: %q, %v", rest, err)
				}
			})
		}
	}
}

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

// TestALongAnswerWaitsForAClientThatEndedItsSide holds that a client is found to be there by what
// all answers begin with, and reads an answer like any other.
func TestALongAnswerWaitsForAClientThatEndedItsSide(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"an answer": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") },
		"a flushed": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "do")
			flush(w)
			_, _ = io.WriteString(w, "ne")
		},
		"early hints": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "done")
		},
		"an empty one": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			finish := make(chan struct{})
			address := serving(t, lifecycle.DefaultLimits(), func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				select {
				case <-finish:
					answer(w, r)
				case <-r.Context().Done():
					t.Error("the request was cancelled")
				}
			})
			c := dial(t, address)
			if _, err := io.WriteString(c, withBody); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 2) // sent ahead: the end of our side is known there
			if _, err := io.ReadFull(c, first); err != nil || string(first) != "HT" {
				t.Fatalf("%q, %v", first, err)
			}
			close(finish)
			rest, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(strings.NewReader(string(first) + string(rest)))
			for {
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatalf("%v in %q", err, rest)
				}
				if res.StatusCode == http.StatusEarlyHints {
					continue
				}
				body, err := io.ReadAll(res.Body)
				if err := errors.Join(err, res.Body.Close()); err != nil {
					t.Fatal(err)
				}
				if string(body) != "done" && res.StatusCode != http.StatusNoContent {
					t.Errorf("%d %q", res.StatusCode, body)
				}
				return
			}
		})
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// TestAClientThatLeavesEndsItsRequest holds that a client who is gone, however
// it went, cancels what it asked for.
func TestAClientThatLeavesEndsItsRequest(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*testing.T, *net.TCPConn){
		"closes": func(*testing.T, *net.TCPConn) {},
		"resets": func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			if err := c.SetLinger(0); err != nil {
				t.Fatal(err)
			}
		},
		"ends its side, and closes": func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		},
		"ends its side, reads for a while, and closes": func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for kind, request := range map[string]string{"a length": withBody, "chunks": inChunks, "no body": withoutBody, "100-continue": expecting} {
			if name != "closes" && kind != "a length" {
				continue // each waits for its probe
			}
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				began, ended := make(chan struct{}), make(chan struct{})
				address := serving(t, lifecycle.DefaultLimits(), func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					close(began)
					<-r.Context().Done()
					close(ended)
				})
				c := dial(t, address)
				if _, err := io.WriteString(c, request); err != nil {
					t.Fatal(err)
				}
				<-began
				if kind == "100-continue" {
					if _, err := io.ReadFull(c, make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))); err != nil {
						t.Fatal(err)
					}
				}
				leave(t, c)
				c.Close()
				<-ended
			})
		}
	}
}

// TestAConnectionIsKeptAfterALookAhead holds that requests that follow each
// other on a connection are answered as ever.
func TestAConnectionIsKeptAfterALookAhead(t *testing.T) {
	t.Parallel()
	address := serving(t, lifecycle.DefaultLimits(), func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %v", body, err)
	})
	c := dial(t, address)
	in := bufio.NewReader(c)
	for range 3 {
		for request, want := range map[string]string{withBody: "hi <nil>", inChunks: "hi <nil>", withoutBody: " <nil>"} {
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, in); got != want {
				t.Errorf("%q", got)
			}
		}
	}
}
