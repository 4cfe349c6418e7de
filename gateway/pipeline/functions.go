package pipeline

import (
	"context"
	"slices"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/functions"
)

// Catalog is what is published, as far as is asked here: a resolve.Catalog.
type Catalog interface {
	// Versions lists a model's published versions; none when it is not published.
	Versions(ctx context.Context, name string) ([]int, error)

	// Renew asks now whether anything was published.
	Renew(ctx context.Context)
}

// Known are the functions that the gateway sends calls to: those of its routes, and the
// published models. A function that is shipped has its schemas; of another one any value
// is taken and answered.
func Known(catalog Catalog, routes *route.Routes) definition.Functions {
	return known{catalog, routes}
}

type known struct {
	catalog Catalog
	routes  *route.Routes
}

// Function implements definition.Functions.
func (k known) Function(ctx context.Context, name string) (definition.Function, error) {
	for _, f := range k.routes.Functions() {
		if f.Name != name || f.Pool {
			continue
		}
		if shipped, ok := functions.Shipped(name); ok {
			return shipped, nil
		}
		// One that serves the model of its name is that model's own service.
		for _, ref := range slices.Concat(f.Models, f.Mixed) {
			if ref.Name == name {
				return definition.Function{Model: true}, nil
			}
		}
		return definition.Function{}, nil
	}
	versions, err := k.catalog.Versions(ctx, name)
	if err == nil && len(versions) == 0 { // it may have been published a moment ago
		k.catalog.Renew(ctx)
		versions, err = k.catalog.Versions(ctx, name)
	}
	switch {
	case err != nil:
		return definition.Function{}, err
	case len(versions) == 0:
		return definition.Function{}, definition.ErrNoFunction
	default:
		return definition.Function{Model: true}, nil
	}
}
