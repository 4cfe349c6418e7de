package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/internal/freeport"
	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// place is where an instance listens. Any user of this machine may listen on a
// port that is free, and would then get the instance's requests. So there are two:
//
//   - A function of ours listens on a socket that it is handed. The platform has
//     another on the same port, by which nobody else gets it while the instance
//     lives, nor in the moment after its end.
//   - One of others opens PORT itself. Whose socket that is, is asked before it
//     gets anything.
type place struct {
	ports    *ports
	handed   int      // the port of the socket that is handed over
	reserved *os.File // the platform's socket there
	own      int      // PORT

	at atomic.Int64 // the one where it listens; 0 as long as that is not known
}

// host is where instances listen.
const host = "127.0.0.1"

func addressOf(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func (p *place) address() string { return addressOf(int(p.at.Load())) }

// release gives the ports back; once.
func (p *place) release() {
	_ = p.reserved.Close() // nothing was written to it
	p.ports.release(p.handed, p.own)
}

// errNotYet is of an instance that does not listen.
var errNotYet = errors.New("nothing listens on its port")

// find returns the port where the instance listens.
func (p *place) find(ctx context.Context, timeout time.Duration) (int, error) {
	if int(p.at.Load()) == p.handed {
		return p.handed, nil
	}
	if c, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", addressOf(p.handed)); err == nil {
		_ = c.Close()
		p.at.Store(int64(p.handed))
		return p.handed, nil
	}
	if err := isOurs(p.own); err != nil {
		return 0, err
	}
	p.at.Store(int64(p.own))
	return p.own, nil
}

// dialTimeout bounds a connection to an instance.
const dialTimeout = 5 * time.Second

// dial connects to the instance, and to nobody else.
func (p *place) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err //nolint:wrapcheck // its kind is looked at
	}
	lifecycle.BoundUnread(c)
	if address == addressOf(p.handed) {
		return c, nil
	}
	if err := isOurs(p.own); err != nil {
		_ = c.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Addr: c.RemoteAddr(), Err: err}
	}
	return c, nil
}

// ports gives out places whose ports are free, and that no other instance is
// about to listen on.
type ports struct {
	mu    sync.Mutex
	taken map[int]bool
}

// take returns a place, and the socket to hand over.
func (p *ports) take(ctx context.Context) (at *place, socket *os.File, err error) {
	at = &place{ports: p}
	if at.own, err = p.free(func() (int, error) { return freeport.Find(ctx) }); err != nil {
		return nil, nil, err
	}
	at.handed, err = p.free(func() (port int, err error) {
		if at.reserved != nil {
			_ = at.reserved.Close() // another instance's port
		}
		at.reserved, port, err = bound(0)
		return port, err
	})
	if err == nil {
		socket, _, err = bound(at.handed)
	}
	if err != nil {
		if at.reserved != nil {
			_ = at.reserved.Close()
		}
		p.release(at.handed, at.own)
		return nil, nil, fmt.Errorf("make a socket: %w", err)
	}
	return at, socket, nil
}

// free takes the first port that find finds and no other instance has.
func (p *ports) free(find func() (int, error)) (int, error) {
	for range 100 {
		port, err := find()
		if err != nil {
			return 0, err
		}
		p.mu.Lock()
		free := !p.taken[port]
		p.taken[port] = true
		p.mu.Unlock()
		if free {
			return port, nil
		}
	}
	return 0, errors.New("none found in 100 tries")
}

func (p *ports) release(ports ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, port := range ports {
		delete(p.taken, port)
	}
}

// bound is a socket that is bound to a port, or to a free one for 0, and does not
// listen. Others of this user's may be bound to the same, and nobody else's.
func bound(port int) (*os.File, int, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, 0, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	to := &unix.SockaddrInet4{Port: port}
	copy(to.Addr[:], net.ParseIP(host).To4())
	if err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)); err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, to))
	}
	if err == nil && port == 0 {
		var name unix.Sockaddr
		name, err = unix.Getsockname(fd)
		if address, ok := name.(*unix.SockaddrInet4); ok {
			port = address.Port
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, 0, err
	}
	return file, port, nil
}
