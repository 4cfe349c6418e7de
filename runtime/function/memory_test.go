package function

import (
	"testing"
	"testing/fstest"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/model"
)

const meminfo = "MemTotal:       16777216 kB\nMemFree:         1000 kB\n" // 16 GiB

// TestBudgetFollowsTheLimit holds that the least limit of a process' memory counts.
func TestBudgetFollowsTheLimit(t *testing.T) {
	t.Parallel()
	const (
		ofMachine = 8 << 30
		ofFour    = 2 << 30
	)
	for name, tc := range map[string]struct {
		group    string
		platform env.Size
		models   int64
	}{
		"none":                     {"max\n", 0, ofMachine},
		"its control group's":      {"4294967296\n", 0, ofFour},
		"the platform's":           {"max\n", 4 << 30, ofFour},
		"the platform's is larger": {"max\n", 64 << 30, ofMachine},
		"the less of two":          {"8589934592\n", 4 << 30, ofFour},
		"the less of two, again":   {"4294967296\n", 8 << 30, ofFour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := fstest.MapFS{"proc/meminfo": {Data: []byte(meminfo)}, "sys/fs/cgroup/memory.max": {Data: []byte(tc.group)}}
			got, err := (&config{MemoryLimit: tc.platform}).share(root)
			if err != nil || got.models != tc.models || got.why == "" {
				t.Errorf("got %+v, %v; want %d", got, err, tc.models)
			}
		})
	}
	got, err := (&config{}).share(fstest.MapFS{"proc/meminfo": {Data: []byte("MemFree: 1 kB\n")}})
	if err == nil || got.models != 0 || got.calls != 512<<20 {
		t.Errorf("of a machine of unknown memory: %+v, %v", got, err)
	}
}

// TestBudgetsPartsAreWhatThereIs holds that models, requests and the rest are no more
// than the process may have, whatever it may have and one of them is configured to,
// and that the largest body, answer and picture fit into a tenant's half.
func TestBudgetsPartsAreWhatThereIs(t *testing.T) {
	t.Parallel()
	const mib, gib = 1 << 20, 1 << 30
	for name, tc := range map[string]struct {
		limit, models, calls env.Size
		fixed                bool // models
		want                 budget
	}{
		"a pool":               {4 * gib, 0, 0, false, budget{models: 2 * gib, calls: 1536 * mib, maxBody: 32 * mib, maxOutput: 256 * mib, maxPixels: 64_000_000}},
		"a pool of 2 GiB":      {2 * gib, 0, 0, false, budget{models: gib, calls: 768 * mib, maxBody: 32 * mib, maxOutput: 384 * mib / 9 * 4, maxPixels: 320 * mib / 6}},
		"a function of images": {2 * gib, 0, 0, true, budget{models: 896 * mib, calls: 896 * mib, maxBody: 32 * mib, maxOutput: 448 * mib / 9 * 4, maxPixels: 64_000_000}},
		"a small function":     {256 * mib, 0, 0, false, budget{models: 128 * mib, calls: 96 * mib, maxBody: 8 * mib, maxOutput: 48 * mib / 9 * 4, maxPixels: 32 * mib / 6}},
		"less for models":      {4 * gib, gib, 0, false, budget{models: gib, calls: 2560 * mib, maxBody: 32 * mib, maxOutput: 256 * mib, maxPixels: 64_000_000}},
		"more for models":      {4 * gib, 3 * gib, 0, false, budget{models: 3 * gib, calls: 512 * mib, maxBody: 32 * mib, maxOutput: 256 * mib / 9 * 4, maxPixels: 192 * mib / 6}},
		"more for requests":    {4 * gib, 0, 2 * gib, false, budget{models: 1536 * mib, calls: 2 * gib, maxBody: 32 * mib, maxOutput: 256 * mib, maxPixels: 64_000_000}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config{MemoryLimit: tc.limit, Memory: tc.models, Inflight: tc.calls, MaxBody: 32 * mib, MaxOutput: 256 * mib, MaxPixels: 64_000_000}
			if tc.fixed {
				cfg.refs = []model.Ref{{Name: "double", Version: 1}}
			}
			got, err := cfg.share(fstest.MapFS{"proc/meminfo": {Data: []byte(meminfo)}})
			if err != nil {
				t.Fatal(err)
			}
			if got.models+got.calls > int64(tc.limit)/8*7 || got.heap < got.calls || got.heap > int64(tc.limit) {
				t.Errorf("%+v is more than %d bytes", got, tc.limit)
			}
			if share := got.calls / 2; 6*got.maxBody > share || 9*got.maxOutput/4 > share || 2*got.maxBody+6*got.maxPixels > share {
				t.Errorf("the largest of %+v do not fit into %d bytes", got, share)
			}
			got.heap, got.why = 0, ""
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
