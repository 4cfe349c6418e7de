//go:build unix

package lifecycle_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// boundSocket is a socket on a free port that does not listen, and its address.
func boundSocket(t *testing.T) (fd int, address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at, ok := name.(*unix.SockaddrInet4)
	if !ok {
		t.Fatalf("bound to a %T", name)
	}
	return fd, (&net.TCPAddr{IP: at.Addr[:], Port: at.Port}).String()
}

// TestAnInheritedSocketIsServed holds that a socket is closed to clients until
// it is taken over, answers then, and is gone with its listener.
func TestAnInheritedSocketIsServed(t *testing.T) {
	t.Parallel()
	fd, address := boundSocket(t)
	if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address); err == nil {
		c.Close()
		t.Fatal("it takes connections before anybody listens")
	}
	l, err := lifecycle.Inherited(fd)
	if err != nil {
		t.Fatal(err)
	}
	if l.Addr().String() != address {
		t.Errorf("it listens on %v, want %s", l.Addr(), address)
	}
	served := make(chan error, 1)
	server := lifecycle.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }), lifecycle.DefaultLimits())
	go func() { served <- server.Serve(lifecycle.Listener(l)) }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || string(got) != "here" {
		t.Errorf("%q, %v", got, err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	<-served
	if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address); err == nil {
		c.Close()
		t.Error("it takes connections after its end")
	}
}

// TestWhatIsNoSocketIsRefused holds that a wrong descriptor is an error.
func TestWhatIsNoSocketIsRefused(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	fd, err := unix.Dup(int(r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	for name, fd := range map[string]int{"a pipe": fd, "nothing": 1 << 20, "below any": -1} {
		if _, err := lifecycle.Inherited(fd); err == nil {
			t.Errorf("%s is listened on", name)
		}
	}
}
