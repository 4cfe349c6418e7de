package artifact

import (
	"strings"
	"syscall"
	"testing"

	"github.com/modelserveai/modelserve/internal/problem"
)

func TestFetchFullDisk(t *testing.T) {
	t.Parallel()
	dir, ok := smallDisk(t)
	if !ok {
		return // the writer above stands for it
	}
	store := newFakeS3(t).store(t)
	publish(t, store, draft(t, "iris", noise(1, 200_000)), Publishing{})
	cache := openCache(t, CacheConfig{Dir: dir})
	_, err := NewFetcher(store, cache, here, nil, Transfer{}).Fetch(t.Context(), Ref{"iris", 1})
	if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), "model.onnx: disk full") {
		t.Errorf("Fetch: %v", err)
	}
	if left := contents(t, cache); len(left) > 0 {
		t.Errorf("left in the cache: %v", left)
	}
}

func TestFetchReadOnlyDisk(t *testing.T) {
	t.Parallel()
	dir, ok := smallDisk(t)
	if !ok {
		return
	}
	store := newFakeS3(t).store(t)
	iris, rosa := noise(1, 1000), noise(2, 1000)
	publish(t, store, draft(t, "iris", iris), Publishing{})
	publish(t, store, draft(t, "rosa", rosa), Publishing{})
	cache := openCache(t, CacheConfig{Dir: dir})
	f := NewFetcher(store, cache, here, nil, quick)
	holds(t, f, "iris", iris).Release()
	settled(t, cache)
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	holds(t, f, "iris", iris).Release() // what is there is used
	_, err := f.Fetch(t.Context(), Ref{"rosa", 1})
	if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), "model rosa@1: model.onnx: ") ||
		!strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("Fetch: %v", err)
	}
	fromMemory := quick
	fromMemory.Memory = 1 << 20
	holds(t, NewFetcher(store, cache, here, nil, fromMemory), "rosa", rosa).Release()
	remount(0)
	holds(t, f, "rosa", rosa).Release()
}

// smallDisk is a disk of 64 KiB; false where this process may not mount one.
func smallDisk(t *testing.T) (dir string, ok bool) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Logf("no disk of its own for this test: %v", err)
		return "", false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}
