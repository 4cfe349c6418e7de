package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/runtime/model"
)

// The two ways in which a cache has no space: files would have to be evicted, and
// all are in use.
var (
	errFull  = errors.New("the cache is full")
	errInUse = errors.New("are in use")
)

// reserve gives a download its space on the disk; with evict, what was used
// longest ago is evicted for it. It holds the node's eviction lock, so that two
// processes do not count the same space as free.
func (c *Cache) reserve(ctx context.Context, tmp *os.File, need int64, evict bool) error {
	if c.maxBytes == 0 {
		return allocate(tmp, need)
	}
	if need > c.maxBytes {
		return model.Permanent(fmt.Errorf("cache: the file has %d bytes, and the cache may hold %d in all", need, c.maxBytes))
	}
	c.evicting.Lock()
	defer c.evicting.Unlock()
	lock, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cache: %w", diskError(err))
	}
	defer lock.Close()
	if err := waitLock(ctx, lock, unix.LOCK_EX); err != nil {
		return fmt.Errorf("cache: wait for another process: %w", err)
	}
	if err := c.free(need, evict); err != nil {
		return err
	}
	return allocate(tmp, need) // counted from now on
}

// free returns when need more bytes fit.
func (c *Cache) free(need int64, evict bool) error {
	_, total, err := c.usage()
	switch {
	case err != nil:
		return fmt.Errorf("cache: %w", err)
	case total+need <= c.maxBytes:
		return nil
	case !evict:
		return errFull
	}
	// The partial files of processes that died are removed first.
	if err := c.sweep(); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	files, total, err := c.usage()
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	for _, f := range files {
		if total+need <= c.maxBytes {
			return nil
		}
		evicted, err := c.evict(f.sum)
		if err != nil {
			return fmt.Errorf("cache: evict %s: %w", f.sum, err)
		}
		if evicted {
			total -= f.size
		}
	}
	if total+need > c.maxBytes {
		return fmt.Errorf("cache: %d bytes are needed, %d of %d %w", need, total, c.maxBytes, errInUse)
	}
	return nil
}

// allocate gives a file its size, and its space on disks that can reserve it, so
// that a full disk fails before anything is downloaded.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		err = f.Truncate(size)
	}
	if err != nil {
		return diskError(fmt.Errorf("allocate %d bytes: %w", size, err))
	}
	return nil
}

type cached struct {
	sum  string
	size int64
	used time.Time
}

// usage lists the files, the one used longest ago first, and counts all bytes,
// those still to be downloaded included. Downloads are looked at first: one that
// is finished meanwhile moves to the files, and would be in neither list the
// other way round.
func (c *Cache) usage() ([]cached, int64, error) {
	var files []cached
	var total int64
	downloads := map[string]int64{}
	for _, sub := range []string{"partial", "files"} {
		entries, err := os.ReadDir(filepath.Join(c.dir, sub))
		if err != nil {
			return nil, 0, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, 0, err
			}
			total += info.Size()
			if sub == "partial" {
				downloads[e.Name()] = info.Size()
				continue
			}
			total -= downloads[e.Name()] // it has moved, and was counted
			if !model.IsSHA256(e.Name()) {
				continue
			}
			used := info.ModTime()
			if stamp, err := os.Stat(c.path(e.Name()) + ".ok"); err == nil {
				used = stamp.ModTime()
			}
			files = append(files, cached{sum: e.Name(), size: info.Size(), used: used})
		}
	}
	slices.SortFunc(files, func(a, b cached) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.sum, b.sum)) })
	return files, total, nil
}

// evict removes a file unless it is in use.
func (c *Cache) evict(sum string) (bool, error) {
	file, err := os.Open(c.path(sum))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	if err := flock(file, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return false, nil
	}
	if current, err := sameFile(file, c.path(sum)); !current || err != nil {
		return false, err // another one is there by now
	}
	return true, c.remove(sum)
}

func (c *Cache) remove(sum string) error {
	return errors.Join(removeIfExists(c.path(sum)), removeIfExists(c.path(sum)+".ok"))
}

// removeIfExists removes a file that may be gone already.
func removeIfExists(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// abandoned is the age beyond which a stamp that is not complete is not being
// written any more.
const abandoned = time.Hour

// sweep removes downloads, sets and stamps whose process is gone.
func (c *Cache) sweep() error {
	for _, sub := range []string{"partial", "sets"} {
		entries, err := os.ReadDir(filepath.Join(c.dir, sub))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := removeUnlocked(filepath.Join(c.dir, sub, e.Name())); err != nil {
				return err
			}
		}
	}
	entries, err := os.ReadDir(filepath.Join(c.dir, "files"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if model.IsSHA256(e.Name()) {
			continue
		}
		if info, err := e.Info(); err != nil || time.Since(info.ModTime()) < abandoned {
			continue
		}
		if sum, ok := strings.CutSuffix(e.Name(), ".ok"); ok && model.IsSHA256(sum) {
			if _, err := os.Stat(c.path(sum)); err == nil {
				continue // that of a file that is there
			}
		}
		if err := removeIfExists(filepath.Join(c.dir, "files", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// removeUnlocked removes a file or folder unless a process holds its lock.
func removeUnlocked(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if flock(f, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	return os.RemoveAll(path)
}
