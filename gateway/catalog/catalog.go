// Package catalog lists for the gateway what is published in the store that
// models are published to.
//
// It remembers, and asks the store once a second, while it is asked itself,
// whether anything changed: what it remembers is good until then. It reads
// manifests only, and does not check their signatures: the runtimes that load
// models do.
package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/gateway/internal/detach"
	"github.com/modelserveai/modelserve/gateway/internal/memo"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
)

// Store is what the catalog needs of an artifact.PolicyReader.
type Store interface {
	Names(ctx context.Context) ([]string, error)
	Versions(ctx context.Context, name string) ([]int, error)
	Policy(ctx context.Context, name string) (*model.Policy, error)
	Manifest(ctx context.Context, ref model.Ref) (*model.Manifest, string, error)
	Generation(ctx context.Context, since string) (string, error)
}

// How long and how much is remembered, in one generation of the store. Its
// notice of a change may have got lost, so a minute bounds that; and while the
// store fails, everything is used for a minute more: a call to a model that is
// loaded needs no store.
const (
	fresh   = time.Minute
	stale   = time.Minute
	timeout = 10 * time.Second

	maxModels   = 10_000
	maxVersions = 10_000
)

// Catalog implements gateway.Catalog.
type Catalog struct {
	watch    *watch
	names    *memo.Cache[struct{}, []string]
	versions *memo.Cache[string, []int]
	policies *memo.Cache[string, *model.Policy]
	models   *memo.Cache[model.Ref, *model.Summary]
}

// New makes the catalog of a store. It asks nothing as long as nobody does. Its
// owner closes it.
func New(store Store) *Catalog {
	bounds := func(most int) memo.Options {
		return memo.Options{Fresh: fresh, Stale: stale, Max: most, Timeout: timeout}
	}
	return &Catalog{
		watch: &watch{ask: store.Generation, questions: detach.New()},
		names: memo.New(bounds(1), func(ctx context.Context, _ struct{}) ([]string, error) { return store.Names(ctx) }),
		versions: memo.New(bounds(maxModels), func(ctx context.Context, name string) ([]int, error) {
			versions, err := store.Versions(ctx, name)
			if problem.CodeOf(err) == problem.ModelNotFound {
				return nil, nil // none is an answer, and remembered
			}
			return versions, err
		}),
		policies: memo.New(bounds(maxModels), store.Policy),
		models: memo.New(bounds(maxVersions), func(ctx context.Context, ref model.Ref) (*model.Summary, error) {
			manifest, digest, err := store.Manifest(ctx, ref)
			if err != nil {
				return nil, err
			}
			return &model.Summary{
				Ref: ref, Platform: manifest.Platform, Digest: digest, Signature: manifest.Signature,
			}, nil
		}),
	}
}

// Close ends what is being asked and waits for it. What would have to be asked
// later fails. It returns nil.
func (c *Catalog) Close() error {
	c.watch.questions.Close()
	c.names.Close()
	c.versions.Close()
	c.policies.Close()
	c.models.Close()
	return nil
}

// get reads from one of the memories, in the store's generation of now.
func get[K comparable, V any](ctx context.Context, c *Catalog, from *memo.Cache[K, V], key K) (V, error) {
	generation, err := c.watch.current(ctx)
	if err != nil {
		var none V
		return none, err
	}
	return from.GetIn(ctx, generation, key)
}

// Renew implements gateway.Catalog.
func (c *Catalog) Renew(ctx context.Context) { c.watch.renew(ctx) }

// Fault implements gateway.Catalog.
func (c *Catalog) Fault(ctx context.Context) error { return c.watch.fault(ctx) }

// Names implements gateway.Catalog.
func (c *Catalog) Names(ctx context.Context) ([]string, error) {
	names, err := get(ctx, c, c.names, struct{}{})
	if err != nil {
		return nil, fmt.Errorf("list published models: %w", err)
	}
	return names, nil
}

// Versions implements gateway.Catalog.
func (c *Catalog) Versions(ctx context.Context, name string) ([]int, error) {
	versions, err := get(ctx, c, c.versions, name)
	if err != nil {
		return nil, fmt.Errorf("list versions of model %s: %w", name, err)
	}
	return versions, nil
}

// Policy implements gateway.Catalog.
func (c *Catalog) Policy(ctx context.Context, name string) (*model.Policy, error) {
	policy, err := get(ctx, c, c.policies, name)
	if err != nil {
		return nil, fmt.Errorf("read the policy of model %s: %w", name, err)
	}
	return policy, nil
}

// Model implements gateway.Catalog.
func (c *Catalog) Model(ctx context.Context, name string, version int) (*model.Summary, error) {
	ref := model.Ref{Name: name, Version: version}
	model, err := get(ctx, c, c.models, ref)
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %s: %w", ref, err)
	}
	return model, nil
}
