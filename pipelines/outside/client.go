package outside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"
)

// ErrTooLarge is an answer of more bytes than are read.
var ErrTooLarge = errors.New("the answer is too large")

const (
	dialTimeout    = 10 * time.Second
	idleTimeout    = 30 * time.Second
	maxHeaderBytes = 64 << 10
	idlePerHost    = 4
	idleOverall    = 64
	connsPerHost   = 64
)

// Config bounds what calls may cost.
type Config struct {
	Allow     []netip.Prefix // networks that may be called beside the public internet
	MaxAnswer int64          // bytes of an answer's body
	Memory    int64          // bytes that answers take at once, of which one tenant has at most half; eight of the largest at least
	Timeout   time.Duration  // of a call whose context has no earlier deadline
}

// Client calls URLs of others. It follows no redirect, uses no proxy and sends no
// credential of its own. It is safe for concurrent use.
type Client struct {
	http   *http.Client
	most   int64
	memory *memory.Account
}

// perByte is how many bytes of memory one of an answer takes: it, and its compact form.
const perByte = 2

// least is how many bytes are made room for, where it is not known how many come.
const least = 64 << 10

// memoryPatience is how long an answer waits for memory that others have.
const memoryPatience = time.Minute

// New makes a Client; Close ends its connections.
func New(cfg Config) *Client {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: NewGuard(cfg.Allow).Control}
	account := memory.New(max(cfg.Memory, 8*cfg.MaxAnswer), memoryPatience)
	return &Client{most: cfg.MaxAnswer, memory: account, http: &http.Client{
		Timeout: cfg.Timeout,
		Transport: &http.Transport{
			Proxy:                  nil, // it would dial in the Guard's place
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    dialTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			IdleConnTimeout:        idleTimeout,
			MaxIdleConns:           idleOverall,
			MaxIdleConnsPerHost:    idlePerHost,
			MaxConnsPerHost:        connsPerHost,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Answer is what a URL answered, with any status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte

	held *memory.Call
}

// Close returns the memory that the answer is charged for. Closing twice is safe.
func (a *Answer) Close() {
	if a.held != nil {
		a.held.End()
	}
}

// Post sends a body once, for a tenant whom the answer is charged to until it is closed.
// An error is ErrRefused, ErrTooLarge, problem.Overloaded where others have the memory, or
// of the connection; none of them has the URL in it, which may hold a secret.
func (c *Client) Post(ctx context.Context, tenant, to string, header http.Header, body []byte) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: the URL does not parse", ErrRefused)
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.Host == "" {
		return nil, fmt.Errorf("%w: expected http:// or https://, and a host", ErrRefused)
	}
	req.Header = header.Clone()
	res, err := c.http.Do(req)
	if err != nil {
		return nil, unnamed(err)
	}
	defer res.Body.Close()
	held := c.memory.Open(tenant)
	answer, err := c.read(ctx, held, res)
	if err != nil {
		held.End()
		return nil, err
	}
	return &Answer{Status: res.StatusCode, Header: res.Header, Body: answer, held: held}, nil
}

// read reads an answer, which is charged before it is allocated.
func (c *Client) read(ctx context.Context, held *memory.Call, res *http.Response) ([]byte, error) {
	whole := res.ContentLength
	if whole < 0 {
		whole = c.most
	}
	if whole > c.most {
		return nil, fmt.Errorf("%w: expected at most %d bytes", ErrTooLarge, c.most)
	}
	size := min(least, whole) // at first: what a URL only announces is charged to nobody
	if err := held.Take(ctx, perByte*size); err != nil {
		return nil, err //nolint:wrapcheck // a problem
	}
	body := make([]byte, 0, size+1) // one more, to see that it has ended
	for {
		if len(body) == cap(body) {
			more := min(size, whole-size) // more than 0: no more than whole comes, or it was refused
			if err := held.Take(ctx, perByte*more); err != nil {
				return nil, err //nolint:wrapcheck // a problem
			}
			size += more
			body = append(make([]byte, 0, size+1), body...)
		}
		n, err := res.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > c.most:
			return nil, fmt.Errorf("%w: expected at most %d bytes", ErrTooLarge, c.most)
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			return nil, fmt.Errorf("read the answer: %w", unnamed(err))
		}
	}
}

// Close ends the connections that nobody uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// unnamed is an error without the URL that it is about.
func unnamed(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}
