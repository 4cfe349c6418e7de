package artifact

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Cache is a folder of files under their sha256, shared by the processes of a
// node and bounded in bytes. A file in it is whole and was verified; it is
// read-only, and never removed while somebody holds a lease on it.
//
//	files/<sha256>        the file, locked shared (flock) by each lease
//	files/<sha256>.ok     size and mtime it was verified with; its own mtime is the last use
//	partial/<sha256>      a download, locked by the one process that writes it
//	sets/…                hard links under the names that a model with external data needs
type Cache struct {
	dir      string
	maxBytes int64
	readOnly bool

	mu sync.Mutex // one eviction at a time in this process; a lock file for the others
}

// CacheConfig says where a cache is and how large it may grow.
type CacheConfig struct {
	Dir      string
	MaxBytes int64 // 0 is no bound
	ReadOnly bool  // use what is there, write nothing
}

// OpenCache makes the folder when it is missing, and removes what a process
// that died left half-written.
func OpenCache(cfg CacheConfig) (*Cache, error) {
	c := &Cache{dir: cfg.Dir, maxBytes: cfg.MaxBytes, readOnly: cfg.ReadOnly}
	if cfg.ReadOnly {
		if _, err := os.Stat(cfg.Dir); err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
		return c, nil
	}
	for _, sub := range []string{"files", "partial", "sets"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, sub), 0o750); err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
	}
	if err := c.sweep(); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	return c, nil
}

func (c *Cache) path(sum string) string    { return filepath.Join(c.dir, "files", sum) }
func (c *Cache) partial(sum string) string { return filepath.Join(c.dir, "partial", sum) }

// lease is one holder's claim on a file.
type lease struct {
	path string
	file *os.File // its shared lock is the claim
}

func (l *lease) release() {
	if l.file != nil {
		// Closing drops the lock; nothing was written through it.
		_ = l.file.Close()
		l.file = nil
	}
}

// verified is what a .ok file holds.
type verified struct {
	Size  int64 `json:"size"`
	Mtime int64 `json:"mtime"` // nanoseconds
}

// acquire leases a file that is in the cache; nil means that it is not. A file
// whose size or time is not what it was verified with is hashed again, and
// removed when it has changed.
func (c *Cache) acquire(f File) (*lease, error) {
	path := c.path(f.SHA256)
	for {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // a miss
		}
		if err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		l := &lease{path: path, file: file}
		if err := flock(file, unix.LOCK_SH); err != nil {
			l.release()
			return nil, fmt.Errorf("cache: lock %s: %w", path, err)
		}
		current, err := sameFile(file, path)
		if err != nil {
			l.release()
			return nil, fmt.Errorf("cache: %w", err)
		}
		if !current { // it was evicted between open and lock
			l.release()
			continue
		}
		ok, err := c.check(file, f)
		if err != nil || ok {
			if err != nil {
				l.release()
				return nil, err
			}
			return l, nil
		}
		l.release()
		if c.readOnly {
			return nil, fmt.Errorf("cache: %s is altered, and the cache is read-only", path)
		}
		if err := c.remove(f.SHA256); err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		return nil, nil // a miss now
	}
}

// check reports whether a file still is what was verified, and marks its use.
func (c *Cache) check(file *os.File, f File) (bool, error) {
	info, err := file.Stat()
	if err != nil {
		return false, fmt.Errorf("cache: %w", err)
	}
	if info.Size() != f.Size {
		return false, nil
	}
	now := verified{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
	stamp := file.Name() + ".ok"
	var was verified
	if data, err := os.ReadFile(stamp); err == nil && json.Unmarshal(data, &was) == nil && was == now {
		if !c.readOnly {
			// The last use only orders evictions: a failure costs nothing.
			t := time.Now()
			_ = os.Chtimes(stamp, t, t)
		}
		return true, nil
	}
	sum, _, err := hashFile(file.Name())
	if err != nil {
		return false, fmt.Errorf("cache: %w", err)
	}
	if sum != f.SHA256 {
		return false, nil
	}
	if !c.readOnly {
		return true, c.stamp(file.Name(), now)
	}
	return true, nil
}

func (c *Cache) stamp(path string, v verified) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := writeNew(path+".ok", data, true); err != nil {
		return fmt.Errorf("cache: %w", onDisk(err))
	}
	return nil
}

// commit moves a whole, verified download into place.
func (c *Cache) commit(tmp *os.File, f File) error {
	if err := errors.Join(tmp.Chmod(0o440), tmp.Sync()); err != nil {
		return onDisk(err)
	}
	info, err := tmp.Stat()
	if err != nil {
		return err
	}
	path := c.path(f.SHA256)
	if err := c.stamp(path, verified{Size: info.Size(), Mtime: info.ModTime().UnixNano()}); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// reserve evicts what was used longest ago until need more bytes fit. It holds
// the node's eviction lock, so that processes do not count each other's room
// twice.
func (c *Cache) reserve(ctx context.Context, need int64) error {
	if c.maxBytes == 0 {
		return nil
	}
	if need > c.maxBytes {
		return fmt.Errorf("cache: the file has %d bytes, and the cache may hold %d in all", need, c.maxBytes)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lock, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cache: %w", onDisk(err))
	}
	defer lock.Close()
	if err := waitLock(ctx, lock); err != nil {
		return fmt.Errorf("cache: wait for another process: %w", err)
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
		return fmt.Errorf("cache: %d bytes are needed, %d of %d are in use", need, total, c.maxBytes)
	}
	return nil
}

type cached struct {
	sum  string
	size int64
	used time.Time
}

// usage lists the files, the one used longest ago first, and counts all bytes,
// those still to be downloaded included.
func (c *Cache) usage() ([]cached, int64, error) {
	var files []cached
	var total int64
	for _, sub := range []string{"files", "partial"} {
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
			if sub != "files" || !isHash(e.Name()) {
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

// evict removes a file unless somebody holds it.
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
	return true, c.remove(sum)
}

func (c *Cache) remove(sum string) error {
	for _, path := range []string{c.path(sum), c.path(sum) + ".ok"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sweep removes downloads and sets whose process is gone.
func (c *Cache) sweep() error {
	for _, sub := range []string{"partial", "sets"} {
		entries, err := os.ReadDir(filepath.Join(c.dir, sub))
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := filepath.Join(c.dir, sub, e.Name())
			if err := removeUnlocked(path); err != nil {
				return err
			}
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

// link puts leased files under their own names into a folder of their own,
// where a model finds its external data. remove deletes it.
func (c *Cache) link(files []File, leases []*lease) (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp(filepath.Join(c.dir, "sets"), "set-")
	if err != nil {
		return "", nil, fmt.Errorf("cache: %w", onDisk(err))
	}
	held, err := os.Open(dir)
	if err == nil {
		err = flock(held, unix.LOCK_SH)
	}
	remove = func() {
		// A folder that stays is swept by the next process.
		_ = os.RemoveAll(dir)
		if held != nil {
			_ = held.Close()
		}
	}
	for i, f := range files {
		if err == nil {
			err = os.Link(leases[i].path, filepath.Join(dir, f.Path))
		}
	}
	if err != nil {
		remove()
		return "", nil, fmt.Errorf("cache: %w", onDisk(err))
	}
	return dir, remove, nil
}

// flock locks a file, again when a signal comes between.
func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// waitLock takes an exclusive lock, or gives up with ctx.
func waitLock(ctx context.Context, f *os.File) error {
	for delay := time.Millisecond; ; delay = min(2*delay, 50*time.Millisecond) {
		err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// sameFile reports whether path still names the open file.
func sameFile(f *os.File, path string) (bool, error) {
	open, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(open, named), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) {
		err = nil // some file systems sync no folders
	}
	return errors.Join(err, d.Close())
}
