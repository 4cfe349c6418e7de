//go:build !linux

package postgrestest

import "os/exec"

// ends does nothing: only Linux ends a program with the one that started it.
func ends(*exec.Cmd) {}
