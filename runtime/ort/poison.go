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
// pattern before it is written to, so that a test sees what was not: "buffers"
// is the memory for outputs, "arena" ONNX Runtime's own, too. Runs are slower
// by it, and Memory knows no arena.
const PoisonVariable = "MODELSERVE_POISON"

// Poison is the byte of that pattern: a large number of every type, and no BOOL.
const Poison = C.MS_POISON

// usePoison readies what the variable asks for.
func (l *Library) usePoison() error {
	switch how := os.Getenv(PoisonVariable); how { //nolint:forbidigo // as FindLibrary reads its own: every test and its children
	case "":
		return nil
	case "buffers":
	case "arena":
		l.poisoned = true
		err := l.check(C.ms_env_poison(l.api, l.env))
		if err != nil && !strings.Contains(err.Error(), "already been registered") { // by another Open of the process
			return fmt.Errorf("%s: %w", PoisonVariable, err)
		}
	default:
		return fmt.Errorf("%s: expected buffers or arena, got %.100q", PoisonVariable, how)
	}
	l.buffers.poison = Poison
	return nil
}
