package publish

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the processor time of this thread. A run of one thread takes as
// long where it has a processor to itself, and here other programs may have
// taken it meanwhile.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return wallTime()
	}
	return time.Duration(t.Nano())
}
