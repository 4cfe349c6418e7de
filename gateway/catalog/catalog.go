// Package catalog tells the gateway what is published, out of the store that
// models are published to.
//
// It remembers: what is listed for a second, what cannot change for longer. It
// reads manifests only, and does not check their signatures: the runtimes that
// load models do.
package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/internal/memo"
	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
)

// Store is what the catalog needs of an artifact.Store.
type Store interface {
	Names(ctx context.Context) ([]string, error)
	Versions(ctx context.Context, name string) ([]int, error)
	Manifest(ctx context.Context, ref artifact.Ref) (*artifact.Manifest, string, error)
}

// How long and how much is remembered. While the store fails, lists are used
// for a minute more: a call to a model that is loaded needs no store.
const (
	fresh   = time.Second
	stale   = time.Minute
	timeout = 10 * time.Second

	// A version never changes, but one may be deleted and its number used again.
	modelFresh = 10 * time.Second

	maxModels   = 10_000
	maxVersions = 10_000
)

// Catalog implements gateway.Catalog.
type Catalog struct {
	names    *memo.Cache[struct{}, []string]
	versions *memo.Cache[string, []int]
	models   *memo.Cache[artifact.Ref, *gateway.Model]
}

var _ gateway.Catalog = (*Catalog)(nil)

// New makes the catalog of a store.
func New(store Store) *Catalog {
	return &Catalog{
		names: memo.New(memo.Options{Fresh: fresh, Stale: stale, Max: 1, Timeout: timeout},
			func(ctx context.Context, _ struct{}) ([]string, error) { return store.Names(ctx) }),
		versions: memo.New(memo.Options{Fresh: fresh, Stale: stale, Max: maxModels, Timeout: timeout},
			func(ctx context.Context, name string) ([]int, error) {
				versions, err := store.Versions(ctx, name)
				if problem.CodeOf(err) == problem.ModelNotFound {
					return nil, nil // none is an answer, and remembered
				}
				return versions, err
			}),
		models: memo.New(memo.Options{Fresh: modelFresh, Stale: stale, Max: maxVersions, Timeout: timeout},
			func(ctx context.Context, ref artifact.Ref) (*gateway.Model, error) {
				manifest, digest, err := store.Manifest(ctx, ref)
				if err != nil {
					return nil, err
				}
				return &gateway.Model{
					Name: ref.Name, Version: ref.Version, Platform: manifest.Platform, Digest: digest, Signature: manifest.Signature,
				}, nil
			}),
	}
}

// Names implements gateway.Catalog.
func (c *Catalog) Names(ctx context.Context) ([]string, error) {
	names, err := c.names.Get(ctx, struct{}{})
	if err != nil {
		return nil, fmt.Errorf("list published models: %w", err)
	}
	return names, nil
}

// Versions implements gateway.Catalog.
func (c *Catalog) Versions(ctx context.Context, name string) ([]int, error) {
	versions, err := c.versions.Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("list versions of model %s: %w", name, err)
	}
	return versions, nil
}

// Model implements gateway.Catalog.
func (c *Catalog) Model(ctx context.Context, name string, version int) (*gateway.Model, error) {
	ref := artifact.Ref{Name: name, Version: version}
	model, err := c.models.Get(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %s: %w", ref, err)
	}
	return model, nil
}
