package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// target is a server's address and a request as it goes over the wire, written
// again and again over one connection. The client shares its processors with
// the server it measures, so it does no more than it must: one write, reads
// into one buffer, of which it looks at the status and the length.
type target struct {
	address string
	request []byte
}

// newTarget prepares a POST. Headers are pairs of a name and a value; a Host
// goes instead of the address.
func newTarget(address, path string, body []byte, headers ...string) *target {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nContent-Length: %d\r\n", path, len(body))
	if !slices.Contains(headers, "Host") {
		headers = append(headers, "Host", address)
	}
	for pair := range slices.Chunk(headers, 2) {
		fmt.Fprintf(&b, "%s: %s\r\n", pair[0], pair[1])
	}
	b.WriteString("\r\n")
	b.Write(body)
	return &target{address: address, request: b.Bytes()}
}

// v2 prepares a call of the Open Inference Protocol, with every tensor in
// binary or all in JSON.
func v2(address, model string, binary bool, inputs []infer.Tensor, headers ...string) (*target, error) {
	encoded, err := infer.EncodeRequest(&infer.Request{Inputs: inputs, BinaryOutput: binary}, func(*infer.Tensor) bool { return binary })
	if err != nil {
		return nil, err
	}
	headers = append(headers, "Content-Type", encoded.ContentType())
	if binary {
		headers = append(headers, "Inference-Header-Content-Length", strconv.Itoa(encoded.HeaderLength()))
	}
	return newTarget(address, "/v2/models/"+model+"/infer", encoded.Bytes(), headers...), nil
}

// statusError is an answer other than 200.
type statusError struct {
	status int
	body   string // its beginning
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// conn is one keep-alive connection.
type conn struct {
	net.Conn
	buffer []byte
	chunks *bufio.Reader // for servers that do not say an answer's length
}

// answerBuffer holds every header there is, and is small enough to stay in the
// processor's cache while a large answer passes through it.
const answerBuffer = 256 << 10

// chunked is the length of an answer that comes in chunks.
const chunked = -1

func (t *target) dial(ctx context.Context) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, buffer: make([]byte, answerBuffer)}, nil
}

// exchange sends a request and reads its whole answer. A *statusError leaves
// the connection usable.
func (c *conn) exchange(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	n, head := 0, -1
	for head < 0 {
		if n == len(c.buffer) {
			return errors.New("the answer's header does not end")
		}
		m, err := c.Read(c.buffer[n:])
		if n += m; err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		head = bytes.Index(c.buffer[:n], []byte("\r\n\r\n"))
	}
	status, length, err := parseHead(c.buffer[:head+2])
	if err != nil {
		return err
	}
	body := c.buffer[head+4 : n]
	var failed error
	if status != 200 {
		failed = &statusError{status, string(body[:min(len(body), 500)])}
	}
	if length == chunked {
		err = c.skipChunks(body)
	} else {
		err = c.skip(length - len(body))
	}
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return failed
}

// skip reads what is left of an answer.
func (c *conn) skip(rest int) error {
	for rest > 0 {
		m, err := c.Read(c.buffer[:min(rest, len(c.buffer))])
		if rest -= m; err != nil {
			return err
		}
	}
	return nil
}

// skipChunks reads an answer in chunks, whose beginning was read already.
func (c *conn) skipChunks(body []byte) error {
	source := io.MultiReader(bytes.NewReader(bytes.Clone(body)), c.Conn)
	if c.chunks == nil {
		c.chunks = bufio.NewReaderSize(source, answerBuffer)
	}
	for c.chunks.Reset(source); ; {
		line, err := c.chunks.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return fmt.Errorf("expected the size of a chunk, got %q", line)
		}
		if _, err := c.chunks.Discard(int(size) + len("\r\n")); err != nil || size == 0 {
			return err
		}
	}
}

// parseHead reads the status and the length of an answer's head.
func parseHead(head []byte) (status, length int, err error) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, 0, fmt.Errorf("expected an HTTP/1.1 answer, got %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, fmt.Errorf("expected a status, got %q", line)
	}
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			length, err = strconv.Atoi(string(value))
			return status, length, err
		case bytes.EqualFold(name, []byte("transfer-encoding")) && bytes.EqualFold(value, []byte("chunked")):
			return status, chunked, nil
		}
	}
	return 0, 0, fmt.Errorf("status %d without a length", status)
}

// once sends the target's request once, over a connection of its own.
func (t *target) once(ctx context.Context) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(longestAnswer)); err != nil {
		return err
	}
	return c.exchange(t.request)
}

// longestAnswer bounds how long a client waits.
const longestAnswer = 2 * time.Minute
