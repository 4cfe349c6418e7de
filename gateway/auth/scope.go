package auth

import (
	"context"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/problem"
)

// Scope is one thing a key may do.
type Scope string

// The scopes that name no model.
const (
	InferAll    Scope = "infer:*"      // call every model and function
	ModelsRead  Scope = "models:read"  // metadata, index and statistics of every model
	ModelsWrite Scope = "models:write" // load and unload; includes ModelsRead
	KeysAdmin   Scope = "keys:admin"   // make, list and revoke the tenant's keys
	Admin       Scope = "admin"        // everything, in every tenant
)

// ScopesHelp lists the scopes for people.
const ScopesHelp = "infer:*, infer:<model or function>, models:read, models:write, keys:admin, admin"

const inferPrefix = "infer:"

// Infer is the scope to call one model, or one function by its host. It also
// lets its holder see that model's metadata.
func Infer(name string) Scope { return Scope(inferPrefix + name) }

func (s Scope) check(field string) error {
	switch s {
	case InferAll, ModelsRead, ModelsWrite, KeysAdmin, Admin:
		return nil
	}
	if name, ok := strings.CutPrefix(string(s), inferPrefix); ok && isLabel(name) {
		return nil
	}
	return problem.Invalid(field, "expected one of %s", ScopesHelp)
}

// Covers reports whether a holder of s holds other too.
func (s Scope) Covers(other Scope) bool {
	switch s {
	case other, Admin:
		return true
	case InferAll:
		return strings.HasPrefix(string(other), inferPrefix)
	case ModelsWrite:
		return other == ModelsRead
	default:
		return false
	}
}

// Action is something a caller wants to do.
type Action struct {
	Verb Verb
	On   string // the model or function; "" where the verb has no object
}

// Verb is a kind of action.
type Verb string

// The verbs.
const (
	DoInfer      Verb = "infer"          // On is the model or function
	DoRead       Verb = "read"           // On is the model
	DoLoad       Verb = "load or unload" // On is the model
	DoManageKeys Verb = "manage keys"
	DoAnything   Verb = "administer" // what only Admin may do
)

// Authorizer decides what a principal may do. It denies what it does not know.
// The scopes of keys are the first one; roles and grants become another.
type Authorizer interface {
	// Authorize returns nil, or problem.PermissionDenied saying what is missing.
	Authorize(ctx context.Context, p *Principal, a Action) error
}

// Scopes authorises by the principal's scopes alone.
type Scopes struct{}

// Authorize implements Authorizer.
func (Scopes) Authorize(_ context.Context, p *Principal, a Action) error {
	needs := a.Scopes()
	if p != nil {
		for _, held := range p.Scopes {
			for _, need := range needs {
				if held.Covers(need) {
					return nil
				}
			}
		}
	}
	what := string(a.Verb)
	if a.On != "" {
		what += " " + a.On
	}
	if len(needs) == 0 {
		return problem.New(problem.PermissionDenied, "this credential may not %s", what)
	}
	return problem.New(problem.PermissionDenied, "this credential may not %s: it needs the scope %s", what, needs[0])
}

// Scopes lists the scopes any one of which suffices.
func (a Action) Scopes() []Scope {
	switch a.Verb {
	case DoInfer:
		return []Scope{Infer(a.On)}
	case DoRead:
		return []Scope{Infer(a.On), ModelsRead}
	case DoLoad:
		return []Scope{ModelsWrite}
	case DoManageKeys:
		return []Scope{KeysAdmin}
	case DoAnything:
		return []Scope{Admin}
	default:
		return nil
	}
}

func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
