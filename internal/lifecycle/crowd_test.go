package lifecycle_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// client is a connection on which it is asked again and again.
type client struct {
	net.Conn
	in *bufio.Reader
}

// enter opens a connection from a loopback address.
func enter(t *testing.T, from, to string) *client {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
	c, err := d.DialContext(t.Context(), "tcp", to)
	if errors.Is(err, syscall.ECONNRESET) { // it was closed as soon as that
		return &client{}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{c, bufio.NewReader(c)}
}

// ask is the status of an answer, for an owner; 0 where the connection is closed.
func (c *client) ask(t *testing.T, owner string) int {
	t.Helper()
	if c.Conn == nil {
		return 0
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Owner: "+owner+"\r\n\r\n"); err != nil {
		return 0
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}

// TestConnectionsAreBounded holds how many connections there may be of an address and of
// an owner, who leave some for others, and that those that end make room.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	var refused atomic.Int64
	limits := lifecycle.DefaultLimits()
	limits.Crowd = lifecycle.Crowd{
		Bytes: 16 * lifecycle.ConnectionBytes, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24")}, Refused: func() { refused.Add(1) },
	}
	address := serving(t, limits, func(w http.ResponseWriter, r *http.Request) {
		if !lifecycle.Own(r.Context(), r.Header.Get("X-Owner")) {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	var open []*client
	fill := func(from, owner string, want int) {
		t.Helper()
		for i := range want {
			c := enter(t, from, address)
			if got := c.ask(t, owner); got != http.StatusOK {
				t.Fatalf("connection %d of %s, of %s: %d", i, from, owner, got)
			}
			open = append(open, c)
		}
	}
	fill("127.0.0.1", "many", 8)
	if got := enter(t, "127.0.0.1", address).ask(t, "other"); got != 0 {
		t.Errorf("an address has more than half: %d", got)
	}
	one := enter(t, "127.0.0.2", address)
	if got := one.ask(t, "many"); got != http.StatusTooManyRequests {
		t.Errorf("an owner has more than half: %d", got)
	}
	if got := one.ask(t, "other"); got != http.StatusOK {
		t.Errorf("another by the same connection: %d", got)
	}
	if got := one.ask(t, "many"); got != http.StatusOK {
		t.Errorf("one that has an owner is closed to another's call: %d", got)
	}
	fill("127.0.0.2", "other", 3)
	if got := enter(t, "127.0.0.2", address).ask(t, "other"); got != 0 {
		t.Errorf("another address has more than half of what is left: %d", got)
	}
	fill("127.0.9.1", "many", 4) // a proxy's, which may be anybody's
	if got := enter(t, "127.0.9.1", address).ask(t, "other"); got != 0 || refused.Load() != 3 {
		t.Errorf("there is one more than all: %d; %d were refused", got, refused.Load())
	}
	for _, c := range open {
		c.Close()
	}
	for enter(t, "127.0.0.1", address).ask(t, "many") != http.StatusOK {
		runtime.Gosched() // the server notices in its own time
	}
}
