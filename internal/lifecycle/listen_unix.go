//go:build unix

package lifecycle

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// backlog is how many connections may wait to be accepted; systems have a bound
// of their own, which net.Listen takes.
const backlog = 4096

// Inherited listens on the socket that a descriptor, which this process has
// inherited, is of: one that is bound. It takes the descriptor.
func Inherited(fd int) (net.Listener, error) {
	file := os.NewFile(uintptr(fd), "listener")
	if file == nil {
		return nil, fmt.Errorf("%d is no file descriptor", fd)
	}
	defer file.Close()
	syscall.CloseOnExec(fd)
	if err := syscall.Listen(fd, backlog); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	listener, err := net.FileListener(file) // has a descriptor of its own
	if err != nil {
		return nil, fmt.Errorf("take the inherited socket: %w", err)
	}
	return listener, nil
}
