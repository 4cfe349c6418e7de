package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/internal/regular"
	"github.com/modelserveai/modelserve/runtime/model"
)

// maxSyncing is how many verified files may be on their way to the disk at once.
// The next commit waits for one of them.
const maxSyncing = 4

// begin makes a download's file and locks it. Nil means that another process
// had it, and has finished or given up.
func (c *Cache) begin(ctx context.Context, f model.File) (*os.File, error) {
	if err := c.make(); err != nil {
		return nil, err
	}
	tmp, err := os.OpenFile(c.partial(f.SHA256), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, diskError(err)
	}
	if err = c.own(tmp); err != nil { // whoever made it may have it open to write
		return nil, errors.Join(fmt.Errorf("%s: %w", tmp.Name(), err), tmp.Close())
	}
	if err = waitLock(ctx, tmp, unix.LOCK_EX); err == nil {
		var current bool
		current, err = sameFile(tmp, tmp.Name())
		if current {
			err = tmp.Truncate(0) // what a process that died had of it
		}
		if current && err == nil {
			return tmp, nil
		}
	}
	return nil, errors.Join(err, tmp.Close())
}

// commit moves a whole, verified download into place, where it may be used at
// once, and begins to sync it to the disk. The file is the cache's from here on,
// unless commit fails.
func (c *Cache) commit(ctx context.Context, tmp *os.File, f model.File) error {
	path := c.path(f.SHA256)
	if err := errors.Join(tmp.Chmod(0o440), removeIfExists(path+".ok")); err != nil {
		return diskError(err)
	}
	if err := c.syncing.Acquire(ctx, 1); err != nil {
		return err
	}
	v, err := c.place(tmp, f.SHA256)
	if err != nil {
		c.forget(f.SHA256, v)
		c.syncing.Release(1)
		return diskError(err)
	}
	go func() {
		defer c.syncing.Release(1)
		defer tmp.Close()
		c.syncAndStamp(tmp, path, v)
		c.forget(f.SHA256, v)
	}()
	return nil
}

// place gives a whole download its name.
func (c *Cache) place(tmp *os.File, sum string) (v verified, err error) {
	if err := os.Rename(tmp.Name(), c.path(sum)); err != nil {
		return v, err
	}
	info, err := tmp.Stat()
	if err != nil {
		return v, err
	}
	v = stateOf(info)
	c.remember(sum, v)
	// Others may use it now, and none may evict it until it is on the disk.
	return v, flock(tmp, unix.LOCK_SH)
}

// syncAndStamp syncs a verified file to the disk and then stamps it. A file that
// cannot be synced is removed; one that cannot be stamped is hashed again by the
// next process.
func (c *Cache) syncAndStamp(file *os.File, path string, v verified) {
	if err := file.Sync(); err != nil {
		c.logger.Error("cannot sync a file of the cache to the disk: it is removed", "file", path, "error", diskError(err))
		if current, _ := sameFile(file, path); current {
			_ = errors.Join(removeIfExists(path), removeIfExists(path+".ok")) // without a stamp it is hashed before it is used
		}
		return
	}
	sum := filepath.Base(path)
	for settled := false; !settled; {
		now := c.latest(sum, v)
		if err := errors.Join(syncDir(filepath.Dir(path)), stamp(path, now)); err != nil {
			c.logger.Warn("cannot stamp a file of the cache: the next process hashes it again", "file", path, "error", diskError(err))
			return
		}
		settled = c.settled(sum, now)
	}
}

func stamp(path string, v verified) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return regular.Replace(path+".ok", data, 0o600)
}

func (c *Cache) remember(sum string, v verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unsynced[sum] = v
}

func (c *Cache) forget(sum string, v verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unsynced[sum].Inode == v.Inode { // and not a later download
		delete(c.unsynced, sum)
	}
}

// settled takes a file that was stamped from those that are not; false is one that was
// renewed meanwhile, so that its stamp is an old one.
func (c *Cache) settled(sum string, stamped verified) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, ok := c.unsynced[sum]; !ok || now.Inode != stamped.Inode {
		return true
	} else if now != stamped {
		return false
	}
	delete(c.unsynced, sum)
	return true
}

// renew replaces what an unsynced file was; false is a file that is synced.
func (c *Cache) renew(sum string, was, now verified) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unsynced[sum] != was {
		return false
	}
	c.unsynced[sum] = now
	return true
}

// latest is what a file was last, which was v.
func (c *Cache) latest(sum string, v verified) verified {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.unsynced[sum]; now.Inode == v.Inode {
		return now
	}
	return v
}

// Close waits until every fetched file is synced to the disk, for as long as ctx
// lasts. A file that was not is hashed before it is used again.
func (c *Cache) Close(ctx context.Context) error {
	if err := c.syncing.Acquire(ctx, maxSyncing); err != nil {
		return fmt.Errorf("close cache: files are still on their way to the disk: %w", err)
	}
	c.syncing.Release(maxSyncing)
	return nil
}
