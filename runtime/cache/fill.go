package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/runtime/model"
)

// fill downloads a file into the cache. Another process that is at the same
// file is waited for.
func (f *Fetcher) fill(ctx context.Context, ref model.Ref, file model.File, t *trust) (read int64, arrived time.Time, err error) {
	c := f.cache
	if c.readOnly {
		return 0, arrived, errors.New("it is not in the cache, and the cache is read-only")
	}
	tmp, err := c.begin(ctx, file)
	if tmp == nil || err != nil {
		// Without an error the other process finished, or gave up: the caller
		// looks again.
		return 0, arrived, err
	}
	defer func() {
		if tmp != nil {
			err = errors.Join(err, removeIfExists(tmp.Name()), tmp.Close())
		}
	}()
	if err = f.reserve(ctx, tmp, file.Size, t); err != nil {
		return 0, arrived, err
	}
	arrived, err = f.verified(ctx, ref, file, f.writer(tmp), t)
	if err != nil {
		return 0, arrived, err
	}
	if err := c.commit(ctx, tmp, file); err != nil {
		return file.Size, arrived, err
	}
	tmp = nil // the cache's now
	return file.Size, arrived, nil
}

// reserve gives a download its space on the disk. It evicts other files only once
// the signature of the manifest has been verified.
func (f *Fetcher) reserve(ctx context.Context, tmp *os.File, size int64, t *trust) error {
	err := f.cache.reserve(ctx, tmp, size, false)
	if !errors.Is(err, errFull) {
		return err
	}
	if err := t.wait(ctx); err != nil {
		return err
	}
	if err = f.cache.reserve(ctx, tmp, size, true); !errors.Is(err, errInUse) {
		return err
	}
	// Files may be held only until they are synced to the disk.
	if err := f.cache.Close(ctx); err != nil {
		return err
	}
	return f.cache.reserve(ctx, tmp, size, true)
}

// verified downloads a file and returns once its hash and the manifest's
// signature hold.
func (f *Fetcher) verified(ctx context.Context, ref model.Ref, file model.File, dst io.WriterAt, t *trust) (arrived time.Time, err error) {
	sum, arrived, err := f.download(ctx, ref, file, dst)
	if err != nil {
		return arrived, err
	}
	if sum != file.SHA256 {
		return arrived, model.Permanent(fmt.Errorf("altered: sha256 %s, expected %s", sum, file.SHA256))
	}
	return arrived, t.wait(ctx)
}

// withoutCache holds a file in memory because there is no cache.
func (f *Fetcher) withoutCache(ctx context.Context, ref model.Ref, file model.File, t *trust) (l *lease, read int64, arrived time.Time, err error) {
	if file.Size > f.transfer.Memory {
		err = model.Permanent(fmt.Errorf("%d bytes are more than the %d that are held in memory: set MODELSERVE_CACHE_DIR, or raise MODELSERVE_CACHE_MEMORY", file.Size, f.transfer.Memory))
	} else {
		l, read, arrived, err = f.intoMemory(ctx, ref, file, t)
	}
	if err != nil {
		return nil, read, arrived, fmt.Errorf("%s: %w", file.Path, err)
	}
	return l, read, arrived, nil
}

// intoMemory downloads a file into memory that has a path while the lease is
// held, and stays for as long as somebody maps it.
func (f *Fetcher) intoMemory(ctx context.Context, ref model.Ref, file model.File, t *trust) (l *lease, read int64, arrived time.Time, err error) {
	fd, err := unix.MemfdCreate("model", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, 0, arrived, fmt.Errorf("memory for it: %w", err)
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	tmp := os.NewFile(uintptr(fd), path)
	if err = tmp.Truncate(file.Size); err == nil {
		arrived, err = f.verified(ctx, ref, file, f.writer(tmp), t)
	}
	if err != nil {
		return nil, 0, arrived, errors.Join(fmt.Errorf("into memory: %w", err), tmp.Close())
	}
	return &lease{path: path, file: tmp}, file.Size, arrived, nil
}
