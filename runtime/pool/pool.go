// Package pool keeps models loaded in one process and runs them: it finds the
// version a call is for, loads it once however many ask, holds it while a
// request uses it, lets the least recently used go when memory is short, and
// bounds how many runs are under way and waiting.
//
// A newer version loads beside the one it replaces, which answers meanwhile;
// when it has warmed up it takes over between two requests. One that fails to
// load never does.
//
// It implements serve.Backend and serve.Repository. It knows neither S3 nor
// ONNX Runtime: a Loader hands it Sessions.
package pool

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/internal/nice"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/batch"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// Catalog lists and describes what is published.
type Catalog interface {
	// Names lists the published models.
	Names(ctx context.Context) ([]string, error)

	// Versions lists a model's published versions, newest first; none is
	// problem.ModelNotFound. What is in memory under another tag than the listed
	// one goes; no tag is one that nobody knows.
	Versions(ctx context.Context, name string) ([]model.Listed, error)

	// Policy is which of them answers a call that names none; a model without one
	// has the zero Policy.
	Policy(ctx context.Context, name string) (*model.Policy, error)

	// Describe reads a version's manifest and its digest.
	Describe(ctx context.Context, ref model.Ref) (*model.Manifest, string, error)

	// Generation names the catalog's present state: it is another one after
	// every change of a version or a policy, and since when there was none. It
	// is cheap. "" is a catalog that cannot report changes.
	Generation(ctx context.Context, since string) (now string, err error)
}

// Loader brings versions into memory.
type Loader interface {
	// Load fetches a version and makes it ready to run. It calls admit once, when
	// the files are there and before they take memory; admit waits for free memory,
	// and its error ends the load.
	Load(ctx context.Context, ref model.Ref, admit Admit) (*Loaded, error)
}

// Admit reserves memory for the version that a manifest describes.
type Admit func(*model.Manifest) error

// Session runs one loaded model. Run may be called from many goroutines; the
// outputs are valid until release is called.
//
// One that knows the bytes it takes has a method Memory() int64 too, and one that
// keeps memory for later runs has Trim(), which gives it back.
type Session interface {
	Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) (results []infer.Tensor, release func(), err error)
	Close() error
}

// Loaded is a version ready to run.
type Loaded struct {
	Session  Session
	Manifest model.Manifest
	Digest   string
	Device   string
	Timing   infer.Timing // Fetch, Verify and Load

	DeviceReason string // why it is not a device that would have been better
}

// Config bounds a pool.
type Config struct {
	// Models are the versions to serve, which stay in memory once loaded; empty
	// serves whatever is published.
	Models []model.Ref

	Memory    int64         // bytes that all versions in memory may take; 0 is no bound
	MaxLoaded int           // versions in memory at once, and loads at once
	Slots     int           // runs at once, of all models together
	Queue     int           // requests of one version waiting for a run; more are refused
	LoadLimit time.Duration // one load may take this long
	MaxOutput int64         // bytes of one answer; 0 is no bound
	Device    string        // where models run: "cpu"

	Registerer prometheus.Registerer // of the pool's metrics; nil is none
}

// Pool is the models of one process.
type Pool struct {
	cfg     Config
	pinned  map[model.Ref]bool // Config.Models
	catalog Catalog
	loader  Loader
	logger  *slog.Logger
	runs    *batch.Scheduler
	metrics *metrics

	ctx    context.Context //nolint:containedctx // the pool's own life, which loads outlive callers by
	cancel context.CancelFunc
	work   sync.WaitGroup // loads, unloads, listings and leases

	mu       sync.Mutex
	closed   bool
	entries  map[model.Ref]*entry
	loads    int  // under way
	trimming bool // someone looks for idle versions
	memory   ledger
	models   map[string]*served
	flights  map[string]*flight // listings under way, by name
	notice   notice
	stats    map[model.Ref]*modelStats
}

// New makes an empty pool.
func New(cfg Config, catalog Catalog, loader Loader, logger *slog.Logger) (*Pool, error) {
	switch {
	case cfg.MaxLoaded < 1:
		return nil, errors.New("pool: MaxLoaded must be at least 1")
	case cfg.Memory < 0:
		return nil, errors.New("pool: Memory must not be negative")
	case cfg.Slots < 1:
		return nil, errors.New("pool: Slots must be at least 1")
	case cfg.Queue < 0:
		return nil, errors.New("pool: Queue must not be negative")
	case cfg.MaxOutput < 0:
		return nil, errors.New("pool: MaxOutput must not be negative")
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pool{
		cfg:     cfg,
		pinned:  map[model.Ref]bool{},
		catalog: catalog,
		loader:  loader,
		logger:  logger,
		ctx:     ctx,
		cancel:  cancel,
		entries: map[model.Ref]*entry{},
		memory:  ledger{budget: cfg.Memory, most: cfg.MaxLoaded, changed: make(chan struct{})},
		models:  map[string]*served{},
		flights: map[string]*flight{},
		stats:   map[model.Ref]*modelStats{},
	}
	for _, ref := range cfg.Models {
		p.pinned[ref] = true
	}
	var err error
	if p.metrics, err = newMetrics(cfg.Registerer, p); err == nil {
		p.runs, err = newScheduler(cfg)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return p, nil
}

// brief is how long a run takes that goes beside the slots, so that a tenant with few and
// short calls does not wait for others' long runs. A run of another that lasts a tenth of
// a second is longer by a twentieth then.
const brief = 5 * time.Millisecond

func newScheduler(cfg Config) (*batch.Scheduler, error) {
	measures, err := batch.NewMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	return batch.New(batch.Config{
		Slots: cfg.Slots, Brief: brief, Long: nice.New(cfg.Slots + 1), Queue: cfg.Queue, Metrics: measures,
	})
}

// spawn runs f as the pool's own work. It is called under Pool.mu, and reports
// whether the pool still takes work.
func (p *Pool) spawn(f func()) bool {
	if p.closed {
		return false
	}
	p.work.Go(f)
	return true
}

func errStopping() error {
	return problem.New(problem.Unavailable, "this server is stopping; call again")
}

// Close unloads everything and waits for loads under way and leases held.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	for _, e := range p.entries {
		p.evict(e, "")
	}
	p.mu.Unlock()
	p.cancel()
	p.work.Wait()
	p.runs.Close()
}
