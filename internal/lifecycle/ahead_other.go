//go:build !linux

package lifecycle

import "syscall"

// boundUnsent leaves other systems the bounds that they have.
func boundUnsent(syscall.RawConn) {}
