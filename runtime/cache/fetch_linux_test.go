package cache

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/model"
)

func TestFetchFullDisk(t *testing.T) {
	t.Parallel()
	dir, ok := smallDisk(t)
	if !ok {
		return // the writer above stands for it
	}
	store := storeIn(t, s3test.New(t))
	publish(t, store, draft(t, "iris", s3test.Noise(1, 200_000)), artifact.Publishing{})
	cache := openCache(t, Config{Dir: dir})
	_, err := NewFetcher(store, cache, here, nil, Transfer{}).Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
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
	store := storeIn(t, s3test.New(t))
	iris, rosa := s3test.Noise(1, 1000), s3test.Noise(2, 1000)
	publish(t, store, draft(t, "iris", iris), artifact.Publishing{})
	publish(t, store, draft(t, "rosa", rosa), artifact.Publishing{})
	cache := openCache(t, Config{Dir: dir})
	f := NewFetcher(store, cache, here, nil, quick)
	holds(t, f, "iris", iris).Release()
	waitSynced(t, cache)
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	holds(t, f, "iris", iris).Release() // what is there is used
	_, err := f.Fetch(t.Context(), model.Ref{Name: "rosa", Version: 1})
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

// TestFetchWithoutACache holds that a fetcher without a cache holds each file in
// memory, to the bound.
func TestFetchWithoutACache(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	iris, rosa := s3test.Noise(1, 1000), s3test.Noise(2, 2000)
	publish(t, store, draft(t, "iris", iris), artifact.Publishing{})
	publish(t, store, draft(t, "rosa", rosa), artifact.Publishing{})
	transfer := quick
	transfer.Memory = 1500
	f := NewFetcher(store, nil, here, nil, transfer)
	local := holds(t, f, "iris", iris)
	if !strings.HasPrefix(local.Path, "/proc/self/fd/") {
		t.Errorf("it is at %s", local.Path)
	}
	local.Release()
	if _, err := os.Stat(local.Path); err == nil {
		t.Errorf("%s is there after the release", local.Path)
	}
	_, err := f.Fetch(t.Context(), model.Ref{Name: "rosa", Version: 1})
	if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), "2000 bytes are more than the 1500") || !model.IsPermanent(err) {
		t.Errorf("Fetch: %v", err)
	}
	publish(t, store, draft(t, "viola", iris, artifact.DraftFile{Path: "weights.bin", Source: write(t, rosa)}), artifact.Publishing{})
	_, err = f.Fetch(t.Context(), model.Ref{Name: "viola", Version: 1})
	if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), "external data") || !model.IsPermanent(err) {
		t.Errorf("Fetch of external data: %v", err)
	}
}

// TestOpenOnAReadOnlyDisk holds that a process whose folder cannot be written to
// from the beginning serves all the same.
func TestOpenOnAReadOnlyDisk(t *testing.T) {
	t.Parallel()
	dir, ok := smallDisk(t)
	if !ok {
		return // what such a disk answers is held by TestIsDiskError
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	cache, err := Open(Config{Dir: filepath.Join(dir, "cache")})
	if err != nil {
		t.Fatal(err)
	}
	if err := cache.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Open(Config{Dir: filepath.Join(os.Args[0], "cache")}); err == nil {
		t.Error("a path through a file is a folder")
	}
}

func TestIsDiskError(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		syscall.EROFS: true, syscall.EACCES: true, syscall.ENOSPC: true, syscall.EIO: true,
		syscall.ENOTDIR: false, syscall.ENAMETOOLONG: false, model.ErrUnreachable: false,
	} {
		if isDiskError(&os.PathError{Op: "mkdir", Path: "/x", Err: err}) != want {
			t.Errorf("%v: want %v", err, want)
		}
	}
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
