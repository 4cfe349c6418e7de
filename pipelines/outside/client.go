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
	Timeout   time.Duration  // of a call whose context has no earlier deadline
}

// Client calls URLs of others. It follows no redirect, uses no proxy and sends no
// credential of its own. It is safe for concurrent use.
type Client struct {
	http *http.Client
	most int64
}

// New makes a Client; Close ends its connections.
func New(cfg Config) *Client {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: NewGuard(cfg.Allow).Control}
	return &Client{most: cfg.MaxAnswer, http: &http.Client{
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
}

// Post sends a body once. An error is ErrRefused, ErrTooLarge, or of the connection;
// none of them has the URL in it, which may hold a secret.
func (c *Client) Post(ctx context.Context, to string, header http.Header, body []byte) (*Answer, error) {
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
	answer, err := io.ReadAll(io.LimitReader(res.Body, c.most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer: %w", unnamed(err))
	case int64(len(answer)) > c.most:
		return nil, fmt.Errorf("%w: expected at most %d bytes", ErrTooLarge, c.most)
	}
	return &Answer{Status: res.StatusCode, Header: res.Header, Body: answer}, nil
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
