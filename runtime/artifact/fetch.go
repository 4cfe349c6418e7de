package artifact

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

// Fetcher brings published versions onto this node. It is safe for concurrent
// use; a file that several ask for is downloaded once.
type Fetcher struct {
	store    *Store
	cache    *Cache
	verifier *Verifier
	target   func() (Target, error)
	transfer Transfer
	ranges   *semaphore.Weighted
	buffers  sync.Pool // of *[]byte, pieceBytes long

	mu      sync.Mutex
	flights map[flightKey]*flight

	writer func(*os.File) io.WriterAt // where downloads go; tests make it fail
}

// NewFetcher makes a fetcher. Without a cache it keeps no file: each is held in
// memory for as long as it is used, up to transfer.Memory bytes. target is this node's ONNX Runtime and CPU. With
// a verifier, unsigned and altered manifests are refused; nil checks none.
func NewFetcher(store *Store, cache *Cache, target Target, verifier *Verifier, transfer Transfer) *Fetcher {
	return NewFetcherFor(store, cache, func() (Target, error) { return target, nil }, verifier, transfer)
}

// NewFetcherFor is NewFetcher for a node whose ONNX Runtime is still starting:
// target is asked, and may be waited for, while a manifest is on its way.
func NewFetcherFor(store *Store, cache *Cache, target func() (Target, error), verifier *Verifier, transfer Transfer) *Fetcher {
	transfer = transfer.withDefaults()
	return &Fetcher{
		store: store, cache: cache, target: target, verifier: verifier, transfer: transfer,
		ranges:  semaphore.NewWeighted(int64(transfer.Ranges)),
		flights: map[flightKey]*flight{},
		writer:  func(f *os.File) io.WriterAt { return f },
	}
}

// Manifest reads a version's manifest and digest, and checks its signature
// where the fetcher has a verifier.
func (f *Fetcher) Manifest(ctx context.Context, ref Ref) (*Manifest, string, error) {
	return f.store.SignedManifest(ctx, ref, f.verifier)
}

// SignedManifest is Manifest, and refuses what v does not accept; a nil v
// accepts everything.
func (s *Store) SignedManifest(ctx context.Context, ref Ref, v *Verifier) (*Manifest, string, error) {
	m, data, err := s.manifest(ctx, ref)
	if err != nil {
		return nil, "", err
	}
	if err := s.checkSignature(ctx, ref, data, v); err != nil {
		return nil, "", err
	}
	return m, model.DigestOf(data), nil
}

// checkSignature reads and checks the signature of a manifest's bytes.
func (s *Store) checkSignature(ctx context.Context, ref Ref, manifest []byte, v *Verifier) error {
	if v == nil {
		return nil
	}
	signatures, err := s.read(ctx, keyOf(ref, signatureObject(manifest)), sign.MaxSignatures)
	if errors.Is(err, errMissing) {
		err, signatures = nil, nil
	}
	if err == nil {
		if err = v.Verify(manifest, signatures); err != nil {
			err = model.Permanent(err)
		}
	}
	if err != nil {
		return model.Unavailable(ref, fmt.Errorf("%s: %w", ManifestFile, err))
	}
	return nil
}

// Fetch brings a version's files onto this node and holds them there until the
// Local is released: the .ort file that fits, or else the model and its external
// data. Everything is verified by its hash, and the hashes by the manifest's
// signature, which is read while the files are and decides before any of them
// is kept.
//
// An unknown version is problem.ModelNotFound; one that cannot be had whole is
// problem.ModelUnavailable with file and reason, and leaves nothing behind.
func (f *Fetcher) Fetch(ctx context.Context, ref Ref) (*Local, error) {
	start := time.Now()
	m, data, err := f.store.manifest(ctx, ref)
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
	local := &Local{Manifest: *m, Digest: model.DigestOf(data), ORT: ort, Path: got.leases[0].path, leases: got.leases}
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
func (f *Fetcher) files(ctx context.Context, ref Ref, manifest []byte, files []File) (*fetched, error) {
	got := &fetched{leases: make([]*lease, len(files))}
	arrivals, reads := make([]time.Time, len(files)), make([]int64, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(f.transfer.Ranges + 1)
	t := &trust{done: make(chan struct{})}
	g.Go(func() error {
		defer close(t.done)
		t.err = f.store.checkSignature(gctx, ref, manifest, f.verifier)
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

// trust is what is not known yet of a manifest: whether its signature holds.
type trust struct {
	done chan struct{}
	err  error // set before done is closed
}

// wait returns nil once the signature holds.
func (t *trust) wait(ctx context.Context) error {
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// file leases one file, downloading it when it is not there. Where the disk
// takes none, it is held in memory.
func (f *Fetcher) file(ctx context.Context, ref Ref, file File, t *trust) (l *lease, read int64, arrived time.Time, err error) {
	if f.cache == nil {
		return f.unkept(ctx, ref, file, t)
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
		if err != nil && diskTrouble(err) && file.Size <= f.transfer.Memory {
			f.cache.logger.WarnContext(ctx, "the cache takes no file: it is loaded from memory",
				"model", ref.String(), "file", file.Path, "bytes", file.Size, "error", err)
			l, n, arrived, err = f.intoMemory(ctx, keyOf(ref, file.Object), file, t)
			read += n
		}
		switch {
		case l != nil:
			return l, read, arrived, nil
		case errors.Is(err, context.Canceled) && ctx.Err() == nil:
			// Whoever began the download left before the signature was there.
		case err != nil:
			return nil, read, arrived, fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	return nil, read, arrived, fmt.Errorf("%s: cache: evicted as often as it was fetched", file.Path)
}

// flightKey names a download: of one file, under one manifest, so that all who
// wait for it wait for the same signature.
type flightKey struct {
	ref Ref
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
func (f *Fetcher) once(ctx context.Context, ref Ref, file File, t *trust) (int64, time.Time, error) {
	key := flightKey{ref, file.SHA256}
	f.mu.Lock()
	fl := f.flights[key]
	if fl == nil {
		flying, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{done: make(chan struct{}), cancel: cancel}
		f.flights[key] = fl
		go func() {
			defer cancel()
			fl.read, fl.arrived, fl.err = f.fill(flying, keyOf(ref, file.Object), file, t)
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

// nowhere is where bytes go that are only to be hashed.
type nowhere struct{}

// WriteAt implements io.WriterAt.
func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// FileFault is what Verify found wrong with one file.
type FileFault struct {
	Path   string
	Reason error
}

// Verify reads every file of a version from S3 and compares it with the
// manifest, whose signature it checks with v unless that is nil. An empty list
// means that all is as it was published.
func (s *Store) Verify(ctx context.Context, ref Ref, v *Verifier) ([]FileFault, error) {
	m, data, err := s.manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	var faults []FileFault
	if err := s.checkSignature(ctx, ref, data, v); err != nil {
		faults = append(faults, FileFault{Path: ManifestFile, Reason: err})
	}
	f := NewFetcher(s, nil, Target{}, v, Transfer{})
	for _, file := range m.Files {
		sum, _, err := f.download(ctx, keyOf(ref, file.Object), file, nowhere{})
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			faults = append(faults, FileFault{Path: file.Path, Reason: err})
		case sum != file.SHA256:
			faults = append(faults, FileFault{
				Path: file.Path, Reason: fmt.Errorf("altered: sha256 %s, expected %s", sum, file.SHA256),
			})
		}
	}
	return faults, nil
}
