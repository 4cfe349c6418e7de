package function

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// modelMemory is the default of what models may take: three quarters of the
// memory that the process's control group may have, else half of the machine's.
// root is the system's file system. why is what it follows from.
func modelMemory(root fs.FS) (limit int64, why string, err error) {
	machine, err := totalMemory(root)
	if err != nil {
		return 0, "", err
	}
	if group := groupMemory(root); group < machine {
		return group / 4 * 3, fmt.Sprintf("75%% of the control group's %d bytes", group), nil
	}
	return machine / 2, fmt.Sprintf("50%% of the machine's %d bytes", machine), nil
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
