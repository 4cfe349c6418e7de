package gateway

import (
	"io/fs"
	"os"

	"github.com/modelserveai/modelserve/internal/cgroup"
)

// LimitMemory finds what a gateway's process may have, in bytes, for Config.Memory, and
// has Go's collector keep to nine tenths of it. It is 0 where that is not known.
func LimitMemory() (bytes int64) {
	bytes = processMemory(os.DirFS("/"))
	cgroup.LimitHeap(bytes / 10 * 9)
	return bytes
}

// processMemory is the least limit of the process's control groups, else half of the
// machine's memory, which is not the gateway's alone. root is the system's file system.
func processMemory(root fs.FS) int64 {
	machine, err := cgroup.Machine(root)
	if err != nil {
		return 0
	}
	if limit := cgroup.Limit(root); limit < machine {
		return limit
	}
	return machine / 2
}
