// Package cache has the files of published versions on the node: a bounded folder
// that its processes share, and the fetcher that fills it and verifies what comes.
//
// It reads a Store and publishes nothing. Which versions are to be in memory is
// not its affair.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/runtime/model"
)

// Cache is a folder of files under their sha256, shared by the processes of a
// node and bounded in bytes. A file in it is whole and was verified; it is
// read-only, and never removed while somebody holds a lease on it.
//
//	files/<sha256>        the file, locked shared (flock) by each lease
//	files/<sha256>.ok     size and mtime it was verified with; its own mtime is the last use
//	partial/<sha256>      a download, locked by the one process that writes it
//	sets/…                hard links under the names that a model with external data needs
//
// A download is used as soon as it is verified, and synced behind that: its .ok
// is written once the disk has it, so what a crash leaves without one is hashed
// again before it is used.
type Cache struct {
	dir      string
	maxBytes int64
	readOnly bool
	logger   *slog.Logger

	evicting sync.Mutex          // one eviction at a time in this process; a lock file for the others
	syncing  *semaphore.Weighted // files that are verified and not synced yet

	mu       sync.Mutex
	unsynced map[string]verified // the same, by sha256: this process need not hash them again
}

// Config is where a cache is and how large it may grow.
type Config struct {
	Dir      string
	MaxBytes int64        // 0 is no bound
	ReadOnly bool         // use what is there, write nothing
	Logger   *slog.Logger // of what goes wrong behind a load that succeeds; nil is none
}

// Open makes the folder when it is missing, and removes what a process
// that died left half-written.
func Open(cfg Config) (*Cache, error) {
	c := &Cache{
		dir: cfg.Dir, maxBytes: cfg.MaxBytes, readOnly: cfg.ReadOnly, logger: cfg.Logger,
		syncing: semaphore.NewWeighted(maxSyncing), unsynced: map[string]verified{},
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ReadOnly {
		if _, err := os.Stat(cfg.Dir); err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
		return c, nil
	}
	if err := c.make(); err != nil {
		if !isDiskError(err) {
			return nil, fmt.Errorf("open cache: %w", err)
		}
		// Each fetch tries again, and loads from memory meanwhile.
		c.logger.Warn("the cache cannot write to its folder: models are loaded from memory meanwhile", "error", err)
		return c, nil
	}
	if err := c.sweep(); err != nil { // a faulty disk is no reason not to serve
		c.logger.Warn("cannot remove what other processes left in the cache", "error", err)
	}
	return c, nil
}

// make makes the cache's folders, again when somebody removed them.
func (c *Cache) make() error {
	for _, sub := range []string{"files", "partial", "sets"} {
		if err := os.MkdirAll(filepath.Join(c.dir, sub), 0o750); err != nil {
			return diskError(err)
		}
	}
	return nil
}

func (c *Cache) path(sum string) string    { return filepath.Join(c.dir, "files", sum) }
func (c *Cache) partial(sum string) string { return filepath.Join(c.dir, "partial", sum) }

// lease keeps a file from being evicted for one holder.
type lease struct {
	path string
	file *os.File // holds the shared lock
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
func (c *Cache) acquire(ctx context.Context, f model.File) (*lease, error) {
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
		if err := waitLock(ctx, file, unix.LOCK_SH); err != nil {
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
		if ok && err == nil {
			return l, nil
		}
		switch {
		case err != nil:
		case c.readOnly:
			err = fmt.Errorf("cache: %s is altered, and the cache is read-only", path)
		default:
			c.logger.WarnContext(ctx, "a file in the cache is altered: it is fetched again", "file", path)
			if err = c.remove(f.SHA256); err != nil {
				err = fmt.Errorf("cache: %w", err)
			}
		}
		l.release()
		return nil, err // nil is a miss now
	}
}

// check reports whether a file still is what was verified, and marks its use.
func (c *Cache) check(file *os.File, f model.File) (bool, error) {
	info, err := file.Stat()
	if err != nil {
		return false, fmt.Errorf("cache: %w", err)
	}
	if info.Size() != f.Size {
		return false, nil
	}
	now := verified{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
	if c.known(file.Name(), f.SHA256, now) {
		if !c.readOnly {
			// The last use only orders evictions: a failure costs nothing.
			t := time.Now()
			_ = os.Chtimes(file.Name()+".ok", t, t)
		}
		return true, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(file, 0, info.Size())); err != nil {
		return false, fmt.Errorf("cache: %w", err)
	}
	if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return false, nil
	}
	if !c.readOnly {
		c.syncAndStamp(file, file.Name(), now)
	}
	return true, nil
}

// known reports whether a file was verified as it is now.
func (c *Cache) known(path, sum string, now verified) bool {
	c.mu.Lock()
	was, unsynced := c.unsynced[sum]
	c.mu.Unlock()
	if unsynced && was == now {
		return true
	}
	data, err := os.ReadFile(path + ".ok")
	return err == nil && json.Unmarshal(data, &was) == nil && was == now
}

// link puts leased files under their own names into a folder of their own,
// where a model finds its external data. remove deletes it.
func (c *Cache) link(files []model.File, leases []*lease) (dir string, remove func(), err error) {
	held, err := c.newSet()
	if err != nil {
		return "", nil, fmt.Errorf("cache: %w", diskError(err))
	}
	dir = held.Name()
	remove = func() {
		// A folder that stays is swept by the next process.
		_ = os.RemoveAll(dir)
		_ = held.Close()
	}
	for i, f := range files {
		if err == nil {
			err = os.Link(leases[i].path, filepath.Join(dir, f.Path))
		}
	}
	if err != nil {
		remove()
		return "", nil, fmt.Errorf("cache: %w", diskError(err))
	}
	return dir, remove, nil
}

// newSet makes a folder and locks it; one that was swept before it was locked
// is made again.
func (c *Cache) newSet() (*os.File, error) {
	for {
		if err := c.make(); err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp(filepath.Join(c.dir, "sets"), "set-")
		if err != nil {
			return nil, err
		}
		held, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		current := false
		if err = flock(held, unix.LOCK_SH); err == nil {
			current, err = sameFile(held, dir)
		}
		if current {
			return held, nil
		}
		if err = errors.Join(err, held.Close()); err != nil {
			return nil, err
		}
	}
}
