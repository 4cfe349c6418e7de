// Package door is the one way through the gateway, for HTTP, gRPC and each message
// of a stream alike: it identifies the caller of a call, decides whether they may,
// limits how much, resolves where it goes, forwards it, and charges what it took.
//
// It knows no protocol and no URL.
package door

import (
	"cmp"
	"context"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/gateway/resolve"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Config is what a Door works with. Limiter and Audit may be nil.
type Config struct {
	Authenticator auth.Authenticator
	Authorizer    auth.Authorizer
	Limiter       Limiter
	Audit         Audit
	Resolver      *resolve.Resolver
	Forwarder     forward.Forwarder
	Throttle      *auth.Throttle         // of failed credentials; nil is none
	Refused       *prometheus.CounterVec // of credentials, by code
}

// Limiter decides whether a call may run now, and is charged what it took.
type Limiter interface {
	// Admit takes a call's share of what its caller has, before it is resolved. An
	// error refuses it: a *problem.Error with when to come again. The share may be
	// there too then, for its header.
	Admit(ctx context.Context, s *limit.Subject) (Share, error)
}

// Share is what a call has of its caller's limits, from its admission to its end.
type Share interface {
	// Header is what the answer reports of the caller's limits; it may be nil.
	Header() http.Header

	// Measures reports whether what the call takes is charged, not the call alone.
	Measures() bool

	// Done ends the share, and is called once: what the function reported, or else
	// the time that the call was under way and what it named; nothing where no
	// function had it.
	Done(used infer.Usage)
}

// Audit records what was refused at the door. What changes something is recorded
// where it is stored.
type Audit interface {
	Record(ctx context.Context, c *call.Call, r Refusal)
}

// Refusal is why a call was refused.
type Refusal struct {
	Action auth.Action // zero where the caller is not known
	Code   problem.Code
}

// Door takes calls through.
type Door struct{ Config }

// New makes a Door.
func New(c Config) *Door { return &Door{c} }

// Identify finds out who makes a call, by its headers alone.
func (d *Door) Identify(ctx context.Context, c *call.Call) error {
	credential, err := auth.Credential(c.Header)
	if err == nil {
		c.Principal, err = d.Authenticator.Authenticate(ctx, credential)
	}
	if err != nil {
		c.Principal = nil
		d.Refused.WithLabelValues(string(problem.CodeOf(err))).Inc()
		d.record(ctx, c, auth.Action{}, err)
		if d.Throttle != nil && credential != "" && problem.CodeOf(err) == problem.Unauthenticated {
			d.Throttle.Failed(ctx, c.Address())
		}
		return err
	}
	c.Log.Principal, c.Log.Tenant = c.Principal.ID, c.Principal.Tenant
	return nil
}

// Decide is nil where a call's caller may do something.
func (d *Door) Decide(ctx context.Context, c *call.Call, a auth.Action) error {
	err := d.Authorizer.Authorize(ctx, c.Principal, a)
	if err != nil {
		d.record(ctx, c, a, err)
	}
	return err
}

// May reports whether a call's caller may do something that is not refused, but
// left out, where they may not.
func (d *Door) May(ctx context.Context, c *call.Call, a auth.Action) bool {
	return d.Authorizer.Authorize(ctx, c.Principal, a) == nil
}

func (d *Door) record(ctx context.Context, c *call.Call, a auth.Action, err error) {
	if d.Audit != nil {
		d.Audit.Record(ctx, c, Refusal{Action: a, Code: problem.CodeOf(err)})
	}
}

// Ask is what a call wants of a model.
type Ask struct {
	Verb    auth.Verb
	Model   string // "" for a function, at its own host
	Version string // a number, an alias, or "" for whichever is due
}

// check parses what is asked and decides on it. What a caller may not do is
// refused before whether it is there is looked at, so that they learn nothing of
// models that are not theirs.
func (d *Door) check(ctx context.Context, c *call.Call, a Ask) error {
	model, err := infer.ParseName(a.Model)
	if err != nil {
		return err
	}
	if a.Version != "" {
		if err := infer.CheckVersion("model_version", a.Version); err != nil {
			return err
		}
	}
	c.Log.Model, c.Log.Version = model, a.Version
	return d.Decide(ctx, c, auth.Action{Verb: a.Verb, On: model})
}

// Check decides on what is asked of a model before all of its request has come; Pass
// does so again, by what is asked in the end.
func (d *Door) Check(ctx context.Context, c *call.Call, a Ask) error { return d.check(ctx, c, a) }

// Find decides on what is asked of a model and resolves its version, without
// calling it.
func (d *Door) Find(ctx context.Context, c *call.Call, a Ask) (resolve.Version, error) {
	if err := d.check(ctx, c, a); err != nil {
		return resolve.Version{}, err
	}
	share, err := d.admit(ctx, c, d.subject(ctx, c, a))
	if err != nil {
		return resolve.Version{}, err
	}
	if share != nil {
		defer share.Done(infer.Usage{})
	}
	return d.find(ctx, c, a)
}

func (d *Door) find(ctx context.Context, c *call.Call, a Ask) (resolve.Version, error) {
	found, err := d.Resolver.Find(ctx, a.Verb, c.Bound, a.Model, a.Version)
	if err == nil {
		c.Log.Resolved, c.Log.Version = found.Ref.Name, strconv.Itoa(found.Ref.Version)
	}
	return found, err
}

// Pass takes a call of a model through to where its request can be sent. Whoever
// has the passage ends it.
func (d *Door) Pass(ctx context.Context, c *call.Call, a Ask) (*Passage, error) {
	if err := d.check(ctx, c, a); err != nil {
		return nil, err
	}
	return d.pass(ctx, c, d.subject(ctx, c, a), a.Verb == auth.DoInfer, func() (*call.Target, error) {
		found, err := d.find(ctx, c, a)
		if err != nil {
			return nil, err
		}
		t, err := d.Resolver.Target(c.Bound, found)
		if err != nil {
			return nil, err
		}
		t.Repeatable = true // an inference changes nothing
		t.Timed = a.Verb == auth.DoInfer
		return t, nil
	})
}

// PassNative takes a native payload through, at the host of a function; repeatable
// is whether its method changes nothing.
func (d *Door) PassNative(ctx context.Context, c *call.Call, repeatable bool) (*Passage, error) {
	f := c.Bound.Function
	if err := d.Decide(ctx, c, auth.Action{Verb: auth.DoInfer, On: f.Name}); err != nil {
		return nil, err
	}
	s := d.plain(c)
	s.Model, s.Known = f.Name, func() bool { return true }
	return d.pass(ctx, c, s, true, func() (*call.Target, error) {
		t := d.Resolver.Native(c.Bound)
		c.Log.Resolved = cmp.Or(t.Ref.Name, f.Name)
		// A function with models does nothing but run them; of another's calls
		// only the method shows whether they change anything.
		models := len(f.Models)+len(f.Mixed) > 0 || f.Pool
		t.Repeatable = models || repeatable
		// Of anybody's function errors may be text; while it starts none is its own.
		t.Plain = !models && f.Starting == ""
		return t, nil
	})
}

// pass limits and resolves what was decided on; runs is whether its function runs
// something for it.
func (d *Door) pass(ctx context.Context, c *call.Call, s *limit.Subject, runs bool, resolved func() (*call.Target, error)) (*Passage, error) {
	share, err := d.admit(ctx, c, s)
	if err != nil {
		return nil, err
	}
	p := &Passage{door: d, call: c, share: share, runs: runs}
	t, err := resolved()
	if err != nil {
		p.End()
		return nil, err
	}
	p.Target = t
	c.Log.Function = t.Function
	return p, nil
}
