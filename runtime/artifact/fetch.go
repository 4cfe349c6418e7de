package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// Fetcher brings published versions onto this node. It is safe for concurrent
// use; a file that several ask for is downloaded once.
type Fetcher struct {
	store    *Store
	cache    *Cache
	verifier *Verifier
	target   Target
	transfer Transfer
	ranges   *semaphore.Weighted

	mu      sync.Mutex
	flights map[string]*flight // by sha256

	writer func(*os.File) io.Writer // where downloads go; tests make it fail
}

// NewFetcher makes a fetcher. target is this node's ONNX Runtime and CPU. With
// a verifier, unsigned and altered manifests are refused; nil checks none.
func NewFetcher(store *Store, cache *Cache, target Target, verifier *Verifier, transfer Transfer) *Fetcher {
	transfer = transfer.withDefaults()
	return &Fetcher{
		store: store, cache: cache, target: target, verifier: verifier, transfer: transfer,
		ranges:  semaphore.NewWeighted(int64(transfer.Ranges)),
		flights: map[string]*flight{},
		writer:  func(f *os.File) io.Writer { return f },
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
	return m, DigestOf(data), nil
}

// checkSignature reads and checks the signature of a manifest's bytes.
func (s *Store) checkSignature(ctx context.Context, ref Ref, manifest []byte, v *Verifier) error {
	if v == nil {
		return nil
	}
	signatures, err := s.read(ctx, ref.key(SignatureObject(manifest)), maxSignature)
	if errors.Is(err, errMissing) {
		err, signatures = nil, nil
	}
	if err == nil {
		err = v.Verify(manifest, signatures)
	}
	if err != nil {
		return unavailable(ref, fmt.Errorf("%s: %w", ManifestFile, err))
	}
	return nil
}

// Fetch brings a version's files into the cache and holds them there until the
// Local is released: the .ort file that fits this node, or else the model and
// its external data. Everything is verified by its hash, and the hashes by the
// manifest's signature.
//
// An unknown version is problem.ModelNotFound; one that cannot be had whole is
// problem.ModelUnavailable with file and reason, and leaves nothing behind.
func (f *Fetcher) Fetch(ctx context.Context, ref Ref) (*Local, error) {
	start := time.Now()
	m, data, err := f.store.manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	verifying := time.Now()
	if err := f.store.checkSignature(ctx, ref, data, f.verifier); err != nil {
		return nil, err
	}
	verify := time.Since(verifying)
	files, ort := m.choose(f.target)
	leases := make([]*lease, len(files))
	release := func() {
		for _, l := range leases {
			if l != nil {
				l.release()
			}
		}
	}
	var read atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(f.transfer.Ranges)
	for i, file := range files {
		g.Go(func() error {
			l, n, err := f.file(gctx, ref, file)
			read.Add(n)
			leases[i] = l
			return err
		})
	}
	if err := g.Wait(); err != nil {
		release()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, unavailable(ref, err)
	}
	local := &Local{
		Manifest: *m, Digest: DigestOf(data), ORT: ort, Path: leases[0].path,
		Timing: Timing{Fetch: time.Since(start) - verify, Verify: verify, Bytes: read.Load()},
	}
	if len(files) > 1 {
		dir, remove, err := f.cache.link(files, leases)
		if err != nil {
			release()
			return nil, unavailable(ref, err)
		}
		local.Path = filepath.Join(dir, files[0].Path)
		unlinked := release
		release = func() { remove(); unlinked() }
	}
	local.release = sync.OnceFunc(release)
	return local, nil
}

// file leases one file, downloading it when it is not there.
func (f *Fetcher) file(ctx context.Context, ref Ref, file File) (*lease, int64, error) {
	read := int64(0)
	for range 8 { // it may be evicted between download and lease
		l, err := f.cache.acquire(file)
		if l != nil || err != nil {
			return l, read, err
		}
		n, err := f.once(ctx, ref, file)
		read += n
		if err != nil {
			return nil, read, fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	return nil, read, fmt.Errorf("%s: cache: evicted as often as it was fetched", file.Path)
}

// flight is one download that several wait for.
type flight struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting int // under Fetcher.mu
	read    int64
	err     error
}

// once joins the download of a file, or starts it. The download ends when
// nobody waits for it any more, and not with the first who asked.
func (f *Fetcher) once(ctx context.Context, ref Ref, file File) (int64, error) {
	f.mu.Lock()
	fl := f.flights[file.SHA256]
	if fl == nil {
		flying, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{done: make(chan struct{}), cancel: cancel}
		f.flights[file.SHA256] = fl
		go func() {
			defer cancel()
			fl.read, fl.err = f.fill(flying, ref.key(file.Object), file)
			f.mu.Lock()
			if f.flights[file.SHA256] == fl {
				delete(f.flights, file.SHA256)
			}
			f.mu.Unlock()
			close(fl.done)
		}()
	}
	fl.waiting++
	f.mu.Unlock()

	select {
	case <-fl.done:
		return fl.read, fl.err
	case <-ctx.Done():
		f.mu.Lock()
		fl.waiting--
		abandoned := fl.waiting == 0
		if abandoned && f.flights[file.SHA256] == fl {
			delete(f.flights, file.SHA256)
		}
		f.mu.Unlock()
		if abandoned {
			fl.cancel()
			<-fl.done // what it had written is gone when Fetch returns
		}
		return 0, ctx.Err()
	}
}

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
		sum, err := f.download(ctx, ref.key(file.Object), file, io.Discard)
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
