//go:build unix && !linux

package process

import "syscall"

// attributes put a child in a process group of its own, so that Ctrl-C reaches
// only the platform. Here the lifeline alone ends it with its parent. (Tried on
// Linux only.)
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Memory is not known here without cgo.
func (*Process) Memory() (resident int64, ok bool) { return 0, false }
