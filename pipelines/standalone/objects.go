package standalone

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/functions"
	"github.com/modelserveai/modelserve/pipelines/knative"
	"github.com/modelserveai/modelserve/pipelines/plan"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// versions makes knative.Versions of what is stored and of where functions are.
type versions struct {
	store interface { // a record.Versions
		Version(ctx context.Context, id record.VersionID) (*record.Version, error)
		InUse(ctx context.Context, after record.VersionID) ([]record.VersionID, error)
	}
	routes *route.Routes
	ready  func(context.Context) error // nil once the routes are in force
	target compile.Target              // without Functions
	signer compile.Signer

	mu    sync.Mutex
	plans map[knative.Version]planned // of the versions that were wanted last
}

// planned is what never changes of a version.
type planned struct {
	plan   *plan.Plan
	digest string
}

// Wanted implements knative.Versions.
func (v *versions) Wanted(ctx context.Context) ([]knative.Version, error) {
	var all []knative.Version
	for after := (record.VersionID{}); ; {
		page, err := v.store.InUse(ctx, after)
		if err != nil {
			return nil, fmt.Errorf("list the versions in use: %w", err)
		}
		for _, id := range page {
			all = append(all, knative.Version(id))
			after = id
		}
		if len(page) < record.MaxBatch {
			break
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	kept := make(map[knative.Version]planned, len(all))
	for _, id := range all {
		if p, ok := v.plans[id]; ok {
			kept[id] = p
		}
	}
	v.plans = kept
	return all, nil
}

// Objects implements knative.Versions.
func (v *versions) Objects(ctx context.Context, id knative.Version) (*compile.Objects, error) {
	if err := v.ready(ctx); err != nil {
		return nil, fmt.Errorf("find the functions: %w", err)
	}
	p, err := v.planOf(ctx, id)
	if err != nil {
		return nil, err
	}
	target := v.target
	target.Functions = v.functions(p.plan.Definition)
	return compile.Of(p.plan, compile.Version{Tenant: id.Owner, Pipeline: id.Name, Number: id.Number, Digest: p.digest}, target, v.signer)
}

func (v *versions) planOf(ctx context.Context, id knative.Version) (planned, error) {
	v.mu.Lock()
	p, ok := v.plans[id]
	v.mu.Unlock()
	if ok {
		return p, nil
	}
	stored, err := v.store.Version(ctx, record.VersionID(id))
	if err != nil {
		return planned{}, fmt.Errorf("load it: %w", err)
	}
	d, err := definition.Parse(stored.Canonical)
	if err != nil {
		return planned{}, fmt.Errorf("read its definition: %w", err)
	}
	p = planned{plan.Of(d), stored.Digest}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.plans == nil {
		v.plans = map[knative.Version]planned{}
	}
	v.plans[id] = p
	return p, nil
}

// functions are where the functions of a definition answer, as the gateway sends calls of
// them: at the function of the name, or else, a published model, at the pool. One that is
// neither is left out.
func (v *versions) functions(d *definition.Definition) map[string]compile.Function {
	routes := v.routes.Functions()
	found := map[string]compile.Function{}
	for i := range d.Steps {
		name := d.Steps[i].Function
		if at := slices.IndexFunc(routes, func(f route.Function) bool { return f.Name == name && !f.Pool }); at >= 0 {
			found[name] = compile.Function{Service: name, Model: isModel(&routes[at])}
		} else if at := slices.IndexFunc(routes, func(f route.Function) bool { return f.Pool }); at >= 0 && name != "" {
			found[name] = compile.Function{Service: routes[at].Name, Model: true}
		}
	}
	return found
}

// isModel reports whether a function is a published model's own service, and takes V2
// JSON: one that serves the model of its name, and is none of those with a payload of
// their own that are shipped.
func isModel(f *route.Function) bool {
	if _, shipped := functions.Shipped(f.Name); shipped {
		return false
	}
	for _, ref := range slices.Concat(f.Models, f.Mixed) {
		if ref.Name == f.Name {
			return true
		}
	}
	return false
}
