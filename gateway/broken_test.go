package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// scripted is a function that answers every request with the same bytes and then
// ends, or resets, the connection. It returns its address.
func scripted(t *testing.T, reset bool, answer string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(c, answer)
			}
			if tcp, ok := c.(*net.TCPConn); ok && reset {
				_ = tcp.SetLinger(0)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// TestAnAnswerThatBreaksOffIsNotWhole holds that nobody takes what came of a
// function's answer for all of it.
func TestAnAnswerThatBreaksOffIsNotWhole(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	some := strings.Repeat("x", 50000)
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(some), some)
	for name, answer := range map[string]string{
		"of a length":                     head + "Content-Length: 100000\r\n\r\n" + some,
		"of a length, without a byte":     head + "Content-Length: 100000\r\n\r\n",
		"in chunks":                       head + "Transfer-Encoding: chunked\r\n\r\n" + chunk,
		"in chunks, without one":          head + "Transfer-Encoding: chunked\r\n\r\n",
		"in a chunk":                      head + "Transfer-Encoding: chunked\r\n\r\n" + chunk[:len(chunk)/2],
		"in the last chunk":               head + "Transfer-Encoding: chunked\r\n\r\n" + chunk + "0\r\n",
		"by what is no chunk":             head + "Transfer-Encoding: chunked\r\n\r\n" + chunk + "zz\r\n\r\n",
		"before the headers end":          head,
		"of an error":                     "HTTP/1.1 503 x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
		"of an error, of which much came": "HTTP/1.1 503 x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n" + some,
	} {
		for end, reset := range map[string]bool{"ended": false, "reset": true} {
			t.Run(name+", "+end, func(t *testing.T) {
				t.Parallel()
				address := scripted(t, reset, answer)
				w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) { d.Transport = toOne{forward.NewTransport(), address} })
				for protocol, client := range map[string]*http.Client{"HTTP/1.1": w.server.Client(), "HTTP/2": w.h2c()} {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/v2/models/iris/infer", strings.NewReader("{}"))
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("X-Api-Key", w.admin)
					res, err := client.Do(req)
					if err != nil {
						continue // not even its beginning came
					}
					body, err := io.ReadAll(res.Body)
					res.Body.Close()
					if err == nil && res.StatusCode != http.StatusBadGateway {
						t.Errorf("%s: %d with %d bytes looks whole", protocol, res.StatusCode, len(body))
					}
				}
				conn := w.raw()
				conn.send("POST /v2/models/iris/infer HTTP/1.0\r\nHost: localhost\r\nX-API-Key: %s\r\nContent-Length: 2\r\n\r\n{}", w.admin)
				res, err := http.ReadResponse(conn.in, nil)
				if err != nil {
					return
				}
				defer res.Body.Close()
				if body, err := io.ReadAll(res.Body); err == nil && res.StatusCode != http.StatusBadGateway {
					t.Errorf("HTTP/1.0: %d with %d bytes looks whole", res.StatusCode, len(body))
				}
			})
		}
	}
}

// TestAGRPCAnswerThatBreaksOffIsAnError holds the same of messages.
func TestAGRPCAnswerThatBreaksOffIsAnError(t *testing.T) {
	t.Parallel()
	const ok = http.TrailerPrefix + "Grpc-Status"
	for name, answer := range map[string]http.HandlerFunc{
		"in the message": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append([]byte{0, 0, 0, 100, 0}, make([]byte, 1000)...))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"in the message, and ends well": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append([]byte{0, 0, 0, 100, 0}, make([]byte, 1000)...))
			w.Header().Set(ok, "0")
		},
		"in the message's length": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte{0, 0, 0})
			w.Header().Set(ok, "0")
		},
		"before the message": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(ok, "0") },
		"before the status":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0, 0, 0, 0, 0}) },
		"at once":            func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				rw.Header().Set("Content-Type", "application/grpc")
				answer(rw, r)
			})
			var out inferpb.ModelInferResponse
			err := w.dial("").Invoke(with(t, "authorization", "Bearer "+w.admin), service+"ModelInfer", &inferpb.ModelInferRequest{ModelName: "iris"}, &out)
			if status.Code(err) == codes.OK {
				t.Errorf("%v looks whole", &out)
			}
		})
	}
}

// TestAClientThatEndsItsSideIsAnswered holds that the answer comes to whoever has ended
// the connection's other direction, though the function takes its time.
func TestAClientThatEndsItsSideIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	finish := make(chan struct{})
	w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-finish:
			_, _ = io.WriteString(rw, "done")
		case <-r.Context().Done():
			t.Error("the function's request was cancelled")
		}
	})
	conn := w.raw()
	conn.send("POST /v2/models/iris/infer HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\nContent-Length: 2\r\n\r\nhi", w.admin)
	if tcp, ok := conn.conn.(*net.TCPConn); !ok || tcp.CloseWrite() != nil {
		t.Fatal("cannot close for writing")
	}
	if _, err := conn.in.Peek(1); err != nil { // the gateway has seen the end
		t.Fatal(err)
	}
	close(finish)
	if got := conn.receive(); got.status != http.StatusOK || got.body != "done" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// late is a transport that reads a request's body once more, behind its last
// byte, only when it is let, as net/http's does on a busy machine.
type late struct {
	http.RoundTripper
	let  <-chan struct{}
	done chan struct{} // closed when it has
}

func (l late) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Body = &lateBody{ReadCloser: r.Body, left: r.ContentLength, late: l}
	return l.RoundTripper.RoundTrip(r)
}

type lateBody struct {
	io.ReadCloser
	left int64
	late late
}

func (b *lateBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		<-b.late.let
		defer close(b.late.done)
		return b.ReadCloser.Read(p)
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left == 0 && err == io.EOF {
		err = nil // it asks again
	}
	return n, err
}

// TestALateLookAtABodysEndCutsNoAnswer holds that an answer goes on though the
// transport looks for the request's end after it has begun.
func TestALateLookAtABodysEndCutsNoAnswer(t *testing.T) {
	t.Parallel()
	for protocol, of := range map[string]func(*world) *http.Client{
		"HTTP/1.1": func(w *world) *http.Client { return w.server.Client() },
		"HTTP/2":   func(w *world) *http.Client { return w.h2c() },
	} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			let, done := make(chan struct{}), make(chan struct{})
			w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) { d.Transport = late{d.Transport, let, done} })
			const size = 16 << 10
			w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.CopyN(io.Discard, r.Body, 2)
				_, _ = rw.Write(make([]byte, size))
				_ = http.NewResponseController(rw).Flush()
				<-done
				_, _ = rw.Write(make([]byte, size))
			})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/v2/models/iris/infer", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Api-Key", w.admin)
			res, err := of(w).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if _, err := io.CopyN(io.Discard, res.Body, size); err != nil {
				t.Fatal(err)
			}
			close(let)
			if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
				t.Errorf("%d bytes of the rest, %v", n, err)
			}
		})
	}
}

// TestAnAnswerThatIsGivenEarlyArrives holds that a function may answer before it
// has read what the client sends, and goes on sending.
func TestAnAnswerThatIsGivenEarlyArrives(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{"a length": "Content-Length: 20000000\r\n\r\n", "chunks": "Transfer-Encoding: chunked\r\n\r\n1312d00\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			answer := strings.Repeat("x", 100<<10)
			ctx, cancel := context.WithCancel(t.Context())
			w.serve("pool", func(rw http.ResponseWriter, _ *http.Request) {
				defer cancel()
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(http.StatusUnprocessableEntity)
				_, _ = io.WriteString(rw, answer)
			})
			conn := w.raw()
			conn.send("POST /v2/models/iris/infer HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\n%s", w.admin, sent)
			conn.send("%s", strings.Repeat("y", 1000))
			<-ctx.Done()
			conn.send("%s", strings.Repeat("y", 20000000-1000))
			if name == "chunks" {
				conn.send("\r\n0\r\n\r\n")
			}
			if got := conn.receive(); got.status != http.StatusUnprocessableEntity || got.body != answer {
				t.Errorf("%d, %d bytes", got.status, len(got.body))
			}
		})
	}
}
