package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/cache"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/pool"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// source implements pool.Catalog and pool.Loader over S3 and ONNX Runtime.
type source struct {
	cfg      *config
	memory   *budget
	store    *artifact.Store
	policies *artifact.PolicyReader
	verifier *sign.Verifier               // nil when no key is configured
	library  func() (*ort.Library, error) // started once, in the background
	device   *device
	cache    *cache.Cache // nil when no files are kept
	fetcher  *cache.Fetcher
	logger   *slog.Logger
}

// newSource checks what can be checked at once and begins starting ONNX
// Runtime, which takes as long as the first answers from S3.
func newSource(ctx context.Context, cfg *config, memory *budget, tel *telemetry.Telemetry) (*source, error) {
	store, err := artifact.NewStore(ctx, cfg.S3)
	if err != nil {
		return nil, err
	}
	verifier, err := cfg.Trust.Verifier(ctx, tel.Logger)
	if err != nil {
		return nil, err
	}
	var files *cache.Cache
	if cfg.CacheDir != noCache {
		files, err = cache.Open(cache.Config{Dir: cfg.CacheDir, MaxBytes: int64(cfg.CacheSize), Logger: tel.Logger})
		if err != nil {
			return nil, fmt.Errorf("MODELSERVE_CACHE_DIR: %w", err)
		}
	}
	policies := artifact.NewPolicyReader(store, verifier, tel.Logger)
	keepPolicies(policies, files, tel.Logger)
	s := &source{
		cfg: cfg, memory: memory, store: store, verifier: verifier, cache: files,
		library:  sync.OnceValues(func() (*ort.Library, error) { return openLibrary(memory, tel.Logger) }),
		policies: policies, logger: tel.Logger,
	}
	s.device = newDevice(cfg, memory, s.library, tel.Registry, tel.Logger)
	target := func() (model.Target, error) {
		library, err := s.library()
		if err != nil {
			return model.Target{}, err
		}
		choice, err := s.device.choose()
		if err != nil {
			return model.Target{}, err
		}
		if choice.Device.IsGPU() {
			return model.Target{}, nil // no .ort file fits: each was optimised for a CPU
		}
		return model.Target{ONNXRuntime: library.Version(), Arch: runtime.GOARCH, CPU: ort.CPUFeatures()}, nil
	}
	s.fetcher = cache.NewFetcherFor(store, files, target, verifier, cache.Transfer{Memory: int64(cfg.CacheMemory)})
	go func() { _, _ = s.library() }() // close waits for it, and whoever needs it gets the error
	return s, nil
}

// keepPolicies has the newest policies kept beside the models' files. A function that
// keeps no files, or whose disk takes none, begins with what it finds in S3.
func keepPolicies(policies *artifact.PolicyReader, files *cache.Cache, logger *slog.Logger) {
	if files == nil {
		return
	}
	dir, err := files.Folder("policies")
	if err == nil {
		var kept *artifact.PolicyFolder
		if kept, err = artifact.NewPolicyFolder(dir); err == nil {
			policies.Keeping(kept)
			return
		}
	}
	logger.Warn("the newest policies are not kept", "error", err)
}

func openLibrary(memory *budget, logger *slog.Logger) (*ort.Library, error) {
	path, err := ort.FindLibrary()
	if err != nil {
		return nil, err
	}
	library, err := ort.Open(path)
	if err != nil {
		return nil, err
	}
	library.LimitMemory(memory.models)
	if why := library.Locale(); why != nil {
		logger.Warn("text models may answer otherwise than on other servers", "error", why)
	}
	return library, nil
}

// syncLimit is how long a process that ends waits until what it fetched is synced
// to the disk. What is not is hashed before it is used again.
const syncLimit = 5 * time.Second

// close ends ONNX Runtime; every session has been closed before.
func (s *source) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), syncLimit)
	defer cancel()
	var unsynced error
	if s.cache != nil {
		unsynced = s.cache.Close(ctx)
	}
	library, err := s.library()
	if err != nil {
		return unsynced // it never started, and whoever needed it got the error
	}
	return errors.Join(unsynced, library.Close())
}

// Names implements pool.Catalog.
func (s *source) Names(ctx context.Context) ([]string, error) { return s.store.Names(ctx) }

// Versions implements pool.Catalog.
func (s *source) Versions(ctx context.Context, name string) ([]model.Listed, error) {
	return s.store.Tagged(ctx, name)
}

// Policy is which version of a model a call is for that names none by its number.
// One that was altered is not followed, and the last good one stays in force.
func (s *source) Policy(ctx context.Context, name string) (*model.Policy, error) {
	return s.policies.Policy(ctx, name)
}

// Generation asks whether anything published changed since an earlier
// generation, which it returns when nothing did.
func (s *source) Generation(ctx context.Context, since string) (string, error) {
	return s.store.Generation(ctx, since)
}

// Describe implements pool.Catalog.
func (s *source) Describe(ctx context.Context, ref model.Ref) (*model.Manifest, string, error) {
	return s.fetcher.Manifest(ctx, ref)
}

// Load implements pool.Loader.
func (s *source) Load(ctx context.Context, ref model.Ref, admit pool.Admit) (*pool.Loaded, error) {
	local, err := s.fetcher.Fetch(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer local.Release()
	if err := admit(&local.Manifest); err != nil {
		return nil, err
	}
	library, err := s.library() // Fetch has waited for it
	if err != nil {
		return nil, err
	}
	began := time.Now()
	path, done, err := s.ready(library, local)
	defer done()
	if err != nil {
		return nil, err
	}
	session, reason, err := s.device.open(library, path, &local.Manifest, s.cfg.Threads)
	if err != nil {
		local.Suspect()
		return nil, fmt.Errorf("%w of %s: %w (%s)", errSession, ref, err, local.Place)
	}
	return &pool.Loaded{
		Session:      session,
		Manifest:     local.Manifest,
		Digest:       local.Digest,
		Device:       string(session.Device()),
		DeviceReason: reason,
		Timing: infer.Timing{
			Fetch:  local.Timing.Fetch,
			Verify: local.Timing.Verify,
			Load:   local.Timing.Target + time.Since(began),
		},
	}, nil
}

// open opens what a tenant stored for a codec.
func (s *source) open(ctx context.Context, tenant, field, ref string) (io.ReadCloser, error) {
	return s.store.OpenInput(ctx, artifact.Asked{Field: field, Ref: ref, Tenant: tenant, Shared: s.cfg.SharedInputs, Most: s.memory.maxBody})
}

// load brings the function's models into memory. What fails and may yet succeed,
// as while S3 cannot be reached, is tried again, with the pool's backoff, for as
// long as ctx lasts; waiting is called with its error each time, and nil when it did
// succeed. The error returned is of what cannot. A function of every model needs
// ONNX Runtime only.
func (s *source) load(ctx context.Context, models *pool.Pool, waiting func(error)) error {
	if len(s.cfg.refs) == 0 {
		return s.started()
	}
	for _, ref := range s.cfg.refs {
		if err := s.loadOne(ctx, ref, models, waiting); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// started waits for ONNX Runtime and its device. That either cannot be had
// stays so.
func (s *source) started() error {
	_, err := s.library()
	if err == nil {
		_, err = s.device.choose()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errStart, err)
	}
	return nil
}

// loadOne loads a model. It returns nil once that is there or ctx has ended.
func (s *source) loadOne(ctx context.Context, ref model.Ref, models *pool.Pool, waiting func(error)) error {
	began := time.Now()
	for tries := 1; ; tries++ {
		lease, err := models.Acquire(ctx, ref.Name, fmt.Sprint(ref.Version))
		if err == nil {
			lease.Release()
			if tries > 1 {
				waiting(nil)
			}
			return nil
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the process is to end
		}
		if failed := s.started(); failed != nil {
			err = failed
		}
		if isPermanent(err, tries, time.Since(began)) {
			return err
		}
		waiting(err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}
