package function

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/internal/env"
)

// budget is how the memory of a process is shared out, in bytes. Its parts, and an
// eighth for Go itself, the native library and connections, are what there is.
type budget struct {
	models int64 // versions in memory, and what runs compute
	calls  int64 // what requests hold; a tenant has half of it at most
	heap   int64 // that Go's collector keeps to; 0 where nothing else would be killed
	why    string

	maxBody, maxOutput, maxPixels int64 // the largest that fit, of what is configured
}

// share follows from what the process may have: by its control group, or by what the
// platform that started it sets, where the operator decides nothing else. root is the
// system's file system. On a machine without such a limit, which is not this
// process's alone, models may have half of it, and requests an eighth.
func (c *config) share(root fs.FS) (b budget, err error) {
	machine, err := totalMemory(root)
	if err != nil {
		return c.fixed(), err
	}
	limit := groupMemory(root)
	if n := int64(c.MemoryLimit); n > 0 {
		limit = min(limit, n)
	}
	if limit < machine {
		b = c.parts(limit, limit/8*7)
		b.heap = b.calls + limit/16
		b.why = fmt.Sprintf("the limit of %d bytes", limit)
	} else {
		b = c.parts(machine, machine/8*5)
		b.why = fmt.Sprintf("the machine's %d bytes", machine)
	}
	return c.fit(b), nil
}

// parts are those of most bytes: half of limit for models, and the rest for requests,
// unless either is configured.
func (c *config) parts(limit, most int64) (b budget) {
	b.models, b.calls = int64(c.Memory), int64(c.Inflight)
	least := limit / 8
	if b.models == 0 {
		b.models = limit / 2
		if b.calls > 0 {
			b.models = max(min(b.models, most-b.calls), least)
		}
	}
	if b.calls == 0 {
		b.calls = max(most-b.models, least)
	}
	return b
}

// fixed is the budget where nothing is known of the memory.
func (c *config) fixed() budget {
	const calls = 512 << 20
	b := budget{models: int64(c.Memory), calls: int64(c.Inflight)}
	if b.calls == 0 {
		b.calls = calls
	}
	return c.fit(b)
}

// fit has the largest body, answer and picture fit into what one tenant may hold: a body
// six times (serve), an answer as it is and as it is sent, and beside a body and its
// decoding a picture of 6 bytes a pixel, which JPEGs take.
func (c *config) fit(b budget) budget {
	const bodies, answers, pixel = 6, 2, 6
	share := b.calls / 2
	b.maxBody = min(int64(c.MaxBody), share/bodies)
	b.maxOutput = min(int64(c.MaxOutput), share/answers)
	b.maxPixels = min(c.MaxPixels, (share-2*b.maxBody)/pixel)
	return b
}

// log reports what follows from the memory, and what is less than was configured.
func (b *budget) log(c *config, logger *slog.Logger) {
	logger.Info("memory", "models", b.models, "requests", b.calls, "from", b.why)
	for _, bound := range []struct {
		variable   string
		asked, has int64
	}{
		{"MODELSERVE_MAX_BODY", int64(c.MaxBody), b.maxBody},
		{"MODELSERVE_MAX_OUTPUT", int64(c.MaxOutput), b.maxOutput},
		{"MODELSERVE_MAX_PIXELS", c.MaxPixels, b.maxPixels},
	} {
		if bound.has < bound.asked {
			logger.Info("a bound follows from the memory, of which a tenant's requests have at most half", "variable", bound.variable, "configured", bound.asked, "in_force", bound.has)
		}
	}
}

// limitHeap has Go's collector keep to the budget, unless GOMEMLIMIT says otherwise.
func (b *budget) limitHeap() {
	if b.heap > 0 && env.Environ()["GOMEMLIMIT"] == "" {
		debug.SetMemoryLimit(b.heap)
	}
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
