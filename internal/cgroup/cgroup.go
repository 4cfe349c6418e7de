// Package cgroup finds what memory a process may have, of its control group and of the
// machine, so that its budgets follow from that. It knows no budget.
package cgroup

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// Memory is what the process may have, in bytes: the least limit of its control group and
// those above it, else half of the machine's. root is the system's file system.
func Memory(root fs.FS) (int64, error) {
	machine, err := totalMemory(root)
	if err != nil {
		return 0, err
	}
	if group := groupMemory(root); group < machine {
		return group, nil
	}
	return machine / 2, nil
}

// Apply has Go's collector keep the process within what it may have, which it returns, in
// bytes: it works harder above nine tenths of it. GOMEMLIMIT counts where it is set. It
// returns 0 where what it may have is not known.
func Apply() int64 {
	bytes, err := Memory(os.DirFS("/"))
	if err != nil {
		return 0
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(bytes / 10 * 9)
	}
	return bytes
}

// totalMemory reads the machine's memory (proc(5), /proc/meminfo).
func totalMemory(root fs.FS) (int64, error) {
	data, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read the machine's memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			if kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64); err == nil {
				return kib << 10, nil
			}
		}
	}
	return 0, fmt.Errorf("read the machine's memory: /proc/meminfo has no MemTotal in kB")
}

// groupMemory is the least limit of the process's control group and those above
// it, version 2 and 1; the largest number is none. Inside a container the paths
// may be those of the host: what is not there has no limit, and the roots are
// always looked at.
func groupMemory(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	data, _ := fs.ReadFile(root, "proc/self/cgroup") // without one only the roots are looked at
	paths := map[string]string{"sys/fs/cgroup/memory.max": "/", "sys/fs/cgroup/memory/memory.limit_in_bytes": "/"}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		parts := strings.SplitN(lines.Text(), ":", 3) // id:controllers:path
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[1] == "":
			paths["sys/fs/cgroup/memory.max"] = parts[2]
		case strings.Contains(","+parts[1]+",", ",memory,"):
			paths["sys/fs/cgroup/memory/memory.limit_in_bytes"] = parts[2]
		}
	}
	for file, group := range paths {
		mount, name := path.Split(file)
		for at := path.Clean("/" + group); ; at = path.Dir(at) {
			text, err := fs.ReadFile(root, path.Join(mount, at, name))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil { // "max" is no limit
				limit = min(limit, n)
			}
			if at == "/" {
				break
			}
		}
	}
	return limit
}
