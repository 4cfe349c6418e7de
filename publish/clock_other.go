//go:build !linux

package publish

import "time"

// threadTime is the time: the system tells a thread's own in other ways.
func threadTime() time.Duration { return wallTime() }
