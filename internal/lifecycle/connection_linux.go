package lifecycle

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// gone reports whether a socket has failed or was reset: the end of the other's
// side alone is no such thing.
func gone(fd uintptr) bool {
	state := []unix.PollFd{{Fd: int32(fd)}} // errors and hang-ups are always reported
	n, err := unix.Poll(state, 0)
	return err == nil && n > 0 && state[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
}

// send sends one byte, unless it would have to wait.
func send(raw syscall.RawConn, b byte) (sent bool, err error) {
	var sending error
	err = raw.Write(func(fd uintptr) bool {
		sending = unix.Send(int(fd), []byte{b}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return true
	})
	if err == nil {
		err = sending
	}
	if errors.Is(err, unix.EAGAIN) {
		return false, nil
	}
	return err == nil, err
}
