package gateway

import (
	"testing"
	"testing/fstest"
)

// TestProcessMemory holds what a gateway may have, by its control group and its machine.
func TestProcessMemory(t *testing.T) {
	t.Parallel()
	const group, machine = "sys/fs/cgroup/memory.max", "MemTotal:       16777216 kB\n" // 16 GiB
	for name, tc := range map[string]struct {
		group, machine string
		want           int64
	}{
		"a limit":               {"4294967296\n", machine, 4 << 30},
		"none":                  {"max\n", machine, 8 << 30},
		"more than there is":    {"68719476736\n", machine, 8 << 30},
		"an unknown machine":    {"4294967296\n", "MemFree: 1 kB\n", 0},
		"a limit of all of it":  {"17179869184\n", machine, 8 << 30},
		"a limit, but a little": {"17179869183\n", machine, 16<<30 - 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := fstest.MapFS{"proc/meminfo": {Data: []byte(tc.machine)}, group: {Data: []byte(tc.group)}}
			if got := processMemory(root); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
