package pool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Model implements serve.Repository.
func (p *Pool) Model(ctx context.Context, name, version string) (*serve.ModelInfo, error) {
	ref, err := p.resolve(ctx, name, version)
	if err != nil {
		return nil, err
	}
	versions, err := p.versionsOf(ctx, name)
	if err != nil {
		return nil, err
	}
	var info serve.ModelInfo
	if held := p.infoOf(ref); held != nil {
		info = *held
	} else {
		manifest, digest, err := p.source.Describe(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("describe model %s@%d: %w", ref.Name, ref.Version, err)
		}
		info = *describe(manifest, digest, p.cfg.Device)
	}
	info.ModelStatus = p.status(ref)
	info.Versions = nil // the held one knows of itself alone
	for _, v := range versions {
		info.Versions = append(info.Versions, strconv.Itoa(v))
	}
	return &info, nil
}

// Index implements serve.Repository.
func (p *Pool) Index(ctx context.Context) ([]serve.ModelStatus, error) {
	refs := slices.Clone(p.cfg.Models)
	if len(refs) == 0 {
		models, err := p.source.Names(ctx)
		if err != nil {
			return nil, fmt.Errorf("list models: %w", err)
		}
		for _, name := range models {
			versions, err := p.versionsOf(ctx, name)
			if problem.CodeOf(err) == problem.ModelNotFound {
				continue // deleted since the listing
			}
			if err != nil {
				return nil, err
			}
			for _, v := range versions {
				refs = append(refs, artifact.Ref{Name: name, Version: v})
			}
		}
	}
	slices.SortFunc(refs, func(a, b artifact.Ref) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), b.Version-a.Version)
	})
	out := make([]serve.ModelStatus, len(refs))
	for i, ref := range refs {
		out[i] = p.status(ref)
	}
	return out, nil
}

// Load implements serve.Repository.
func (p *Pool) Load(ctx context.Context, name string) error {
	l, err := p.Acquire(ctx, name, "")
	if err != nil {
		return err
	}
	l.Release()
	return nil
}

// Unload implements serve.Repository: every version of the model goes, those in
// use as soon as their last request has its answer.
func (p *Pool) Unload(ctx context.Context, name string) error {
	if _, err := p.versionsOf(ctx, name); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for ref, e := range p.entries {
		if ref.Name == name && !e.loading() {
			p.evict(e)
		}
	}
	return nil
}

// Stats implements serve.Repository.
func (p *Pool) Stats(ctx context.Context, name, version string) ([]serve.ModelStats, error) {
	if name != "" {
		ref, err := p.resolve(ctx, name, version)
		if err != nil {
			return nil, err
		}
		if version != "" {
			return []serve.ModelStats{p.statsOf(ref).snapshot()}, nil
		}
		p.statsOf(ref) // a model never called has counts too: zeros
	}
	p.mu.Lock()
	var used []*modelStats
	for ref, s := range p.stats {
		if name == "" || ref.Name == name {
			used = append(used, s)
		}
	}
	p.mu.Unlock()
	out := make([]serve.ModelStats, len(used))
	for i, s := range used {
		out[i] = s.snapshot()
	}
	slices.SortFunc(out, func(a, b serve.ModelStats) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	return out, nil
}

// maxStats bounds the versions whose runs are counted; past it the counts of
// versions not in memory are forgotten.
const maxStats = 4096

func (p *Pool) statsOf(ref artifact.Ref) *modelStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.stats[ref]; s != nil {
		return s
	}
	if len(p.stats) >= maxStats {
		for r := range p.stats {
			if p.entries[r] == nil {
				delete(p.stats, r)
			}
		}
	}
	s := &modelStats{
		total:   serve.ModelStats{Name: ref.Name, Version: strconv.Itoa(ref.Version)},
		batches: map[int]*serve.BatchStats{},
	}
	p.stats[ref] = s
	return s
}

func (p *Pool) infoOf(ref artifact.Ref) *serve.ModelInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[ref]; e != nil && !e.loading() {
		return e.info
	}
	return nil
}

// status tells whether a call would be answered: a version that is not loaded
// is ready, one whose last load failed is not until its next try.
func (p *Pool) status(ref artifact.Ref) serve.ModelStatus {
	s := serve.ModelStatus{Name: ref.Name, Version: strconv.Itoa(ref.Version), State: serve.Ready}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := p.entries[ref]; {
	case e == nil:
	case e.loading():
		s.State, s.Reason = serve.Loading, "the model is being fetched and loaded"
	case e.err != nil:
		s.State, s.Reason = serve.Unavailable, e.err.Error()
	}
	return s
}

// describe is a manifest as the server tells it.
func describe(m *artifact.Manifest, digest, device string) *serve.ModelInfo {
	version := strconv.Itoa(m.Version)
	return &serve.ModelInfo{
		ModelStatus: serve.ModelStatus{Name: m.Name, Version: version, State: serve.Ready},
		Versions:    []string{version},
		Platform:    m.Platform,
		Digest:      digest,
		Device:      device,
		Signature:   m.Signature,
		Metadata:    m.Metadata,
	}
}
