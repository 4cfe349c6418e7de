package lifecycle_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// TestAnEndedBodyReturnsItsEndAgain holds that what reads a body once more,
// in its own time, finds its end, and no error of the answer that has begun.
func TestAnEndedBodyReturnsItsEndAgain(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{"a length": withBody, "chunks": inChunks, "100-continue": expecting} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serving(t, lifecycle.DefaultLimits(), func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					t.Error(err)
				}
				_, _ = w.Write(make([]byte, 8<<10))
				flush(w)
				again := make(chan error, 3)
				for range cap(again) {
					go func() {
						_, err := r.Body.Read(make([]byte, 1))
						again <- errors.Join(err, r.Body.Close())
					}()
				}
				for range cap(again) {
					if err := <-again; !errors.Is(err, io.EOF) {
						t.Errorf("read again: %v", err)
					}
				}
			})
			c := dial(t, address)
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			receive(t, bufio.NewReader(c))
		})
	}
}

func TestABodyThatWasClosedIsNotRead(t *testing.T) {
	t.Parallel()
	address := serving(t, lifecycle.DefaultLimits(), func(w http.ResponseWriter, r *http.Request) {
		_ = r.Body.Close()
		n, err := r.Body.Read(make([]byte, 1))
		_, _ = fmt.Fprint(w, n, err)
	})
	c := dial(t, address)
	in := bufio.NewReader(c)
	for range 2 { // on one connection: what was left is drained
		if _, err := io.WriteString(c, withBody); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, in); got != fmt.Sprint(0, http.ErrBodyReadAfterClose) {
			t.Error(got)
		}
	}
}

// refuse answers without reading, with the same bytes each time.
func refuse(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "7")
	w.WriteHeader(http.StatusRequestEntityTooLarge)
	_, _ = io.WriteString(w, "refused")
}

// TestARefusalReachesWhoSendsFirst holds that a client that reads nothing before
// it has sent all of a body reads its refusal then.
func TestARefusalReachesWhoSendsFirst(t *testing.T) {
	t.Parallel()
	const size = 40 << 20 // more than the system holds for a connection
	for name, head := range map[string]string{
		"a length": fmt.Sprintf("Content-Length: %d\r\n\r\n", size),
		"chunks":   fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", size),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drained := make(chan bool, 1)
			limits := lifecycle.DefaultLimits()
			limits.Drain.Drained = func(_ int64, whole bool) { drained <- whole }
			c := dial(t, serving(t, limits, refuse))
			if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\n"+head); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(head, "T") {
				if _, err := io.WriteString(c, "\r\n0\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			}
			in := bufio.NewReader(c)
			if got := receive(t, in); got != "refused" {
				t.Error(got)
			}
			if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("the connection ends with %v", err)
			}
			if !<-drained {
				t.Error("the body is not reported as whole")
			}
		})
	}
}

// TestADrainIsBounded holds that nobody keeps a connection by what they send
// behind a refusal, nor has it taken for a request.
func TestADrainIsBounded(t *testing.T) {
	t.Parallel()
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, tc := range map[string]struct {
		bound func(*lifecycle.Drain)
		send  string
		more  bool // it never ends
	}{
		"in bytes":                {func(d *lifecycle.Drain) { d.Bytes = 1 << 20 }, "Content-Length: 1000000000\r\n\r\n", true},
		"in bytes, in chunks":     {func(d *lifecycle.Drain) { d.Bytes = 1 << 20 }, "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", true},
		"in time":                 {func(d *lifecycle.Drain) { d.Bytes, d.Time = 1<<50, 50*time.Millisecond }, "Content-Length: 1000000000000\r\n\r\n", true},
		"without a byte":          {func(d *lifecycle.Drain) { d.Idle = 10 * time.Millisecond }, "Content-Length: 1000000000\r\n\r\n", false},
		"little, without a byte":  {func(d *lifecycle.Drain) { d.Idle = 10 * time.Millisecond }, "Content-Length: 1000\r\n\r\n" + smuggled, false},
		"at once":                 {func(d *lifecycle.Drain) { d.Most = 0 }, "Content-Length: 1000\r\n\r\n" + smuggled, false},
		"chunks that are none":    {nil, "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" + smuggled, false},
		"chunks that never were":  {nil, "Transfer-Encoding: chunked\r\n\r\n" + smuggled, false},
		"a length, and its end":   {nil, "Content-Length: 1000\r\nConnection: close\r\n\r\n" + smuggled, false},
		"all of it, and the next": {nil, "Content-Length: 4\r\nConnection: close\r\n\r\nbody" + smuggled, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := lifecycle.DefaultLimits()
			if tc.bound != nil {
				tc.bound(&limits.Drain)
			}
			var calls, bytes atomic.Int64
			limits.Drain.Drained = func(n int64, _ bool) { bytes.Add(n) }
			address := serving(t, limits, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); refuse(w, r) })
			c := dial(t, address)
			if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\n"+tc.send); err != nil {
				t.Fatal(err)
			}
			if tc.more {
				for { // until the connection breaks
					if _, err := c.Write(make([]byte, 1<<20)); err != nil {
						break
					}
				}
			} else {
				in := bufio.NewReader(c)
				if got := receive(t, in); got != "refused" {
					t.Error(got)
				}
				if name == "a length, and its end" {
					c.Close()
				} else if rest, _ := io.ReadAll(in); len(rest) > 0 {
					t.Errorf("answered once more: %q", rest)
				}
			}
			if calls.Load() != 1 {
				t.Errorf("%d requests were found", calls.Load())
			}
			if n := bytes.Load(); limits.Drain.Bytes < 1<<30 && n > limits.Drain.Bytes+1<<20 {
				t.Errorf("%d bytes were drained", n)
			}
		})
	}
}

// TestADrainEndsWithTheServer holds that the end of the process waits for no
// body that nobody reads.
func TestADrainEndsWithTheServer(t *testing.T) {
	t.Parallel()
	limits := lifecycle.DefaultLimits()
	limits.Drain.Idle, limits.Drain.Time = time.Hour, time.Hour
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- lifecycle.Serve(ctx, lifecycle.NewServer(http.HandlerFunc(refuse), limits), l, time.Hour, nil)
	}()
	c := dial(t, l.Addr().String())
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	receive(t, bufio.NewReader(c))
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestARefusalOverHTTP2EndsItsStreamAlone holds that the other calls of a
// connection go on, and new ones come on it.
func TestARefusalOverHTTP2EndsItsStreamAlone(t *testing.T) {
	t.Parallel()
	finish := make(chan struct{})
	address := serving(t, lifecycle.DefaultLimits(), func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			refuse(w, r)
			return
		}
		flush(w)
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	connections := map[string]bool{}
	call := func(path string, body io.Reader) (status int, read <-chan string) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn: func(got httptrace.GotConnInfo) { connections[got.Conn.LocalAddr().String()] = true },
		})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, body)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(req) //nolint:bodyclose // who reads it closes it
		if err != nil {
			t.Fatal(err)
		}
		all := make(chan string, 1)
		go func() {
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			all <- string(body)
		}()
		return res.StatusCode, all
	}
	_, before := call("/before", nil)
	for range 3 {
		status, read := call("/refused", bytes.NewReader(make([]byte, 40<<20)))
		if body := <-read; status != http.StatusRequestEntityTooLarge || body != "refused" {
			t.Errorf("%d %q", status, body)
		}
	}
	_, after := call("/after", nil)
	close(finish)
	for _, read := range []<-chan string{before, after} {
		if body := <-read; body != "done" {
			t.Errorf("%q", body)
		}
	}
	if len(connections) != 1 {
		t.Errorf("%d connections were needed", len(connections))
	}
}

// TestAnAnswerThatBreaksOffIsNotWhole holds that a handler that gives up leaves
// no clean end, whatever was still to come of the body.
func TestAnAnswerThatBreaksOffIsNotWhole(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{"no body": withoutBody, "a body": withBody, "some of a body": withBody[:len(withBody)-1], "chunks": inChunks, "HTTP/1.0": oldVersion} {
		for size, header := range map[string][2]string{"a length": {"Content-Length", "20000"}, "chunks": {}, "the connection": {"Transfer-Encoding", "identity"}} {
			t.Run(name+", answered by "+size, func(t *testing.T) {
				t.Parallel()
				address := serving(t, lifecycle.DefaultLimits(), func(w http.ResponseWriter, _ *http.Request) {
					if header[0] != "" {
						w.Header().Set(header[0], header[1])
					}
					_, _ = w.Write(make([]byte, 10000))
					flush(w)
					panic(http.ErrAbortHandler)
				})
				c := dial(t, address)
				if _, err := io.WriteString(c, request); err != nil {
					t.Fatal(err)
				}
				res, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					return // not even its beginning came
				}
				defer res.Body.Close()
				if _, err := io.ReadAll(res.Body); err == nil {
					t.Error("the answer looks whole")
				}
			})
		}
	}
}

// TestAnAnswerThatTheServersEndCutsOffIsNotWhole holds the same when the time
// for a drain has passed.
func TestAnAnswerThatTheServersEndCutsOffIsNotWhole(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{"HTTP/1.1": withoutBody, "HTTP/1.0": oldVersion} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := lifecycle.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write(make([]byte, 10000))
				flush(w)
				<-r.Context().Done()
			}), lifecycle.DefaultLimits())
			l := listen(t)
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- lifecycle.Serve(ctx, server, l, time.Millisecond, nil) }()
			c := dial(t, l.Addr().String())
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			cancel()
			if _, err := io.ReadAll(res.Body); err == nil {
				t.Error("the answer looks whole")
			}
			if err := <-served; err == nil {
				t.Error("a request was cut off without an error")
			}
		})
	}
}
