package pool

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// maxListings bounds the names whose versions are remembered.
const maxListings = 4096

// listing is a model's versions, newest first, as of a moment.
type listing struct {
	versions []int
	read     time.Time
}

// resolve turns what a request names into one version.
func (p *Pool) resolve(ctx context.Context, name, version string) (artifact.Ref, error) {
	name, err := infer.ParseName(name)
	if err != nil {
		return artifact.Ref{}, err
	}
	versions, err := p.versionsOf(ctx, name)
	if err != nil {
		return artifact.Ref{}, err
	}
	if version == "" {
		return artifact.Ref{Name: name, Version: versions[0]}, nil
	}
	n, err := infer.ParseVersion(version)
	if err != nil {
		return artifact.Ref{}, err
	}
	if !slices.Contains(versions, n) {
		return artifact.Ref{}, problem.New(problem.ModelNotFound, "model %q has no version %d here; it has %s", name, n, list(versions))
	}
	return artifact.Ref{Name: name, Version: n}, nil
}

// versionsOf is a model's versions callable here, newest first, at least one.
func (p *Pool) versionsOf(ctx context.Context, name string) ([]int, error) {
	if len(p.cfg.Models) > 0 {
		var versions []int
		for _, ref := range p.cfg.Models {
			if ref.Name == name {
				versions = append(versions, ref.Version)
			}
		}
		if versions == nil {
			return nil, problem.New(problem.ModelNotFound, "model %q is not served here", name)
		}
		slices.SortFunc(versions, func(a, b int) int { return b - a })
		return versions, nil
	}
	p.mu.Lock()
	known, ok := p.versions[name]
	p.mu.Unlock()
	if ok && time.Since(known.read) < p.cfg.Fresh {
		return known.versions, nil
	}
	// One listing serves everyone who asks meanwhile; it must not die with the
	// caller that happened to come first.
	v, err, _ := p.listings.Do(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.LoadLimit)
		defer cancel()
		return p.list(ctx, name)
	})
	if err != nil {
		return nil, err
	}
	versions, _ := v.([]int)
	return versions, nil
}

func (p *Pool) list(ctx context.Context, name string) ([]int, error) {
	versions, err := p.source.Versions(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("list versions of model %q: %w", name, err)
	}
	if len(versions) == 0 {
		return nil, problem.New(problem.ModelNotFound, "no model %q is published", name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.versions) >= maxListings {
		clear(p.versions)
	}
	p.versions[name] = listing{versions: versions, read: time.Now()}
	return versions, nil
}

func list(versions []int) string {
	out := ""
	for i, v := range versions {
		if i == 10 {
			return out + ", …"
		}
		if i > 0 {
			out += ", "
		}
		out += strconv.Itoa(v)
	}
	return out
}
