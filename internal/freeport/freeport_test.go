package freeport_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/modelserveai/modelserve/internal/freeport"
)

// TestAPortIsNoConnections holds that it is none that the kernel gives to connections,
// and that nobody listens there.
func TestAPortIsNoConnections(t *testing.T) {
	t.Parallel()
	first := freeport.FirstGiven()
	for range 50 {
		found, err := freeport.Address(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, text, err := net.SplitHostPort(found)
		if err != nil {
			t.Fatal(err)
		}
		if port, err := strconv.Atoi(text); err != nil || first > 2*freeport.Lowest && (port < freeport.Lowest || port >= first) {
			t.Errorf("port %s, want %d to %d: %v", text, freeport.Lowest, first-1, err)
		}
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", found)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
