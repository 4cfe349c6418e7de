package lifecycle

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// boundUnsent has a socket take no more to send than unsent bytes ahead of what it sends.
// A kernel that cannot (Linux before 3.12) keeps bounds of its own.
func boundUnsent(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
	})
}
