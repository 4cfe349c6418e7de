// Package cgroup finds what memory a process may have, by its control groups and by the
// machine, and has Go's collector keep to a part of it. What the parts are is its
// callers' to decide.
package cgroup

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/internal/env"
)

// LimitHeap has Go's collector keep to so many bytes, unless GOMEMLIMIT says otherwise;
// 0 leaves it as it is. It
// works harder the nearer it comes, and exceeds them rather than fail.
func LimitHeap(bytes int64) {
	if bytes > 0 && env.Environ()["GOMEMLIMIT"] == "" {
		debug.SetMemoryLimit(bytes)
	}
}

// Machine is the machine's memory in bytes (proc(5), /proc/meminfo). root is the system's
// file system.
func Machine(root fs.FS) (int64, error) {
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

// Limit is the least limit of the process's control group and those above it, version 2
// and 1, in bytes; the largest number is none. Inside a container the paths may be those of
// the host: what is not there has no limit, and the roots are always looked at.
func Limit(root fs.FS) int64 {
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
