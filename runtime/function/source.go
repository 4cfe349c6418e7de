package function

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/pool"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// source implements pool.Source over S3 and ONNX Runtime.
type source struct {
	cfg      *config
	store    *artifact.Store
	policies *artifact.PolicyReader
	verifier *artifact.Verifier           // nil when no key is configured
	library  func() (*ort.Library, error) // started once, in the background
	fetcher  func() (*artifact.Fetcher, error)
}

// newSource checks what can be checked at once and begins starting ONNX
// Runtime, which takes as long as the first answers from S3.
func newSource(ctx context.Context, cfg *config, logger *slog.Logger) (*source, error) {
	store, err := artifact.NewStore(ctx, cfg.S3)
	if err != nil {
		return nil, err
	}
	var verifier *artifact.Verifier
	if cfg.PublicKeyFile != "" {
		if verifier, err = artifact.ReadVerifier(cfg.PublicKeyFile); err != nil {
			return nil, fmt.Errorf("MODELSERVE_PUBLIC_KEY_FILE: %w", err)
		}
	}
	cache, err := artifact.OpenCache(artifact.CacheConfig{Dir: cfg.CacheDir, MaxBytes: int64(cfg.CacheSize)})
	if err != nil {
		return nil, fmt.Errorf("MODELSERVE_CACHE_DIR: %w", err)
	}
	s := &source{
		cfg: cfg, store: store, verifier: verifier, library: sync.OnceValues(openLibrary),
		policies: artifact.NewPolicyReader(store, verifier, logger),
	}
	s.fetcher = sync.OnceValues(func() (*artifact.Fetcher, error) {
		library, err := s.library()
		if err != nil {
			return nil, err
		}
		target := artifact.Target{ONNXRuntime: library.Version(), Arch: runtime.GOARCH, CPU: ort.CPUFeatures()}
		return artifact.NewFetcher(store, cache, target, verifier, artifact.Transfer{}), nil
	})
	return s, nil
}

func openLibrary() (*ort.Library, error) {
	path, err := ort.FindLibrary()
	if err != nil {
		return nil, err
	}
	return ort.Open(path)
}

// close ends ONNX Runtime; every session has been closed before.
func (s *source) close() error {
	library, err := s.library()
	if err != nil {
		return nil //nolint:nilerr // it never started, and whoever needed it was told
	}
	return library.Close()
}

// Names implements pool.Source.
func (s *source) Names(ctx context.Context) ([]string, error) { return s.store.Names(ctx) }

// Versions implements pool.Source.
func (s *source) Versions(ctx context.Context, name string) ([]int, error) {
	return s.store.Versions(ctx, name)
}

// Policy says which version of a model a call is for that names none by its
// number. One that was altered is not followed, and the last good one stays in
// force.
func (s *source) Policy(ctx context.Context, name string) (*artifact.Policy, error) {
	return s.policies.Policy(ctx, name)
}

// Generation asks whether anything published changed since an earlier
// generation, which it returns when nothing did.
func (s *source) Generation(ctx context.Context, since string) (string, error) {
	return s.store.Generation(ctx, since)
}

// Describe implements pool.Source.
func (s *source) Describe(ctx context.Context, ref artifact.Ref) (*artifact.Manifest, string, error) {
	return s.store.SignedManifest(ctx, ref, s.verifier)
}

// Load implements pool.Source.
func (s *source) Load(ctx context.Context, ref artifact.Ref) (*pool.Loaded, error) {
	fetcher, err := s.fetcher()
	if err != nil {
		return nil, err
	}
	library, err := s.library()
	if err != nil {
		return nil, err
	}
	local, err := fetcher.Fetch(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer local.Release()
	began := time.Now()
	session, err := library.Open(local.Path, ort.Options{Threads: s.cfg.Threads})
	if err != nil {
		return nil, fmt.Errorf("create a session of %s: %w", ref, err)
	}
	return &pool.Loaded{
		Session:  session,
		Manifest: local.Manifest,
		Digest:   local.Digest,
		Device:   string(session.Device()),
		Timing: infer.Timing{
			Fetch:  local.Timing.Fetch,
			Verify: local.Timing.Verify,
			Load:   time.Since(began),
		},
	}, nil
}

// open opens a stored payload for a codec.
func (s *source) open(ctx context.Context, ref string) (io.ReadCloser, error) {
	return s.store.OpenInput(ctx, "ref", ref, int64(s.cfg.MaxBody))
}

// load brings the function's models into memory and says so to health; what
// fails is tried again, with the pool's backoff, for as long as ctx lasts. A
// function of every model is ready as soon as ONNX Runtime is.
func (s *source) load(ctx context.Context, models *pool.Pool, health *serve.Health, logger *slog.Logger) {
	health.Loading("starting ONNX Runtime")
	if _, err := s.library(); err != nil {
		logger.ErrorContext(ctx, "cannot start ONNX Runtime", "error", err)
		health.Fail(err.Error())
		return
	}
	for _, ref := range s.cfg.refs {
		health.Loading("loading model " + ref.String())
		for !s.loadOne(ctx, ref, models, health) {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}
	health.Ready()
}

func (s *source) loadOne(ctx context.Context, ref artifact.Ref, models *pool.Pool, health *serve.Health) bool {
	lease, err := models.Acquire(ctx, ref.Name, fmt.Sprint(ref.Version))
	if err == nil {
		lease.Release()
		return true
	}
	if ctx.Err() == nil { // the pool has logged it
		health.Fail(err.Error())
	}
	return false
}
