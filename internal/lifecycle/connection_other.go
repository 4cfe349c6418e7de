//go:build !linux

package lifecycle

import "syscall"

// gone reports that whoever has ended its side has left: other systems distinguish
// the two in ways of their own.
func gone(uintptr) bool { return true }

// send is not called, as nothing is held back.
func send(syscall.RawConn, byte) (sent bool, err error) { return false, nil }
