package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/problem"
)

// note is what the audit log shall have of a change.
type note struct {
	tenant   string // whose the resource is
	resource string
	reason   string
}

// act is a kind of change.
type act struct {
	needs auth.Verb
	name  string // in the audit log
}

// change has a change stored that decide decides on, with its entries in the audit
// log. What the caller may do is looked at once more, on the state that the change
// is made of: they may have lost it since they came.
func (a *API) change(ctx context.Context, c *call.Call, of act, decide func(*access.Decider) (*access.Change, []note, error)) error {
	err := a.deps.Rights.UpdateFor(ctx, c.Principal.Tenant, func(s *access.State) (*rights.Stored, error) {
		d := &access.Decider{State: s, Bounds: a.deps.Bounds, Now: time.Now(), By: c.Principal}
		if err := stillMay(d, of.needs); err != nil {
			return nil, err
		}
		change, notes, err := decide(d)
		if err != nil {
			return nil, err
		}
		stored := &rights.Stored{Change: *change}
		for _, n := range notes {
			stored.Entries = append(stored.Entries, entries(entry(ctx, c, of.name, n), c.Principal.Tenant)...)
		}
		return stored, nil
	})
	if problem.CodeOf(err) == problem.PermissionDenied && a.deps.Refusals != nil {
		refused := entry(ctx, c, of.name, note{tenant: c.Principal.Tenant, reason: string(problem.PermissionDenied)})
		refused.Outcome = audit.Refused
		a.deps.Refusals.Refused(refused)
	}
	return err
}

// stillMay is nil where the caller is still good, and may still do something.
func stillMay(d *access.Decider, verb auth.Verb) error {
	if id, isKey := strings.CutPrefix(d.By.ID, "key:"); isKey {
		if k := d.State.Key(id); k == nil || k.Status(d.Now) != auth.Active {
			return problem.New(problem.Unauthenticated, "the key is not known, or no longer good")
		}
	}
	action := auth.Action{Verb: verb}
	if !slices.ContainsFunc(action.Permissions(), d.State.Rights(d.By, d.Now).Allows) {
		return action.Denied()
	}
	return nil
}

// entry is what the caller of a call did.
func entry(ctx context.Context, c *call.Call, action string, n note) audit.Entry {
	address := ""
	if from := c.Address(); from.IsValid() {
		address = from.String()
	}
	return audit.Entry{
		At: time.Now(), Tenant: n.tenant, Actor: c.Principal.ID, Action: action, Resource: n.resource, Outcome: audit.Done,
		Reason: n.reason, RequestID: telemetry.RequestID(ctx), Address: address, Count: 1,
	}
}

// platformActor is how a tenant's chain names who is of another.
const platformActor = "platform"

// entries are those of an entry: one in the chain of the tenant that the resource is
// of. What an admin of another tenant did is in the platform's, and the tenant's
// says only that it was done.
func entries(e audit.Entry, of string) []audit.Entry {
	if e.Tenant == of || e.Tenant == audit.Platform {
		return []audit.Entry{e}
	}
	full := e
	full.Tenant = audit.Platform
	e.Actor, e.Address, e.RequestID = platformActor, "", ""
	return []audit.Entry{e, full}
}
