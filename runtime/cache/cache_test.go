package cache

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/model"
)

func TestCacheEvictsTheLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	names := []string{"a", "b", "c"}
	for i, name := range names {
		publish(t, store, draft(t, name, s3test.Noise(uint64(i), 1000)), artifact.Publishing{})
	}
	cache := newCache(t, 2500)
	f := NewFetcher(store, cache, here, nil, quick)
	fetch := func(name string) *Local {
		t.Helper()
		local, err := f.Fetch(t.Context(), model.Ref{Name: name, Version: 1})
		if err != nil {
			t.Fatal(err)
		}
		return local
	}
	for i, name := range []string{"a", "b", "a"} {
		local := fetch(name)
		waitSynced(t, cache)
		age(t, local.Place, time.Duration(10-i)*time.Minute)
		local.Release()
	}
	held := fetch("a") // "b" was used longest ago, and nobody holds it
	fetch("c").Release()
	if got := contents(t, cache); len(got) != 2 {
		t.Errorf("cache: %v", got)
	}
	if local := fetch("a"); local.Timing.Bytes != 0 {
		t.Error("what was in use was evicted")
	} else {
		local.Release()
	}
	other := fetch("c")
	_, err := f.Fetch(t.Context(), model.Ref{Name: "b", Version: 1})
	if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), "are in use") {
		t.Errorf("Fetch with all in use: %v", err)
	}
	held.Release()
	other.Release()
	fetch("b").Release()
}

func TestCacheSmallerThanTheFile(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	publish(t, store, draft(t, "iris", s3test.Noise(1, 1000)), artifact.Publishing{})
	_, err := NewFetcher(store, newCache(t, 999), here, nil, quick).Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
	if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), "the file has 1000 bytes") {
		t.Errorf("Fetch: %v", err)
	}
}

// age sets a cached file's last use back.
func age(t *testing.T, path string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	if err := os.Chtimes(path+".ok", then, then); err != nil {
		t.Fatal(err)
	}
}

func TestCacheChecksAgainWhatChanged(t *testing.T) {
	t.Parallel()
	content := s3test.Noise(1, 1000)
	for name, tc := range map[string]struct {
		change   func(t *testing.T, path string)
		download bool
	}{
		"nothing": {func(*testing.T, string) {}, false},
		"its time alone": {func(t *testing.T, path string) {
			if err := os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}, false},
		"its stamp is gone": {func(t *testing.T, path string) {
			if err := os.Remove(path + ".ok"); err != nil {
				t.Fatal(err)
			}
		}, false},
		"its bytes":                        {func(t *testing.T, path string) { rewrite(t, path, s3test.Noise(2, 1000)) }, true},
		"its bytes, not its size and time": {func(t *testing.T, path string) { forge(t, path, s3test.Noise(2, 1000)) }, true},
		"another file of its size and time": {func(t *testing.T, path string) {
			other := path + "-other"
			if err := errors.Join(os.Link(path, other), os.Remove(path), os.WriteFile(path, s3test.Noise(2, 1000), 0o440)); err != nil {
				t.Fatal(err)
			}
			sameTime(t, other, path)
		}, true},
		"who may write to it": {func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o660); err != nil {
				t.Fatal(err)
			}
		}, true},
		"who may write to its stamp": {func(t *testing.T, path string) {
			forge(t, path, s3test.Noise(2, 1000))
			info, err := os.Stat(path)
			if err == nil {
				err = errors.Join(stamp(path, stateOf(info)), os.Chmod(path+".ok", 0o666))
			}
			if err != nil {
				t.Fatal(err)
			}
		}, true},
		"a FIFO in its place": {func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, true},
		"its size": {func(t *testing.T, path string) { rewrite(t, path, content[:999]) }, true},
		"all of it": {func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := storeIn(t, s3test.New(t))
			publish(t, store, draft(t, "iris", content), artifact.Publishing{})
			cache := newCache(t, 0)
			f := NewFetcher(store, cache, here, nil, quick)
			first, err := f.Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
			if err != nil {
				t.Fatal(err)
			}
			first.Release()
			waitSynced(t, cache)
			tc.change(t, first.Place)
			second, err := f.Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer second.Release()
			if got, err := os.ReadFile(second.Path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if (second.Timing.Bytes > 0) != tc.download {
				t.Errorf("%d bytes were read", second.Timing.Bytes)
			}
		})
	}
}

// forge writes other bytes in place of a file's, and gives it its times back.
func forge(t *testing.T, path string, data []byte) {
	t.Helper()
	was := filepath.Join(t.TempDir(), "was")
	if err := os.WriteFile(was, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sameTime(t, path, was)
	rewrite(t, path, data)
	if err := os.Chmod(path, 0o440); err != nil {
		t.Fatal(err)
	}
	sameTime(t, was, path)
}

// sameTime gives one file the times of another.
func sameTime(t *testing.T, of, to string) {
	t.Helper()
	info, err := os.Stat(of)
	if err == nil {
		err = os.Chtimes(to, info.ModTime(), info.ModTime())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func rewrite(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCacheReadOnly(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	publish(t, store, draft(t, "iris", s3test.Noise(1, 1000)), artifact.Publishing{})
	publish(t, store, draft(t, "rosa", s3test.Noise(2, 1000)), artifact.Publishing{})
	cache := newCache(t, 0)
	local, err := NewFetcher(store, cache, here, nil, quick).Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	local.Release()
	waitSynced(t, cache)
	before := contents(t, cache)
	frozen, err := Open(Config{Dir: cache.dir, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	f := NewFetcher(store, frozen, here, nil, quick)
	local, err = f.Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	local.Release()
	if _, err := f.Fetch(t.Context(), model.Ref{Name: "rosa", Version: 1}); problem.CodeOf(err) != problem.ModelUnavailable {
		t.Errorf("Fetch: %v", err)
	}
	if after := contents(t, cache); !slices.Equal(before, after) {
		t.Errorf("it was written: %v, %v", before, after)
	}
}

func TestCacheSweepsWhatADeadProcessLeft(t *testing.T) {
	t.Parallel()
	cache := newCache(t, 0)
	sum := strings.Repeat("a", 64)
	for _, path := range []string{cache.partial(sum), filepath.Join(cache.dir, "sets", "set-1")} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(Config{Dir: cache.dir}); err != nil {
		t.Fatal(err)
	}
	if left := contents(t, cache); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestCacheUnderPressure has several processes' worth of fetchers of more
// models than fit: every fetch succeeds, or fails because all is in use, and what
// it returns is whole while it is held.
func TestCacheUnderPressure(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	names := []string{"a", "b", "c", "d", "e"}
	models := map[string][]byte{}
	for i, name := range names {
		models[name] = s3test.Noise(uint64(i), 4000)
		publish(t, store, draft(t, name, models[name]), artifact.Publishing{})
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	for worker := range 4 {
		cache := openCache(t, Config{Dir: dir, MaxBytes: 17_000})
		f := NewFetcher(store, cache, here, nil, quick)
		wg.Go(func() {
			for i := range 25 {
				name := names[(worker*7+i*3)%len(names)]
				local, err := f.Fetch(t.Context(), model.Ref{Name: name, Version: 1})
				if err != nil {
					if !strings.Contains(err.Error(), "are in use") {
						t.Error(err)
					}
					continue
				}
				if got, err := os.ReadFile(local.Path); err != nil || !bytes.Equal(got, models[name]) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
				local.Release()
			}
		})
	}
	wg.Wait()
}
