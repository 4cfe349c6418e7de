package lifecycle

import "net"

// How slowly a client reads is seen by what is taken from us, and so only as finely as
// the systems between pass it on. Left to itself Linux queues 2.5 MiB for a connection,
// and takes more once a third of that is sent: a client of 20 KiB/s kept the next piece
// waiting for 40 s. One that is to be read lets its sender send again once a sixteenth of
// its buffer is free, which grows up to 32 MiB while it is read fast: 2 MiB, 100 s.
const (
	// unsent is what is queued of an answer before it is sent, in bytes: twice at most, and
	// the next piece is taken once half of it is left. It is as fast as without on
	// loopback, for half of the processor's time.
	unsent = 64 << 10

	// unread is what may have come of an answer before it is read, in bytes.
	unread = 256 << 10
)

// BoundUnread bounds what a connection that we opened has read ahead, for whoever passes
// answers on: while their client reads slowly, whoever sends is to see it.
func BoundUnread(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(unread) // fails only on a connection that is closed
	}
}
