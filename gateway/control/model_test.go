package control_test

import (
	"cmp"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
)

// world is what keys, roles and grants come to, in the plainest way: every question is answered
// from the beginning.
type world struct {
	keys   []*keyModel
	roles  []*roleModel
	grants []*grantModel
}

type keyModel struct {
	id, tenant, lineage, replaces string
	scopes                        []auth.Permission
	roles                         []string
	ends                          time.Time
	planned                       *time.Time // its end without its rotation
	revoked                       bool
}

type roleModel struct {
	tenant, name string
	permissions  []auth.Permission
	inherits     []string
}

type grantModel struct {
	id, tenant      string
	toKey, toTenant string
	byTenant, byKey string
	permissions     []auth.Permission
	roles           []string
	ends            time.Time
}

func ended(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }

// outlives reports whether what ends at a time goes on when somebody has ended.
func outlives(ends, theirs time.Time) bool {
	return !theirs.IsZero() && (ends.IsZero() || ends.After(theirs))
}

func (k *keyModel) live() bool { return !k.revoked && !ended(k.ends) }

// covers reports whether some permissions cover all of others.
func covers(has, wanted []auth.Permission) bool {
	return !slices.ContainsFunc(wanted, func(p auth.Permission) bool {
		return !slices.ContainsFunc(has, func(h auth.Permission) bool { return h.Covers(p) })
	})
}

func (w *world) role(tenant, name string) *roleModel {
	for _, b := range access.BuiltIns() {
		if b.Name == name {
			return &roleModel{"", b.Name, b.Permissions, b.Inherits}
		}
	}
	for _, r := range w.roles {
		if r.name == name && (r.tenant == access.Everywhere || r.tenant == tenant) {
			return r
		}
	}
	return nil
}

func (w *world) exist(tenant string, names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return w.role(tenant, n) == nil })
}

// content is all that roles have.
func (w *world) content(tenant string, names []string) (all []auth.Permission) {
	seen := map[string]bool{}
	for todo := slices.Clone(names); len(todo) > 0; todo = todo[1:] {
		r := w.role(tenant, todo[0])
		if r == nil || seen[r.name] {
			continue
		}
		seen[r.name] = true
		all = append(all, r.permissions...)
		todo = append(todo, r.inherits...)
	}
	return all
}

func (w *world) own(k *keyModel) []auth.Permission {
	return append(slices.Clone(k.scopes), w.content(k.tenant, k.roles)...)
}

func (w *world) gives(g *grantModel) []auth.Permission {
	return append(slices.Clone(g.permissions), w.content(g.tenant, g.roles)...)
}

// giver is what a lineage may do, with the permissions that are counted of grants so far.
func (w *world) giver(g *grantModel, counted map[*grantModel][]auth.Permission) (has []auth.Permission) {
	good := false
	for _, k := range w.keys {
		if k.tenant == g.byTenant && k.lineage == g.byKey && k.live() {
			good, has = true, append(has, w.own(k)...)
		}
	}
	switch {
	case !good:
		return nil
	case g.byTenant != g.tenant && !slices.Contains(has, auth.Admin):
		return nil
	case g.byTenant != g.tenant:
		return has
	}
	for other, permissions := range counted {
		if other.tenant == g.byTenant && (other.toTenant != "" || other.toKey == g.byKey) {
			has = append(has, permissions...)
		}
	}
	return has
}

// holds is all that a key may do.
func (w *world) holds(k *keyModel) []auth.Permission {
	counted := map[*grantModel][]auth.Permission{}
	for range access.Depth {
		next := map[*grantModel][]auth.Permission{}
		for _, g := range w.grants {
			has := w.giver(g, counted)
			for _, p := range w.gives(g) {
				if !ended(g.ends) && covers(has, []auth.Permission{p}) {
					next[g] = append(next[g], p)
				}
			}
		}
		counted = next
	}
	has := w.own(k)
	for g, permissions := range counted {
		if g.tenant == k.tenant && (g.toTenant != "" || g.toKey == k.lineage) {
			has = append(has, permissions...)
		}
	}
	return has
}

// key is one of the live keys of a tenant, by a number.
func (w *world) key(tenant string, n int) *keyModel {
	var live []*keyModel
	for _, k := range w.keys {
		if k.tenant == tenant && k.live() {
			live = append(live, k)
		}
	}
	return live[n%len(live)]
}

// mayCreate is the status of a new key.
func (w *world) mayCreate(by *keyModel, k *keyModel) int {
	switch {
	case !covers(w.holds(by), []auth.Permission{auth.KeysAdmin}), k.tenant != by.tenant && !w.ownAdmin(by):
		return 403
	case !w.exist(k.tenant, k.roles):
		return 400
	case !covers(w.own(by), w.own(k)):
		return 403
	case outlives(k.ends, by.ends):
		return 400
	}
	w.keys = append(w.keys, k)
	return 201
}

// ownAdmin reports whether a key is an admin without grants.
func (w *world) ownAdmin(by *keyModel) bool { return covers(w.own(by), []auth.Permission{auth.Admin}) }

// whose is the tenant of the role that a key changes by a name.
func (w *world) whose(by *keyModel, name string) string {
	r := w.role(by.tenant, name)
	switch {
	case r != nil && (r.tenant == by.tenant || w.ownAdmin(by)):
		return r.tenant
	case w.ownAdmin(by):
		return access.Everywhere
	}
	return by.tenant
}

// taken reports whether a role's name would have two meanings somewhere.
func (w *world) taken(r *roleModel) bool {
	return slices.ContainsFunc(w.roles, func(o *roleModel) bool {
		return o.name == r.name && o.tenant != r.tenant && (o.tenant == access.Everywhere || r.tenant == access.Everywhere)
	})
}

// mayPut is the status of a role.
func (w *world) mayPut(by *keyModel, r *roleModel) int {
	before := w.roles
	old := slices.IndexFunc(w.roles, func(o *roleModel) bool { return o.tenant == r.tenant && o.name == r.name })
	switch {
	case !covers(w.holds(by), []auth.Permission{auth.RolesAdmin}):
		return 403
	case w.taken(r):
		return 409
	case !w.exist(r.tenant, r.inherits), w.reaches(r.tenant, r.inherits, r.name):
		return 400
	case old >= 0 && !covers(w.own(by), w.content(r.tenant, []string{r.name})):
		return 403
	}
	status := 201
	w.roles = append(slices.Clone(w.roles), r)
	if old >= 0 {
		status = 200
		w.roles = slices.Delete(w.roles, old, old+1)
	}
	asBefore := &world{w.keys, before, w.grants}
	if !covers(asBefore.own(by), w.content(r.tenant, []string{r.name})) {
		w.roles = before
		return 403
	}
	return status
}

func (w *world) reaches(tenant string, from []string, name string) bool {
	return slices.ContainsFunc(from, func(n string) bool {
		r := w.role(tenant, n)
		return n == name || r != nil && w.reaches(tenant, r.inherits, name)
	})
}

// mayDelete is the status of a role's end.
func (w *world) mayDelete(by *keyModel, tenant, name string) int {
	at := slices.IndexFunc(w.roles, func(o *roleModel) bool { return o.tenant == tenant && o.name == name })
	ours := func(of string) bool { return tenant == access.Everywhere || of == tenant }
	switch {
	case !covers(w.holds(by), []auth.Permission{auth.RolesAdmin}):
		return 403
	case at < 0:
		return 404
	case !covers(w.own(by), w.content(tenant, []string{name})):
		return 403
	case slices.ContainsFunc(w.keys, func(k *keyModel) bool { return ours(k.tenant) && k.live() && slices.Contains(k.roles, name) }),
		slices.ContainsFunc(w.grants, func(g *grantModel) bool { return ours(g.tenant) && !ended(g.ends) && slices.Contains(g.roles, name) }),
		slices.ContainsFunc(w.roles, func(r *roleModel) bool { return ours(r.tenant) && slices.Contains(r.inherits, name) }):
		return 409
	}
	w.roles = slices.Delete(slices.Clone(w.roles), at, at+1)
	return 204
}

// mayGrant is the status of a grant.
func (w *world) mayGrant(by *keyModel, g *grantModel) int {
	has := w.holds(by)
	switch {
	case !covers(has, []auth.Permission{auth.RolesAdmin}), g.tenant != by.tenant && !w.ownAdmin(by):
		return 403
	case !w.exist(g.tenant, g.roles):
		return 400
	case !covers(has, w.gives(g)):
		return 403
	case outlives(g.ends, by.ends):
		return 400
	}
	w.grants = append(w.grants, g)
	return 201
}

// mayEnd is the status of a grant's end.
func (w *world) mayEnd(by *keyModel, g *grantModel) int {
	has := w.holds(by)
	admin := covers(has, []auth.Permission{auth.Admin})
	switch {
	case !covers(has, []auth.Permission{auth.RolesAdmin}):
		return 403
	case g.tenant != by.tenant && !admin:
		return 404
	case g.byKey != by.lineage && !covers(has, w.gives(g)):
		return 403
	}
	w.grants = slices.DeleteFunc(slices.Clone(w.grants), func(o *grantModel) bool { return o == g })
	return 204
}

// mayRotate is the status of a rotation; next has an id when it is made.
func (w *world) mayRotate(by, k, next *keyModel, overlap time.Duration) int {
	has, planned := w.holds(by), k.ends
	if k.planned != nil {
		planned = *k.planned
	}
	ends := planned
	if by == k {
		ends = k.ends // nobody puts off their own end
	}
	switch {
	case !covers(has, []auth.Permission{auth.KeysAdmin}):
		return 403
	case k.tenant != by.tenant && !covers(has, []auth.Permission{auth.Admin}):
		return 404
	case k.tenant != by.tenant && !w.ownAdmin(by):
		return 403
	case slices.ContainsFunc(w.keys, func(o *keyModel) bool { return o.replaces == k.id && o.live() }):
		return 409
	case k.lineage != by.lineage && !covers(w.own(by), w.holds(k)), by != k && outlives(ends, by.ends):
		return 403
	case w.good(k.lineage) >= 3: // with the old one, which goes on
		return 409
	}
	*next = *k
	next.replaces, next.ends, next.planned = k.id, ends, nil
	k.planned = &planned
	if end := time.Now().Add(overlap).Truncate(time.Millisecond); k.ends.IsZero() || end.Before(k.ends) {
		k.ends = end
	}
	w.keys = append(w.keys, next)
	return 201
}

// good is how many keys of a lineage are.
func (w *world) good(lineage string) (n int) {
	for _, k := range w.keys {
		if k.lineage == lineage && k.live() {
			n++
		}
	}
	return n
}

// mayRevoke is the status of a revocation.
func (w *world) mayRevoke(by, k *keyModel) int {
	has := w.holds(by)
	switch {
	case !covers(has, []auth.Permission{auth.KeysAdmin}):
		return 403
	case k.tenant != by.tenant && !covers(has, []auth.Permission{auth.Admin}):
		return 404
	case k.lineage != by.lineage && !covers(has, w.own(k)):
		return 403
	}
	k.revoked = true
	return 204
}

// sortedIDs are the ids of some rows, for comparing.
func sortedIDs[T any](rows []T, id func(T) string) []string {
	var ids []string
	for _, r := range rows {
		ids = append(ids, id(r))
	}
	slices.SortFunc(ids, cmp.Compare)
	return ids
}
