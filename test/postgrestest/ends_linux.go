package postgrestest

import (
	"os/exec"
	"syscall"
)

// ends has a program end with the thread that starts it.
func ends(cmd *exec.Cmd) { cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT }
