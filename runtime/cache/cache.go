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
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/internal/regular"
	"github.com/modelserveai/modelserve/runtime/model"
)

// Cache is a folder of files under their sha256, shared by the processes of a
// node and bounded in bytes. A file in it is whole and was verified; it is
// read-only, and never removed while somebody holds a lease on it.
//
//	files/<sha256>        the file, locked shared (flock) by each lease
//	files/<sha256>.ok     what it was verified as; its own mtime is the last use
//	partial/<sha256>      a download, locked by the one process that writes it
//	sets/…                hard links under the names that a model with external data needs
//	policies/…            where the newest policies are kept (Folder)
//
// A download is used as soon as it is verified, and synced behind that: its .ok
// is written once the disk has it, so what a crash leaves without one is hashed
// again before it is used.
//
// The folder is its user's alone, and so is every file that is used: one that another
// user made, or may write to, is fetched again. A lease has the file open from the
// moment it is verified, and whoever loads it opens that one (Local.Path), not whatever
// has its name by then.
type Cache struct {
	dir      string
	user     int // who files must belong to
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
func Open(cfg Config) (*Cache, error) { return openAs(cfg, os.Geteuid()) }

func openAs(cfg Config, user int) (*Cache, error) {
	c := &Cache{
		dir: folder(cfg.Dir, user), user: user, maxBytes: cfg.MaxBytes, readOnly: cfg.ReadOnly, logger: cfg.Logger,
		syncing: semaphore.NewWeighted(maxSyncing), unsynced: map[string]verified{},
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ReadOnly {
		if _, err := os.Stat(c.dir); err != nil {
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
	for _, sub := range []string{"", "files", "partial", "sets"} {
		if err := makePrivate(filepath.Join(c.dir, sub), c.user); err != nil {
			return err
		}
	}
	return nil
}

// Folder makes a folder for something else of this user's that is kept on the node.
func (c *Cache) Folder(name string) (string, error) {
	dir := filepath.Join(c.dir, name)
	if err := c.make(); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	if err := makePrivate(dir, c.user); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return dir, nil
}

func (c *Cache) path(sum string) string    { return filepath.Join(c.dir, "files", sum) }
func (c *Cache) partial(sum string) string { return filepath.Join(c.dir, "partial", sum) }

// lease keeps a file from being evicted for one holder.
type lease struct {
	path string
	file *os.File // what was verified; it holds the shared lock
	as   verified
}

// open is a path by which the file itself is opened while the lease is held,
// whatever has its name.
func (l *lease) open() string { return fmt.Sprintf("/proc/self/fd/%d", l.file.Fd()) }

func (l *lease) release() {
	if l.file != nil {
		// Closing drops the lock; nothing was written through it.
		_ = l.file.Close()
		l.file = nil
	}
}

// verified is what a .ok file holds: which file was verified, and as it was then. The
// system sets Ctime at each change of a file, its times and names included, and
// nobody else can: what has the same size and Mtime by being made so differs in it.
type verified struct {
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"` // nanoseconds
	Ctime int64  `json:"ctime"` // nanoseconds
	Inode uint64 `json:"inode"`
}

// stateOf is what a file is now.
func stateOf(info fs.FileInfo) verified {
	v := verified{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
	if is, ok := info.Sys().(*syscall.Stat_t); ok {
		v.Ctime, v.Inode = is.Ctim.Nano(), is.Ino
	}
	return v
}

// acquire leases a file that is in the cache; nil means that it is not. A file
// that is not as it was verified is hashed again, and removed when it has changed;
// one that is not this user's alone is removed.
func (c *Cache) acquire(ctx context.Context, f model.File) (*lease, error) {
	path := c.path(f.SHA256)
	for {
		file, err := regular.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // a miss
		}
		if errors.Is(err, regular.ErrNotRegular) {
			return nil, c.replace(ctx, f.SHA256, err)
		}
		if err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		l := &lease{path: path, file: file}
		if err := c.own(file); err != nil { // before its lock, which others may hold for ever
			l.release()
			return nil, c.replace(ctx, f.SHA256, err)
		}
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
		l.as, err = c.check(file, f)
		if err == nil {
			return l, nil
		}
		l.release()
		if errors.Is(err, errAltered) {
			err = c.replace(ctx, f.SHA256, err)
		}
		return nil, err // nil is a miss now
	}
}

// errAltered is what a file is that has not the hash that is its name.
var errAltered = errors.New("it is altered")

// own is nil where a file is this user's alone.
func (c *Cache) own(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return private(info, c.user)
}

// replace removes a file that must not be used, so that it is fetched again.
func (c *Cache) replace(ctx context.Context, sum string, why error) error {
	if c.readOnly {
		return fmt.Errorf("cache: %s: %w, and the cache is read-only", c.path(sum), why)
	}
	c.logger.WarnContext(ctx, "a file in the cache is not used: it is fetched again", "file", c.path(sum), "reason", why)
	if err := c.remove(sum); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

// check returns what a file is, where that is what was verified, and marks its use;
// else errAltered.
func (c *Cache) check(file *os.File, f model.File) (verified, error) {
	info, err := file.Stat()
	if err != nil {
		return verified{}, fmt.Errorf("cache: %w", err)
	}
	if info.Size() != f.Size {
		return verified{}, errAltered
	}
	now := stateOf(info)
	if c.known(file.Name(), f.SHA256, now) {
		if !c.readOnly {
			// The last use only orders evictions: a failure costs nothing.
			t := time.Now()
			_ = os.Chtimes(file.Name()+".ok", t, t)
		}
		return now, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(file, 0, info.Size())); err != nil {
		return verified{}, fmt.Errorf("cache: %w", err)
	}
	if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return verified{}, errAltered
	}
	if !c.readOnly {
		c.syncAndStamp(file, file.Name(), now)
	}
	return now, nil
}

// known reports whether a file was verified as it is now.
func (c *Cache) known(path, sum string, now verified) bool {
	c.mu.Lock()
	was, unsynced := c.unsynced[sum]
	c.mu.Unlock()
	if unsynced && was == now {
		return true
	}
	stamp, err := regular.Open(path + ".ok")
	if err != nil {
		return false
	}
	defer stamp.Close()
	if c.own(stamp) != nil {
		return false
	}
	was = verified{}
	return json.NewDecoder(io.LimitReader(stamp, maxStamp)).Decode(&was) == nil && was == now
}

// maxStamp bounds what is read of a .ok file, in bytes.
const maxStamp = 1 << 10

// link puts leased files under their own names into a folder of their own,
// where a model finds its external data. remove deletes it.
func (c *Cache) link(files []model.File, leases []*lease) (dir string, remove func(), err error) {
	held, err := c.newSet()
	if err != nil {
		return "", nil, fmt.Errorf("cache: %w", diskError(err))
	}
	dir = fmt.Sprintf("/proc/self/fd/%d", held.Fd())
	remove = func() {
		// A folder that stays is swept by the next process.
		_ = os.RemoveAll(held.Name())
		_ = held.Close()
		c.restamp(leases)
	}
	for i, f := range files {
		if err == nil {
			err = c.linkOne(leases[i], filepath.Join(dir, f.Path))
		}
	}
	if err != nil {
		remove()
		return "", nil, fmt.Errorf("cache: %w", diskError(err))
	}
	return dir, remove, nil
}

// linkOne gives a leased file another name, if it has still its own.
func (c *Cache) linkOne(l *lease, name string) error {
	if err := os.Link(l.path, name); err != nil {
		return err
	}
	if same, err := sameFile(l.file, name); err != nil || !same {
		return errors.Join(fmt.Errorf("%s was replaced while it was in use", l.path), err)
	}
	c.restamp([]*lease{l})
	return nil
}

// restamp stamps leased files again as they were verified, once their names alone
// have changed: the system counts that as a change of the file.
func (c *Cache) restamp(leases []*lease) {
	for _, l := range leases {
		info, err := l.file.Stat()
		if err != nil {
			continue
		}
		now, sum := stateOf(info), filepath.Base(l.path)
		but := now
		but.Ctime = l.as.Ctime
		switch {
		case c.readOnly, but != l.as, now == l.as, !c.known(l.path, sum, l.as):
			continue // it changed otherwise: it is hashed before it is used again
		case c.renew(sum, l.as, now): // it is stamped when it is synced
			l.as = now
		case stamp(l.path, now) == nil: // or it is hashed again
			l.as = now
		}
	}
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
