package gateway

import (
	"context"
	"net/url"
	"slices"
	"strconv"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// target is where a call to a model goes.
type target struct {
	url      *url.URL
	function string
	model    string
	version  string    // as the function is to be asked; "" leaves the choice to it
	pin      route.Pin // what is known to be asked for, to remember failures by
}

// resolve parses a model's name and version, authorises the call, and finds
// where it goes. Every inference comes through here: REST, unary gRPC, and
// each message of a stream.
//
// What a caller may not do is answered before whether it is there, so that he
// learns nothing of models that are not his.
func (g *gateway) resolve(ctx context.Context, verb auth.Verb, bound *route.Bound, name, version string) (*target, error) {
	model, number, err := g.locate(ctx, verb, bound, name, version)
	if err != nil {
		return nil, err
	}
	t := &target{model: model, version: strconv.Itoa(number), pin: route.Pin{Name: model, Version: number}}
	at := bound
	if bound != nil {
		// Its own version is the function's affair: revisions of it differ.
		t.version = version
	} else if at = g.deps.Routes.Model(t.pin); at == nil {
		return nil, problem.New(problem.Unavailable, "no function serves %s@%d and there is no pool", model, number)
	}
	t.url, t.function = at.URL, at.Function.Name
	observed(ctx).function = t.function
	return t, nil
}

// locate parses, authorises and resolves the version of a model. Without a
// version that is the function's own by host, else the newest published one.
func (g *gateway) locate(ctx context.Context, verb auth.Verb, bound *route.Bound, name, version string) (string, int, error) {
	model, err := infer.ParseName(name)
	if err != nil {
		return "", 0, err
	}
	number := 0
	if version != "" {
		if number, err = infer.ParseVersion(version); err != nil {
			return "", 0, err
		}
	}
	if err := g.authorizer.Authorize(ctx, auth.PrincipalOf(ctx), auth.Action{Verb: verb, On: model}); err != nil {
		return "", 0, err
	}
	if bound != nil {
		pinned, ok := bound.Serves(model)
		switch {
		case !ok:
			return "", 0, problem.New(problem.ModelNotFound, "model %q is not one of function %s; call it by the gateway's own host", model, bound.Function.Name)
		case number == 0:
			number = pinned
		}
		return model, number, nil
	}
	number, err = g.version(ctx, model, number)
	return model, number, err
}

// version resolves a published version; 0 is the newest. Aliases ("stable")
// will have their say here.
func (g *gateway) version(ctx context.Context, model string, number int) (int, error) {
	versions, err := g.deps.Catalog.Versions(ctx, model)
	switch {
	case err != nil:
		return 0, err
	case len(versions) == 0:
		return 0, problem.New(problem.ModelNotFound, "model %q is not published", model)
	case number == 0:
		return versions[0], nil
	case !slices.Contains(versions, number):
		return 0, problem.New(problem.ModelNotFound, "model %q has no version %d", model, number)
	default:
		return number, nil
	}
}
