package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// listeners are the sockets of the gateway: on an IPv4 loopback address the
// same port of ::1 too, since "localhost" may mean either.
type listeners struct {
	all  []net.Listener
	host string
	port int
}

func listen(ctx context.Context, address string, data dir) (*listeners, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: expected HOST:PORT: %w", address, err)
	}
	l := &listeners{host: host}
	first, err := listenOne(ctx, host, port, data)
	if err != nil {
		return nil, err
	}
	l.all = append(l.all, first)
	if tcp, ok := first.Addr().(*net.TCPAddr); ok {
		l.port = tcp.Port
	}
	if host != "127.0.0.1" && host != "localhost" {
		return l, nil
	}
	second, err := listenOne(ctx, "::1", strconv.Itoa(l.port), data)
	var taken *takenError
	switch {
	case errors.As(err, &taken):
		l.close()
		return nil, err
	case err == nil:
		l.all = append(l.all, second)
	} // else this machine has no IPv6 loopback
	return l, nil
}

// takenError names who has the port.
type takenError struct {
	address, holder string
}

// Error is for the person at the terminal.
func (e *takenError) Error() string {
	return fmt.Sprintf("%s is taken by %s; stop it, or give this platform another port with --address", e.address, e.holder)
}

func listenOne(ctx context.Context, host, port string, data dir) (net.Listener, error) {
	address := net.JoinHostPort(host, port)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &takenError{address, holder(address, data)}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// holder names who listens on address: this folder's platform, if it runs there.
func holder(address string, data dir) string {
	_, port, _ := net.SplitHostPort(address) // it was listened on
	if s, ok := data.readState(); ok && strings.HasSuffix(s.Server, ":"+port) && syscall.Kill(s.PID, 0) == nil {
		return fmt.Sprintf("the platform that runs already: process %d, since %s", s.PID, s.StartedAt.Local().Format("15:04:05"))
	}
	return "another program"
}

func (l *listeners) url() string {
	host := l.host
	if host == "127.0.0.1" || host == "" {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(l.port))
}

// function is a function's own URL.
func (l *listeners) function(name string) string {
	return fmt.Sprintf("http://%s.default.localhost:%d/", name, l.port)
}

func (l *listeners) close() {
	for _, one := range l.all {
		_ = one.Close() // the server has closed it already when all went well
	}
}
