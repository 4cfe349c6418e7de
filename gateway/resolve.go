package gateway

import (
	"context"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// target is where a call to a model goes.
type target struct {
	url      *url.URL
	function string
	model    string
	version  string    // as the function is to be asked; "" leaves the choice to it
	alias    string    // that decided on the version here; "" when none did
	open     bool      // the pool chooses, and may have an older version stand in
	pin      route.Pin // what is known to be asked for, to remember failures by
}

// resolve parses a model's name and version, authorises the call, and finds
// where it goes. Every inference comes through here: REST, unary gRPC, and
// each message of a stream.
//
// What a caller may not do is answered before whether it is there, so that he
// learns nothing of models that are not his.
func (g *gateway) resolve(ctx context.Context, verb auth.Verb, bound *route.Bound, name, version string) (*target, error) {
	found, err := g.locate(ctx, verb, bound, name, version)
	if err != nil {
		return nil, err
	}
	t := &target{model: found.Name, version: strconv.Itoa(found.Version), alias: found.alias, pin: found.Pin}
	at := bound
	switch {
	case at == nil:
		if at = g.deps.Routes.Model(found.Pin); at == nil {
			return nil, problem.New(problem.Unavailable, "no function serves %s and there is no pool", found.Pin)
		}
	case found.chosen:
		at = at.Holding(found.Pin)
	}
	// Without a version, and without a split's choice, which one answers is the
	// function's affair: revisions of one differ, and the pool goes on with an
	// older version until the one that is due has warmed up.
	if !found.chosen && (bound != nil || at.Function.Pool) {
		t.version, t.open = "", bound == nil
	}
	t.url, t.function = at.URL, at.Function.Name
	observed(ctx).function = t.function
	return t, nil
}

// located is the version of a model that a call is for.
type located struct {
	route.Pin

	alias  string // that decided; "" when none did
	chosen bool   // by the caller or by a split; else the policy's word for all calls
}

// locate parses, authorises and resolves the version of a model. Without a
// version that is the function's own by host, else what the model's policy
// says: its split, the alias stable, or the newest.
func (g *gateway) locate(ctx context.Context, verb auth.Verb, bound *route.Bound, name, version string) (located, error) {
	model, err := infer.ParseName(name)
	if err != nil {
		return located{}, err
	}
	if version != "" {
		if err := infer.CheckVersion("model_version", version); err != nil {
			return located{}, err
		}
	}
	o := observed(ctx)
	o.model, o.version = model, version
	if err := g.authorizer.Authorize(ctx, auth.PrincipalOf(ctx), auth.Action{Verb: verb, On: model}); err != nil {
		return located{}, err
	}
	found, err := g.versionOf(ctx, verb, bound, model, version)
	if err == nil {
		o.version = strconv.Itoa(found.Version)
	}
	return found, err
}

// versionOf is locate for a name and a version that were looked at.
func (g *gateway) versionOf(ctx context.Context, verb auth.Verb, bound *route.Bound, model, version string) (located, error) {
	if bound != nil {
		return g.ofFunction(ctx, bound, model, version)
	}
	found, err := g.published(ctx, verb, model, version)
	if problem.CodeOf(err) == problem.ModelNotFound { // it may have been published a moment ago
		g.deps.Catalog.Renew(ctx)
		return g.published(ctx, verb, model, version)
	}
	return found, err
}

// published resolves a version by what is known to be published.
func (g *gateway) published(ctx context.Context, verb auth.Verb, model, version string) (located, error) {
	versions, err := g.deps.Catalog.Versions(ctx, model)
	switch {
	case err != nil:
		return located{}, err
	case len(versions) == 0:
		return located{}, problem.New(problem.ModelNotFound, "model %q is not published", model)
	}
	policy, err := g.deps.Catalog.Policy(ctx, model)
	if err != nil {
		return located{}, err
	}
	return pick(policy, versions, verb, model, version)
}

// ofFunction resolves a version at a function's own host. A number may be that
// of a revision we know nothing of; an alias is of the versions that we know.
func (g *gateway) ofFunction(ctx context.Context, bound *route.Bound, model, version string) (located, error) {
	versions, f := bound.Versions(model), bound.Function
	switch {
	case len(versions) > 0:
	case f.State == route.StateFailed:
		return located{}, problem.New(problem.Unavailable, "the function %s cannot start: %s", f.Name, f.Reason)
	case f.Starting != "" && len(bound.Pins()) == 0: // it has no revision yet that would say what it serves
		return located{}, problem.New(problem.Unavailable, "%s", f.Starting).WithRetryAfter(time.Second)
	default:
		return located{}, problem.New(problem.ModelNotFound, "model %q is not one of function %s; call it by the gateway's own host", model, f.Name)
	}
	switch {
	case version == "":
		return located{Pin: route.Pin{Name: model, Version: versions[0]}}, nil
	case infer.IsNumber(version):
		number, err := infer.ParseVersion(version)
		return located{Pin: route.Pin{Name: model, Version: number}, chosen: true}, err
	}
	policy, err := g.deps.Catalog.Policy(ctx, model)
	if err != nil {
		return located{}, err
	}
	return pick(policy, versions, auth.DoInfer, model, version)
}

// pick asks a policy. Only inferences are shared in a split: what is told of a
// model is always told of the same version.
func pick(policy *artifact.Policy, versions []int, verb auth.Verb, model, version string) (located, error) {
	roll := rand.IntN
	if verb != auth.DoInfer {
		roll = func(int) int { return 0 }
	}
	number, alias, err := policy.Pick(model, versions, version, roll)
	return located{
		Pin: route.Pin{Name: model, Version: number}, alias: alias, chosen: version != "" || policy.Splits(versions),
	}, err
}
