package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Store has what is published: artifact.Store has it in S3.
type Store interface {
	// ReadManifest reads a version's manifest, and its bytes. An unknown version is
	// problem.ModelNotFound.
	ReadManifest(ctx context.Context, ref model.Ref) (*model.Manifest, []byte, error)

	// ReadSignatures reads the signatures of a manifest's bytes, one a line; none
	// where nobody signed them.
	ReadSignatures(ctx context.Context, ref model.Ref, manifest []byte) ([]byte, error)

	// OpenFile opens length bytes of a file, from first on. It asks once, as whoever
	// downloads goes on where an attempt broke off; an error that another attempt
	// does not change is model.Permanent.
	OpenFile(ctx context.Context, ref model.Ref, file model.File, first, length int64) (io.ReadCloser, error)
}

// Fetcher brings published versions onto this node. It is safe for concurrent
// use; a file that several ask for is downloaded once.
type Fetcher struct {
	store    Store
	cache    *Cache
	verifier *sign.Verifier
	target   func() (model.Target, error)
	transfer Transfer
	ranges   *semaphore.Weighted
	buffers  sync.Pool // of *[]byte, pieceBytes long

	mu      sync.Mutex
	flights map[flightKey]*flight

	writer func(*os.File) io.WriterAt // where downloads go; tests make it fail
}

// NewFetcher makes a fetcher. Without a cache it keeps no file: each is held in
// memory for as long as it is used, up to transfer.Memory bytes. target is this
// node's ONNX Runtime and CPU. With a verifier, unsigned and altered manifests are
// refused; nil checks none.
func NewFetcher(store Store, cache *Cache, target model.Target, verifier *sign.Verifier, transfer Transfer) *Fetcher {
	return NewFetcherFor(store, cache, func() (model.Target, error) { return target, nil }, verifier, transfer)
}

// NewFetcherFor is NewFetcher for a node whose ONNX Runtime is still starting:
// target is asked, and may be waited for, while a manifest is on its way.
func NewFetcherFor(store Store, cache *Cache, target func() (model.Target, error), verifier *sign.Verifier, transfer Transfer) *Fetcher {
	transfer = transfer.withDefaults()
	return &Fetcher{
		store: store, cache: cache, target: target, verifier: verifier, transfer: transfer,
		ranges:  semaphore.NewWeighted(int64(transfer.Ranges)),
		flights: map[flightKey]*flight{},
		writer:  func(f *os.File) io.WriterAt { return f },
	}
}

// Fetch brings a version's files onto this node and holds them there until the
// Local is released: the .ort file that fits, or else the model and its external
// data. Everything is verified by its hash, and the hashes by the manifest's
// signature, which is read while the files are and decides before any of them
// is kept.
//
// An unknown version is problem.ModelNotFound; one that cannot be had whole is
// problem.ModelUnavailable with file and reason, and leaves nothing behind.
func (f *Fetcher) Fetch(ctx context.Context, ref model.Ref) (*Local, error) {
	start := time.Now()
	m, data, err := f.store.ReadManifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	target, err := f.target()
	if err != nil {
		return nil, err
	}
	waited := time.Since(asked)
	files, ort := m.Choose(target)
	if f.cache == nil && len(files) > 1 {
		return nil, model.Unavailable(ref, model.Permanent(errors.New("it has external data, whose files have names that need a folder: set MODELSERVE_CACHE_DIR")))
	}
	got, err := f.files(ctx, ref, data, files)
	if err != nil {
		return nil, err
	}
	local := &Local{Manifest: *m, Digest: model.DigestOf(data), ORT: ort, Path: got.leases[0].open(), Place: got.leases[0].path, leases: got.leases}
	release := got.release
	if len(files) > 1 {
		dir, remove, err := f.cache.link(files, got.leases)
		if err != nil {
			release()
			return nil, model.Unavailable(ref, err)
		}
		local.Path = filepath.Join(dir, files[0].Path)
		release = func() { remove(); got.release() }
	}
	local.release = sync.OnceFunc(release)
	local.Timing = Timing{
		Fetch: got.arrived.Sub(start) - waited, Verify: time.Since(got.arrived), Target: waited, Bytes: got.read,
	}
	return local, nil
}

// fetched is what Fetch holds of a version's files.
type fetched struct {
	leases  []*lease
	read    int64     // bytes from S3
	arrived time.Time // of the last byte
}

func (g *fetched) release() {
	for _, l := range g.leases {
		if l != nil {
			l.release()
		}
	}
}

// files leases every file while the signature is checked.
func (f *Fetcher) files(ctx context.Context, ref model.Ref, manifest []byte, files []model.File) (*fetched, error) {
	got := &fetched{leases: make([]*lease, len(files))}
	arrivals, reads := make([]time.Time, len(files)), make([]int64, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(f.transfer.Ranges + 1)
	t := &trust{done: make(chan struct{})}
	g.Go(func() error {
		defer close(t.done)
		t.err = checkSignature(gctx, f.store, ref, manifest, f.verifier)
		return t.err
	})
	for i, file := range files {
		g.Go(func() (err error) {
			got.leases[i], reads[i], arrivals[i], err = f.file(gctx, ref, file, t)
			return err
		})
	}
	err := g.Wait()
	switch {
	case err == nil:
		for i := range files {
			got.read += reads[i]
			if arrivals[i].After(got.arrived) {
				got.arrived = arrivals[i]
			}
		}
		return got, nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case t.err != nil && !errors.Is(t.err, context.Canceled):
		got.release()
		return nil, t.err // whatever else it stopped
	}
	got.release()
	return nil, model.Unavailable(ref, err)
}

// file leases one file, downloading it when it is not there. Where the disk
// takes none, it is held in memory.
func (f *Fetcher) file(ctx context.Context, ref model.Ref, file model.File, t *trust) (l *lease, read int64, arrived time.Time, err error) {
	if f.cache == nil {
		return f.withoutCache(ctx, ref, file, t)
	}
	for range 8 { // it may be evicted between download and lease
		l, err = f.cache.acquire(ctx, file)
		if l != nil {
			if arrived.IsZero() {
				arrived = time.Now()
			}
			return l, read, arrived, nil
		}
		var n int64
		if err == nil {
			n, arrived, err = f.once(ctx, ref, file, t)
			read += n
		}
		if err != nil && isDiskError(err) && file.Size <= f.transfer.Memory {
			f.cache.logger.WarnContext(ctx, "the cache cannot store a file: it is loaded from memory",
				"model", ref.String(), "file", file.Path, "bytes", file.Size, "error", err)
			l, n, arrived, err = f.intoMemory(ctx, ref, file, t)
			read += n
		}
		switch {
		case l != nil:
			return l, read, arrived, nil
		case errors.Is(err, context.Canceled) && ctx.Err() == nil:
			// The caller who began the download left before the signature was there.
		case err != nil:
			return nil, read, arrived, fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	return nil, read, arrived, fmt.Errorf("%s: cache: evicted as often as it was fetched", file.Path)
}

// flightKey names a download: of one file, under one manifest, so that all who
// wait for it wait for the same signature.
type flightKey struct {
	ref model.Ref
	sum string
}

// flight is one download that several wait for.
type flight struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting int // under Fetcher.mu
	read    int64
	arrived time.Time
	err     error
}

// once joins the download of a file, or starts it. The download ends when
// nobody waits for it any more, and not with the first who asked.
func (f *Fetcher) once(ctx context.Context, ref model.Ref, file model.File, t *trust) (int64, time.Time, error) {
	key := flightKey{ref, file.SHA256}
	f.mu.Lock()
	fl := f.flights[key]
	if fl == nil {
		flying, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{done: make(chan struct{}), cancel: cancel}
		f.flights[key] = fl
		go func() {
			defer cancel()
			fl.read, fl.arrived, fl.err = f.fill(flying, ref, file, t)
			f.mu.Lock()
			if f.flights[key] == fl {
				delete(f.flights, key)
			}
			f.mu.Unlock()
			close(fl.done)
		}()
	}
	fl.waiting++
	f.mu.Unlock()

	select {
	case <-fl.done:
		return fl.read, fl.arrived, fl.err
	case <-ctx.Done():
		f.mu.Lock()
		fl.waiting--
		abandoned := fl.waiting == 0
		if abandoned && f.flights[key] == fl {
			delete(f.flights, key)
		}
		f.mu.Unlock()
		if abandoned {
			fl.cancel()
			<-fl.done // what it had written is gone when Fetch returns
		}
		return 0, time.Time{}, ctx.Err()
	}
}
