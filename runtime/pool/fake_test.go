package pool_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
)

// errGone is what every call to the storage gets while it is gone.
var errGone = errors.New("S3 unreachable")

// source publishes models that give a float back, and counts what is done to
// them. Its maps are changed under mu.
type source struct {
	mu         sync.Mutex
	versions   map[string][]int
	tags       map[model.Ref]string // of versions; "" where nothing is
	policies   map[string]*model.Policy
	generation int  // 0 is a catalog that cannot report changes
	gone       bool // no call is answered
	fail       map[model.Ref]error
	breaks     map[model.Ref]error // what runs after the first give; errShape gives a wrong shape
	sizes      map[model.Ref]int64 // of the manifests; 1 where nothing is
	grown      map[model.Ref]int64 // what sessions take, where that is another figure
	loads      map[model.Ref]int
	listed     int
	asked      int
	resident   int64 // estimates of what is between admission and close
	peak       int64
	closed     []model.Ref // in order
	trimmed    []string    // likewise, the names

	open    atomic.Int64
	delay   time.Duration // of a load, half before it is admitted
	runTime time.Duration
}

var errShape = errors.New("a wrong shape")

func newSource() *source {
	return &source{
		versions:   map[string][]int{"a": {2, 1}, "b": {1}, "c": {1}},
		tags:       map[model.Ref]string{},
		policies:   map[string]*model.Policy{},
		generation: 1,
		fail:       map[model.Ref]error{},
		breaks:     map[model.Ref]error{},
		sizes:      map[model.Ref]int64{},
		grown:      map[model.Ref]int64{},
		loads:      map[model.Ref]int{},
		delay:      time.Second,
		runTime:    10 * time.Millisecond,
	}
}

// change changes what is published.
func (s *source) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	if s.generation > 0 {
		s.generation++
	}
}

// publish sets a model's versions, newest first.
func (s *source) publish(name string, versions ...int) {
	s.change(func() { s.versions[name] = versions })
}

// answers is whether the storage does; when it is gone, that takes a while to
// see.
func (s *source) answers(ctx context.Context) error {
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	if !gone {
		return nil
	}
	select {
	case <-time.After(3 * time.Second):
		return errGone
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *source) Names(ctx context.Context) ([]string, error) {
	if err := s.answers(ctx); err != nil {
		return nil, err
	}
	return []string{"a", "b", "c"}, nil
}

func (s *source) Versions(ctx context.Context, name string) ([]model.Listed, error) {
	if err := s.answers(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed++
	if len(s.versions[name]) == 0 {
		return nil, problem.New(problem.ModelNotFound, "model %q is not published", name)
	}
	var listed []model.Listed
	for _, v := range s.versions[name] {
		listed = append(listed, model.Listed{Version: v, Tag: s.tags[model.Ref{Name: name, Version: v}]})
	}
	return listed, nil
}

func (s *source) Policy(ctx context.Context, name string) (*model.Policy, error) {
	if err := s.answers(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.policies[name]; p != nil {
		return p, nil
	}
	return new(model.Policy), nil
}

func (s *source) Generation(ctx context.Context, _ string) (string, error) {
	if err := s.answers(ctx); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.generation == 0 {
		return "", nil
	}
	return strconv.Itoa(s.generation), nil
}

func (s *source) Describe(_ context.Context, ref model.Ref) (*model.Manifest, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	axis := 0
	spec := []infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{infer.Dynamic, 1}}}
	size, ok := s.sizes[ref]
	if !ok {
		size = 1
	}
	return &model.Manifest{
		Name: ref.Name, Version: ref.Version, Platform: "onnxruntime_onnx",
		Signature: infer.Signature{Inputs: spec, Outputs: []infer.TensorSpec{{Name: "y", DataType: infer.FP32, Shape: []int64{infer.Dynamic, 1}}}, BatchAxis: &axis},
		Files: []model.File{
			{Path: "model.onnx", Size: size},
			{Path: "model.ort", Size: 1 << 40, Optimized: &model.Target{}},
		},
	}, "sha256:" + ref.Name + strconv.Itoa(ref.Version) + s.tags[ref], nil
}

func (s *source) Load(ctx context.Context, ref model.Ref, admit pool.Admit) (*pool.Loaded, error) {
	s.mu.Lock()
	s.loads[ref]++
	err := s.fail[ref]
	if s.gone {
		err = errGone
	}
	s.mu.Unlock()
	select {
	case <-time.After(s.delay / 2):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	manifest, digest, _ := s.Describe(ctx, ref)
	if err := admit(manifest); err != nil {
		return nil, err
	}
	size := manifest.Files[0].Size
	s.mu.Lock()
	s.resident += size
	s.peak = max(s.peak, s.resident)
	s.mu.Unlock()
	select {
	case <-time.After(s.delay - s.delay/2):
	case <-ctx.Done():
		s.mu.Lock()
		s.resident -= size
		s.mu.Unlock()
		return nil, ctx.Err()
	}
	s.open.Add(1)
	return &pool.Loaded{
		Session: &session{source: s, ref: ref, size: size}, Manifest: *manifest, Digest: digest, Device: "cpu",
		Timing: infer.Timing{Load: s.delay},
	}, nil
}

func (s *source) loadsOf(ref model.Ref) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads[ref]
}

type session struct {
	source *source
	ref    model.Ref
	size   int64
	closed atomic.Bool
	runs   atomic.Int64
	ran    atomic.Bool
}

func (s *session) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	s.runs.Add(1)
	defer s.runs.Add(-1)
	select {
	case <-time.After(s.source.runTime):
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if s.closed.Load() {
		return nil, nil, errors.New("run on a closed session")
	}
	y := inputs[0]
	y.Name = "y"
	s.source.mu.Lock()
	err := s.source.breaks[s.ref]
	s.source.mu.Unlock()
	switch {
	case errors.Is(err, errShape):
		y.Shape = []int64{1, 1, 1}
	case err != nil && s.ran.Load():
		return nil, nil, err
	}
	s.ran.Store(true)
	return []infer.Tensor{y}, func() {}, nil
}

// Memory is what the session takes, as the pool sees.
func (s *session) Memory() int64 {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	if grown, ok := s.source.grown[s.ref]; ok {
		return grown
	}
	return s.size
}

// Trim takes the session back to its own size.
func (s *session) Trim() {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	delete(s.source.grown, s.ref)
	s.source.trimmed = append(s.source.trimmed, s.ref.Name)
}

func (s *session) Close() error {
	if s.runs.Load() != 0 {
		return errors.New("closed under a run")
	}
	if s.closed.Swap(true) {
		return errors.New("closed twice")
	}
	s.source.mu.Lock()
	s.source.resident -= s.size
	s.source.closed = append(s.source.closed, s.ref)
	s.source.mu.Unlock()
	s.source.open.Add(-1)
	return nil
}

func newPool(t *testing.T, src *source, change func(*pool.Config)) *pool.Pool {
	t.Helper()
	return newPoolOf(t, src, change)
}

func newPoolOf(t *testing.T, src interface {
	pool.Catalog
	pool.Loader
}, change func(*pool.Config),
) *pool.Pool {
	t.Helper()
	cfg := pool.Config{MaxLoaded: 2, Slots: 2, Queue: 4, LoadLimit: time.Minute, Device: "cpu"}
	if change != nil {
		change(&cfg)
	}
	p, err := pool.New(cfg, src, src, slog.New(failing{slog.DiscardHandler, t}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// failing fails the test when a session could not be closed: it was used, or
// closed twice.
type failing struct {
	slog.Handler
	t *testing.T
}

func (f failing) Enabled(context.Context, slog.Level) bool { return true }

func (f failing) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "cannot unload a model" {
		r.Attrs(func(a slog.Attr) bool { f.t.Error(r.Message, a); return true })
	}
	return nil
}

func call(ctx context.Context, p *pool.Pool, name, version string) (*infer.Response, error) {
	lease, err := p.Acquire(ctx, name, version)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	return lease.Run(ctx, &infer.Request{
		Model: name, Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1, 1}, []float32{21})},
	})
}

// answered is the version that answered a call; the test fails without one.
func answered(t *testing.T, p *pool.Pool, name, version string) string {
	t.Helper()
	res, err := call(t.Context(), p, name, version)
	if err != nil {
		t.Fatalf("%s@%s: %v", name, version, err)
	}
	return res.Version
}

// newest is a model's newest version, as answers have it.
func (s *source) newest(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strconv.Itoa(s.versions[name][0])
}
