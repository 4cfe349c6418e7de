package cgroup_test

import (
	"math"
	"testing"
	"testing/fstest"

	"github.com/modelserveai/modelserve/internal/cgroup"
)

// TestLimit holds that the least of all limits counts, wherever it is found.
func TestLimit(t *testing.T) {
	t.Parallel()
	const limit, none = 4 << 30, math.MaxInt64
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control group":         {nil, none},
		"version 2, own limit":     {map[string]string{"proc/self/cgroup": "0::/pod/c\n", "sys/fs/cgroup/pod/c/memory.max": "4294967296\n"}, limit},
		"version 2, the parent's":  {map[string]string{"proc/self/cgroup": "0::/pod/c\n", "sys/fs/cgroup/pod/c/memory.max": "max\n", "sys/fs/cgroup/pod/memory.max": "4294967296\n"}, limit},
		"version 2, both":          {map[string]string{"proc/self/cgroup": "0::/pod/c\n", "sys/fs/cgroup/pod/c/memory.max": "8589934592\n", "sys/fs/cgroup/pod/memory.max": "4294967296\n"}, limit},
		"version 2, in its own":    {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "4294967296\n"}, limit},
		"version 2, the host path": {map[string]string{"proc/self/cgroup": "0::/../host/c\n", "sys/fs/cgroup/memory.max": "4294967296\n"}, limit},
		"version 2, no limit":      {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, none},
		"version 1": {map[string]string{
			"proc/self/cgroup": "9:cpu,cpuacct:/x\n5:memory:/docker/1\n", "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "4294967296\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, limit},
		"version 1, no limit": {map[string]string{
			"proc/self/cgroup": "5:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 9223372036854771712},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := fstest.MapFS{}
			for path, data := range tc.files {
				root[path] = &fstest.MapFile{Data: []byte(data)}
			}
			if got := cgroup.Limit(root); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// TestMachine holds what is read of the machine's memory.
func TestMachine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		meminfo string
		want    int64 // 0 for an error
	}{
		"16 GiB":         {"MemTotal:       16777216 kB\nMemFree:         1000 kB\n", 16 << 30},
		"without total":  {"MemFree: 1 kB\n", 0},
		"in other units": {"MemTotal: 16 GB\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := cgroup.Machine(fstest.MapFS{"proc/meminfo": {Data: []byte(tc.meminfo)}})
			if got != tc.want || (err == nil) != (tc.want > 0) {
				t.Errorf("got %d, %v; want %d", got, err, tc.want)
			}
		})
	}
	if _, err := cgroup.Machine(fstest.MapFS{}); err == nil {
		t.Error("a machine without /proc has some")
	}
}
