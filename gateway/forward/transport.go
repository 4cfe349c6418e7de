package forward

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/internal/media"
)

// Transport reaches functions by their names in a cluster: gRPC over HTTP/2
// without TLS (h2c), all else over HTTP/1.1, whose connections need no window
// updates and do not make one request wait for another.
type Transport struct {
	http1, http2 *http.Transport
}

var _ http.RoundTripper = (*Transport)(nil)

// NewTransport makes a Transport. It gives up dialling after a few seconds;
// the answer may take as long as the request's context allows.
func NewTransport() *Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			lifecycle.BoundUnread(c)
		}
		return c, err //nolint:wrapcheck // its kind is looked at
	}
	t := &Transport{
		http1: &http.Transport{
			DialContext:            dial,
			MaxIdleConns:           1000,
			MaxIdleConnsPerHost:    200,
			IdleConnTimeout:        60 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // bodies pass as they are
			ReadBufferSize:         32 << 10,
			WriteBufferSize:        32 << 10,
		},
		http2: &http.Transport{
			DialContext:            dial,
			IdleConnTimeout:        60 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
			Protocols:              new(http.Protocols),
			HTTP2: &http.HTTP2Config{
				MaxReceiveBufferPerStream: lifecycle.DefaultLimits().StreamBuffer, // of answers that their clients do not read
				SendPingTimeout:           30 * time.Second, PingTimeout: 15 * time.Second,
			},
		},
	}
	t.http2.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if media.IsGRPC(r.Header) {
		return t.http2.RoundTrip(r)
	}
	return t.http1.RoundTrip(r)
}

// CloseIdleConnections closes what no request uses.
func (t *Transport) CloseIdleConnections() {
	t.http1.CloseIdleConnections()
	t.http2.CloseIdleConnections()
}
