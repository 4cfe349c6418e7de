// Package registry is what registering a pipeline does: reading its definition, holding
// it to the functions that there are and to the tenant's bounds, and storing it as a
// version.
//
// It applies no object of Knative, and decides about no execution.
package registry

import (
	"context"
	"errors"
	"time"

	"github.com/modelserveai/modelserve/internal/document"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

// Shipped is the tenant of the pipelines that come with the platform, which every tenant
// sees.
const Shipped = ""

// Store keeps versions: a record.Store.
type Store interface {
	record.Pipelines
	record.Versions
}

// Bounds are what one tenant may have. Zero fields are their defaults.
type Bounds struct {
	Pipelines int // 200: of names; a page of the store at most
	Versions  int // 10,000: of one name, counted for good
}

// The defaults of Bounds.
const (
	defaultPipelines = 200
	defaultVersions  = 10_000
)

// Registry registers pipelines.
type Registry struct {
	store     Store
	functions definition.Functions
	bounds    Bounds
}

// New makes a Registry. functions may be nil: then whoever calls Apply has held the
// definition to them, as the gateway has.
func New(store Store, functions definition.Functions, bounds Bounds) *Registry {
	if bounds.Pipelines <= 0 || bounds.Pipelines > record.MaxPage {
		bounds.Pipelines = defaultPipelines
	}
	if bounds.Versions <= 0 {
		bounds.Versions = defaultVersions
	}
	return &Registry{store, functions, bounds}
}

// Apply stores a definition, YAML or JSON, as the newest version of its name and the
// default from now on. One of the same canonical form is the version that it has
// already; created is then false. Errors are problems: of the definition with each fault
// by its field, problem.Conflict where the tenant has as much as it may.
func (r *Registry) Apply(ctx context.Context, tenant string, text []byte) (v *record.Version, created bool, err error) {
	d, err := definition.Parse(text)
	if err != nil {
		return nil, false, document.Problem(err)
	}
	if r.functions != nil {
		if err := d.Check(ctx, r.functions); err != nil {
			return nil, false, document.Problem(err)
		}
	}
	digest := d.Digest()
	if err := r.fits(ctx, tenant, d.Name, digest); err != nil {
		return nil, false, err
	}
	v, created, err = r.store.Register(ctx, record.Registration{Tenant: tenant, Name: d.Name, Canonical: d.Canonical(), Digest: digest})
	return v, created, Problem(err)
}

// fits refuses what is more than a tenant may have. Two that come at once may be one
// more each.
func (r *Registry) fits(ctx context.Context, tenant, name, digest string) error {
	if tenant == Shipped {
		return nil
	}
	now, err := r.store.Resolve(ctx, tenant, name, 0)
	switch {
	case err == nil && now.Owner == tenant && now.Digest == digest:
		return nil
	case err == nil && now.Owner == tenant:
		return r.another(ctx, tenant, name, digest)
	case err != nil && !errors.Is(err, record.ErrNotFound):
		return Problem(err)
	}
	own := 0
	for q := (record.PipelineQuery{Tenant: tenant, Limit: record.MaxPage}); ; {
		page, err := r.store.Pipelines(ctx, q)
		if err != nil {
			return Problem(err)
		}
		for _, v := range page.Versions {
			if v.Owner == tenant {
				own++
			}
		}
		if own >= r.bounds.Pipelines {
			return problem.New(problem.Conflict, "the tenant has %d pipelines, as many as it may: delete one", own)
		}
		if q.After = page.Next; q.After.IsZero() {
			return nil
		}
	}
}

// another refuses a version more where there are as many as there may be, unless it is
// one of them.
func (r *Registry) another(ctx context.Context, tenant, name, digest string) error {
	for q := (record.PipelineQuery{Tenant: tenant, Limit: record.MaxPage}); ; {
		page, err := r.store.Versions(ctx, name, q)
		if err != nil {
			return Problem(err)
		}
		if len(page.Versions) == 0 || page.Versions[0].Number < r.bounds.Versions && q.After.IsZero() {
			return nil // the newest has the highest number
		}
		for _, v := range page.Versions {
			if v.Digest == digest {
				return nil
			}
		}
		if q.After = page.Next; q.After.IsZero() {
			return problem.New(problem.Conflict, "the pipeline has had %d versions, as many as it may: register it under another name", r.bounds.Versions)
		}
	}
}

// Deprecate marks a version of a tenant's own: no execution of it is started any more,
// until it is registered again.
func (r *Registry) Deprecate(ctx context.Context, tenant, name string, number int) error {
	return Problem(r.store.Deprecate(ctx, tenant, name, number, true))
}

// Delete removes a tenant's own pipeline. It is problem.Conflict while executions of it
// have not ended.
func (r *Registry) Delete(ctx context.Context, tenant, name string) error {
	err := r.store.DeletePipeline(ctx, tenant, name)
	if errors.Is(err, record.ErrInUse) {
		return problem.New(problem.Conflict, "executions of the pipeline have not ended: wait for them, or cancel them")
	}
	return Problem(err)
}

// soon is when to come again after a store that was away.
const soon = time.Second

// Problem is an error of the store as its caller gets it.
func Problem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, record.ErrNotFound):
		return problem.New(problem.NotFound, "there is none of this name or id")
	case errors.Is(err, record.ErrOtherBody):
		return problem.New(problem.KeyReused, "the Idempotency-Key came before, for this pipeline and with another body")
	case errors.Is(err, record.ErrInUse):
		return problem.New(problem.Conflict, "it has not ended")
	case errors.Is(err, record.ErrConflict):
		return problem.New(problem.Unavailable, "it changes all the time: %w", problem.ForLog(err)).WithRetryAfter(soon)
	case errors.Is(err, record.ErrUnavailable):
		return problem.New(problem.Unavailable, "the database of pipelines takes nothing now: %w", problem.ForLog(err)).WithRetryAfter(soon)
	default:
		return err
	}
}
