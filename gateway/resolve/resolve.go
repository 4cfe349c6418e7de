// Package resolve finds out where a call to a model goes: which version it is for,
// by its number, an alias, a split or a function's host, and which function serves
// that. It remembers which versions are known not to load.
//
// It does not decide who may call, and calls nobody.
package resolve

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// Catalog is what is published. A change is seen within two seconds.
type Catalog interface {
	// Versions lists a model's published versions, newest first; none when it is
	// not published.
	Versions(ctx context.Context, name string) ([]int, error)

	// Policy decides which version a call is for that names none by its number; the
	// zero one where there is none. It is shared: the caller does not change it.
	Policy(ctx context.Context, name string) (*model.Policy, error)

	// Fault is why the store of what is published had no answer when it was last
	// asked, a second or two ago; nil when it had. What the others return is
	// remembered then, and nothing can be fetched.
	Fault(ctx context.Context) error

	// Renew asks now whether anything was published: what the others return may be
	// a second or two old, and is of now after it.
	Renew(ctx context.Context)
}

// Resolver resolves calls to models.
type Resolver struct {
	catalog  Catalog
	routes   *route.Routes
	failures *failures
}

// New makes a Resolver.
func New(catalog Catalog, routes *route.Routes) *Resolver {
	return &Resolver{catalog: catalog, routes: routes, failures: newFailures()}
}

// Version is the version of a model that a call is for.
type Version struct {
	Ref    model.Ref
	Alias  string // that decided; "" when none did
	Chosen bool   // by the caller or by a split; else by the policy, for all calls
}

// Target is where a call that is for a version goes: at a function's host to that
// one, else to the function that serves the version, or the pool.
func (r *Resolver) Target(bound *route.Bound, v Version) (*call.Target, error) {
	t := &call.Target{Ref: v.Ref, Alias: v.Alias, Version: strconv.Itoa(v.Ref.Version)}
	at := bound
	switch {
	case at == nil:
		if at = r.routes.Model(v.Ref); at == nil {
			return nil, problem.New(problem.Unavailable, "no function serves %s and there is no pool", v.Ref)
		}
	case v.Chosen:
		at = at.Holding(v.Ref)
	}
	// Without a version, and without a split's choice, which one answers the
	// function decides: revisions of one differ, and the pool goes on with an
	// older version until the one that is due has warmed up.
	if !v.Chosen && (bound != nil || at.Function.Pool) {
		t.Version, t.Open = "", bound == nil
	}
	t.URL, t.Function = at.URL, at.Function.Name
	return t, nil
}

// Native is where a native payload at a function's host goes. It is for the
// function's model, where it has one.
func (r *Resolver) Native(bound *route.Bound) *call.Target {
	t := &call.Target{URL: bound.URL, Function: bound.Function.Name}
	for _, ref := range bound.Pins() {
		switch {
		case t.Ref.Name == "":
			t.Ref = ref
		case t.Ref.Name != ref.Name: // which one it calls the codec decides
			t.Ref = model.Ref{}
			return t
		}
	}
	return t
}

// Find resolves the version of a model, whose name and version are checked.
// Without a version that is the function's own by host, else what the model's
// policy has: its split, the alias stable, or the newest.
func (r *Resolver) Find(ctx context.Context, verb auth.Verb, bound *route.Bound, model, version string) (Version, error) {
	if bound != nil {
		return r.ofFunction(ctx, bound, model, version)
	}
	found, err := r.published(ctx, verb, model, version)
	if problem.CodeOf(err) == problem.ModelNotFound { // it may have been published a moment ago
		r.catalog.Renew(ctx)
		return r.published(ctx, verb, model, version)
	}
	return found, err
}

// published resolves a version by what is known to be published.
func (r *Resolver) published(ctx context.Context, verb auth.Verb, model, version string) (Version, error) {
	versions, err := r.catalog.Versions(ctx, model)
	switch {
	case err != nil:
		return Version{}, err
	case len(versions) == 0:
		return Version{}, problem.New(problem.ModelNotFound, "model %q is not published", model)
	}
	policy, err := r.catalog.Policy(ctx, model)
	if err != nil {
		return Version{}, err
	}
	return pick(policy, versions, verb, model, version)
}

// ofFunction resolves a version at a function's own host. A number may be that
// of a revision we know nothing of; an alias is of the versions that we know.
func (r *Resolver) ofFunction(ctx context.Context, bound *route.Bound, name, version string) (Version, error) {
	versions, f := bound.Versions(name), bound.Function
	switch {
	case len(versions) > 0:
	case f.State == route.StateFailed:
		return Version{}, problem.New(problem.Unavailable, "the function %s cannot start: %s", f.Name, f.Reason)
	case f.Starting != "" && len(bound.Pins()) == 0: // it has no revision yet that declares what it serves
		return Version{}, problem.New(problem.Unavailable, "%s", f.Starting).WithRetryAfter(time.Second)
	default:
		return Version{}, problem.New(problem.ModelNotFound, "model %q is not one of function %s; call it by the gateway's own host", name, f.Name)
	}
	switch {
	case version == "":
		return Version{Ref: model.Ref{Name: name, Version: versions[0]}}, nil
	case infer.IsNumber(version):
		number, err := infer.ParseVersion(version)
		return Version{Ref: model.Ref{Name: name, Version: number}, Chosen: true}, err
	}
	policy, err := r.catalog.Policy(ctx, name)
	if err != nil {
		return Version{}, err
	}
	return pick(policy, versions, auth.DoInfer, name, version)
}

// pick asks a policy. Only inferences are shared in a split: what is reported
// of a model is always of the same version.
func pick(policy *model.Policy, versions []int, verb auth.Verb, name, version string) (Version, error) {
	roll := rand.IntN
	if verb != auth.DoInfer {
		roll = func(int) int { return 0 }
	}
	number, alias, err := policy.Pick(name, versions, version, roll)
	return Version{
		Ref: model.Ref{Name: name, Version: number}, Alias: alias, Chosen: version != "" || policy.Splits(versions),
	}, err
}

// Versions lists what can be called under a name: the function's own by host,
// every published one elsewhere.
func (r *Resolver) Versions(ctx context.Context, bound *route.Bound, name string) ([]int, error) {
	if bound == nil {
		return r.catalog.Versions(ctx, name)
	}
	return bound.Versions(name), nil
}

// Known reports whether there is a model of this name, as far as is known.
func (r *Resolver) Known(ctx context.Context, bound *route.Bound, name string) bool {
	versions, err := r.Versions(ctx, bound, name)
	return err == nil && len(versions) > 0
}

// Renew asks now what is published.
func (r *Resolver) Renew(ctx context.Context) { r.catalog.Renew(ctx) }
