//go:build linux

package lifecycle_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/lifecycle"
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
		"an empty one":              func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"an empty one, to HTTP/1.0": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"an answer to HTTP/1.0":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") },
		"a flushed, to HTTP/1.0": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "do")
			flush(w)
			_, _ = io.WriteString(w, "ne")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := withBody
			if strings.HasSuffix(name, "HTTP/1.0") {
				request = oldVersion
			}
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
			if _, err := io.WriteString(c, request); err != nil {
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
		for kind, request := range map[string]string{"a length": withBody, "chunks": inChunks, "no body": withoutBody, "100-continue": expecting, "HTTP/1.0": oldVersion} {
			if name != "closes" && kind != "a length" && kind != "HTTP/1.0" {
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

// TestAConnectionOfHTTP2ThatEndsEndsItsRequests holds that nothing of it is
// taken for a client that reads on, wherever it ends.
func TestAConnectionOfHTTP2ThatEndsEndsItsRequests(t *testing.T) {
	t.Parallel()
	const ping = "\x00\x00\x08\x06\x00\x00\x00\x00\x00" + "12345678"
	for name, more := range map[string]string{
		"after a frame":         "",
		"in a header":           ping[:1],
		"a byte before its end": ping[:8],
		"after a header":        ping[:9],
		"a byte before a frame": ping[:len(ping)-1],
	} {
		for end, closes := range map[string]bool{"closed": true, "its side": false} {
			t.Run(name+", "+end, func(t *testing.T) {
				t.Parallel()
				began, ended := make(chan struct{}), make(chan struct{})
				address := serving(t, lifecycle.DefaultLimits(), func(_ http.ResponseWriter, r *http.Request) {
					close(began)
					<-r.Context().Done()
					close(ended)
				})
				c := dial(t, address)
				if _, err := io.WriteString(c, overHTTP2+more); err != nil {
					t.Fatal(err)
				}
				<-began
				if closes {
					c.Close()
				} else if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
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
