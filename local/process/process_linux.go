package process

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// attributes put a child in a process group of its own, so that Ctrl-C reaches
// only the platform, and have the kernel kill it with the thread that started
// it. Go checks after the fork that the parent is still there.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Memory is the child's resident memory in bytes; ok is false when it is not
// known.
func (p *Process) Memory() (resident int64, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/statm")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}
