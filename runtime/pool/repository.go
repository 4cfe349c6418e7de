package pool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Model implements serve.Repository. In a split it describes the first version.
func (p *Pool) Model(ctx context.Context, name, version string) (*serve.ModelInfo, error) {
	c, err := p.resolve(ctx, name, version, false)
	if err != nil {
		return nil, err
	}
	if c, err = c.from.pick(version, func(int) int { return 0 }); err != nil {
		return nil, err
	}
	var info serve.ModelInfo
	ref, held := p.answering(c)
	if held != nil {
		info = *held
	} else {
		manifest, digest, err := p.catalog.Describe(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("describe model %s: %w", ref, err)
		}
		info = *describe(manifest, digest, p.cfg.Device)
	}
	info.ModelStatus = p.status(ref)
	info.Versions = nil // the held one knows of itself alone
	for _, v := range c.from.versions {
		info.Versions = append(info.Versions, strconv.Itoa(v))
	}
	return &info, nil
}

// answering is the version that a call would get, with what is known of it in
// memory.
func (p *Pool) answering(c choice) (model.Ref, *serve.ModelInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[c.ref]; e.ready() {
		return c.ref, e.info
	}
	if before, ok := p.before(c); ok && p.entries[before].ready() {
		return before, p.entries[before].info
	}
	return c.ref, nil
}

// Index implements serve.Repository.
func (p *Pool) Index(ctx context.Context) ([]serve.ModelStatus, error) {
	refs := slices.Clone(p.cfg.Models)
	if !p.static() {
		var err error
		if refs, err = p.published(ctx); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(refs, func(a, b model.Ref) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), b.Version-a.Version)
	})
	out := make([]serve.ModelStatus, len(refs))
	for i, ref := range refs {
		out[i] = p.status(ref)
	}
	return out, nil
}

// published lists every version there is.
func (p *Pool) published(ctx context.Context) ([]model.Ref, error) {
	models, err := p.catalog.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	versions := make([][]int, len(models))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(renewals)
	for i, name := range models {
		g.Go(func() error {
			l, err := p.listingOf(ctx, name, false)
			if problem.CodeOf(err) == problem.ModelNotFound {
				return nil // deleted since the listing
			}
			if err == nil {
				versions[i] = l.versions
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var refs []model.Ref
	for i, name := range models {
		for _, v := range versions[i] {
			refs = append(refs, model.Ref{Name: name, Version: v})
		}
	}
	return refs, nil
}

// Load implements serve.Repository: every version that calls without one get is
// loaded when it returns, by what is published now.
func (p *Pool) Load(ctx context.Context, name string) error {
	c, err := p.resolve(ctx, name, "", true)
	if err != nil {
		return err
	}
	c.wait = true
	for _, v := range c.from.reach("") {
		c.ref.Version = v
		held, err := p.acquire(ctx, c)
		if err != nil {
			return err
		}
		held.Release()
	}
	return nil
}

// Unload implements serve.Repository: every version of the model goes, those in
// use as soon as their last request has its answer.
func (p *Pool) Unload(ctx context.Context, name string) error {
	if _, err := p.listingOf(ctx, name, false); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for ref, e := range p.entries {
		if ref.Name == name && (!e.loading() || e.leases == 0) {
			p.evict(e, evictedUnload)
		}
	}
	return nil
}

// Stats implements serve.Repository.
func (p *Pool) Stats(ctx context.Context, name, version string) ([]serve.ModelStats, error) {
	if name != "" {
		c, err := p.resolve(ctx, name, version, false)
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		s := p.statsOf(c.ref) // a model never called has counts too: zeros
		p.mu.Unlock()
		if version != "" {
			return []serve.ModelStats{s.snapshot()}, nil
		}
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

// statsOf is what counts a version's runs. It is called under Pool.mu.
func (p *Pool) statsOf(ref model.Ref) *modelStats {
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

// status reports whether a call would be answered: a version that is not loaded
// is ready, one whose last load failed is not until its next try.
func (p *Pool) status(ref model.Ref) serve.ModelStatus {
	s := serve.ModelStatus{Name: ref.Name, Version: strconv.Itoa(ref.Version), State: serve.Ready}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := p.entries[ref]; {
	case e == nil:
	case e.loading():
		s.State, s.Reason = serve.Loading, "the model is being fetched and loaded"
	case e.err != nil:
		s.State, s.Reason = serve.Unavailable, problem.Reason(e.err)
	}
	return s
}

// describe is a manifest as the server describes it.
func describe(m *model.Manifest, digest, device string) *serve.ModelInfo {
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
