//go:build !linux

package publish

import "time"

// threadTime is wall time: only Linux's clock of a thread is read.
func threadTime() time.Duration { return wallTime() }
