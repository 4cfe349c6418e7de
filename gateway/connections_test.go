package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// TestATenantLeavesConnectionsForOthers holds that a tenant who has half of all
// connections, from whatever addresses, is refused on one more, which another tenant may
// use.
func TestATenantLeavesConnectionsForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	limits := lifecycle.DefaultLimits()
	const all = 6
	limits.Crowd.Bytes = all * lifecycle.ConnectionBytes
	server := httptest.NewUnstartedServer(nil)
	server.Config = lifecycle.NewServer(w.handler, limits)
	server.Listener = lifecycle.Listener(server.Listener)
	server.Start()
	t.Cleanup(server.Close)
	ask := func(from, key string) (status int, last bool) {
		t.Helper()
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		conn, err := d.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, "GET /v2 HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: "+key+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode, res.Close
	}
	many, few := w.keyOf("many", auth.ModelsRead), w.keyOf("few", auth.ModelsRead)
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		if status, _ := ask(from, many); status != http.StatusOK {
			t.Fatalf("from %s: %d", from, status)
		}
	}
	if status, last := ask("127.0.0.4", many); status != http.StatusTooManyRequests || !last {
		t.Errorf("one more: %d, and the connection ends with it: %v", status, last)
	}
	if status, _ := ask("127.0.0.5", few); status != http.StatusOK {
		t.Errorf("another tenant: %d", status)
	}
}
