package cgroup

import (
	"testing"
	"testing/fstest"
)

// TestMemory holds that the least of all limits counts.
func TestMemory(t *testing.T) {
	t.Parallel()
	const meminfo = "MemTotal:       16777216 kB\nMemFree:         1000 kB\n" // 16 GiB
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control group":         {nil, 8 << 30},
		"version 2, own limit":     {map[string]string{"proc/self/cgroup": "0::/pod/c\n", "sys/fs/cgroup/pod/c/memory.max": "4294967296\n"}, 4 << 30},
		"version 2, the parent's":  {map[string]string{"proc/self/cgroup": "0::/pod/c\n", "sys/fs/cgroup/pod/c/memory.max": "max\n", "sys/fs/cgroup/pod/memory.max": "4294967296\n"}, 4 << 30},
		"version 2, in its own":    {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "4294967296\n"}, 4 << 30},
		"version 2, the host path": {map[string]string{"proc/self/cgroup": "0::/../host/c\n", "sys/fs/cgroup/memory.max": "4294967296\n"}, 4 << 30},
		"version 2, no limit":      {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 8 << 30},
		"version 1": {map[string]string{
			"proc/self/cgroup": "9:cpu,cpuacct:/x\n5:memory:/docker/1\n", "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "4294967296\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 4 << 30},
		"version 1, no limit": {map[string]string{
			"proc/self/cgroup": "5:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 8 << 30},
	} {
		root := fstest.MapFS{"proc/meminfo": {Data: []byte(meminfo)}}
		for path, data := range tc.files {
			root[path] = &fstest.MapFile{Data: []byte(data)}
		}
		if got, err := Memory(root); err != nil || got != tc.want {
			t.Errorf("%s: got %d, %v; want %d", name, got, err, tc.want)
		}
	}
	if _, err := Memory(fstest.MapFS{"proc/meminfo": {Data: []byte("MemFree: 1 kB\n")}}); err == nil {
		t.Error("a machine of unknown memory has some")
	}
}
