package artifact

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/modelserveai/modelserve/internal/problem"
)

func TestFetchFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		return // mounting takes root; the writer above stands for it
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Logf("no tmpfs here (%v); the writer above stands for it", err)
		return
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	store := newFakeS3(t).store(t)
	publish(t, store, draft(t, "iris", noise(1, 200_000)), Publishing{})
	cache, err := OpenCache(CacheConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewFetcher(store, cache, here, nil, Transfer{}).Fetch(t.Context(), Ref{"iris", 1})
	if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), "model.onnx: disk full") {
		t.Errorf("Fetch: %v", err)
	}
	if left := contents(t, cache); len(left) > 0 {
		t.Errorf("left in the cache: %v", left)
	}
}
