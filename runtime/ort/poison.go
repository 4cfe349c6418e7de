package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"os"
	"strings"
)

// PoisonVariable names the environment variable that has memory filled with a
// pattern before it is written to, in place of zeros, so that a test sees what
// was not: "buffers" is the memory for outputs, "all" that of operators, too.
// Runs are slower by it.
const PoisonVariable = "MODELSERVE_POISON"

// Poison is the byte of that pattern: a large number of every type, and no BOOL.
const Poison = C.MS_POISON

// useMemory has sessions take their memory from pools of ours, poisoned where
// the variable asks for it.
func (l *Library) useMemory() error {
	var all C.int
	switch how := os.Getenv(PoisonVariable); how { //nolint:forbidigo // as FindLibrary reads its own: every test and its children
	case "":
	case "buffers":
		l.buffers.poison = Poison
	case "all":
		l.buffers.poison, all = Poison, 1
	default:
		return fmt.Errorf("%s: expected buffers or all, got %.100q", PoisonVariable, how)
	}
	err := l.check(C.ms_env_memory(l.api, l.env, all))
	if err != nil && !strings.Contains(err.Error(), "already been registered") { // by another Open of the process
		return fmt.Errorf("memory for sessions: %w", err)
	}
	return nil
}
