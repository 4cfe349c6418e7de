package access

import (
	"maps"
	"slices"
	"sync"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// State is what was stored at one moment, of all tenants. It does not change; what
// follows from it is computed when it is first asked for.
type State struct {
	tenants map[string]*Tenant
	keys    map[string]*auth.Key // by id
	builtIn map[string]*Role

	mu     sync.Mutex
	solved map[string]*solving // by tenant
}

// NewState is the State with nothing stored.
func NewState() *State {
	s := &State{tenants: map[string]*Tenant{}, keys: map[string]*auth.Key{}, builtIn: map[string]*Role{}, solved: map[string]*solving{}}
	for _, r := range BuiltIns() {
		s.builtIn[r.Name] = r
	}
	return s
}

// With is the State in which these tenants are as given; nil is one of which
// nothing is stored.
func (s *State) With(changed map[string]*Tenant) *State {
	next := &State{
		tenants: maps.Clone(s.tenants), keys: maps.Clone(s.keys), builtIn: s.builtIn, solved: map[string]*solving{},
	}
	for name, t := range changed {
		if before := next.tenants[name]; before != nil {
			for _, k := range before.Keys {
				delete(next.keys, k.ID)
			}
		}
		if t == nil {
			delete(next.tenants, name)
			continue
		}
		next.tenants[name] = t
		for _, k := range t.Keys {
			next.keys[k.ID] = k
		}
	}
	if _, all := changed[Everywhere]; all {
		return next
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, of := range s.solved {
		last := of.last.Load()
		if _, ok := changed[name]; !ok && last != nil && !last.foreign {
			next.solved[name] = &solving{}
			next.solved[name].last.Store(last)
		}
	}
	return next
}

// Apply is the State after a change.
func (s *State) Apply(c *Change) *State {
	changed := map[string]*Tenant{}
	for _, name := range c.Tenants() {
		changed[name] = s.Tenant(name).apply(name, c)
	}
	return s.With(changed)
}

func (t *Tenant) apply(name string, c *Change) *Tenant {
	next := &Tenant{
		Keys: slices.Clone(t.Keys), Roles: slices.Clone(t.Roles), Grants: slices.Clone(t.Grants), Subjects: slices.Clone(t.Subjects),
	}
	for _, k := range c.Keys {
		if k.Tenant == name {
			next.Keys = put(next.Keys, k, func(o *auth.Key) bool { return o.ID == k.ID }, !k.RevokedAt.IsZero())
		}
	}
	for _, k := range c.EndKeys {
		if k.Tenant == name {
			next.Keys = put(next.Keys, k, func(o *auth.Key) bool { return o.ID == k.ID }, true)
		}
	}
	roles := func(list []*Role, gone bool) {
		for _, r := range list {
			if r.Tenant == name {
				next.Roles = put(next.Roles, r, func(o *Role) bool { return o.Name == r.Name }, gone)
			}
		}
	}
	grants := func(list []*Grant, gone bool) {
		for _, g := range list {
			if g.Tenant == name {
				next.Grants = put(next.Grants, g, func(o *Grant) bool { return o.ID == g.ID }, gone)
			}
		}
	}
	roles(c.Roles, false)
	roles(c.EndRoles, true)
	grants(c.Grants, false)
	grants(c.EndGrants, true)
	for _, sub := range c.Subjects {
		if sub.Tenant == name {
			next.Subjects = put(next.Subjects, sub, func(o *Subject) bool { return o.Subject == sub.Subject }, false)
		}
	}
	return next
}

// put puts a row in the place of the same one, or at the end; gone takes it out.
func put[T any](list []T, row T, same func(T) bool, gone bool) []T {
	i := slices.IndexFunc(list, same)
	switch {
	case gone && i < 0:
		return list
	case gone:
		return slices.Delete(list, i, i+1)
	case i < 0:
		return append(list, row)
	}
	list[i] = row
	return list
}

// Tenant is what is stored of a tenant; never nil.
func (s *State) Tenant(name string) *Tenant {
	if t := s.tenants[name]; t != nil {
		return t
	}
	return &Tenant{}
}

// Tenants are those of which something is stored, in no order.
func (s *State) Tenants() []string { return slices.Collect(maps.Keys(s.tenants)) }

// Key is a key that is not revoked; nil is none.
func (s *State) Key(id string) *auth.Key { return s.keys[id] }

// Keys is how many there are, of all tenants.
func (s *State) Keys() int { return len(s.keys) }

// KeysThat are the keys of which is holds, in no order.
func (s *State) KeysThat(is func(*auth.Key) bool) []*auth.Key {
	var out []*auth.Key
	for _, k := range s.keys {
		if is(k) {
			out = append(out, k)
		}
	}
	return out
}

// role is the role of a name in a tenant: built in, everybody's, or the tenant's
// own. There is at most one of them, but for a name that nobody holds; nil is none.
func (s *State) role(tenant, name string) *Role {
	if r := s.builtIn[name]; r != nil {
		return r
	}
	for _, of := range []string{Everywhere, tenant} {
		for _, r := range s.Tenant(of).Roles {
			if r.Name == name {
				return r
			}
		}
	}
	return nil
}

// expand adds the permissions of roles, and of what they inherit. Names of no role
// are ignored.
func (s *State) expand(tenant string, names []string, add func(auth.Permission)) {
	s.visit(tenant, names, func(r *Role) {
		for _, p := range r.Permissions {
			add(p)
		}
	})
}

// visit visits roles and what they inherit, each once.
func (s *State) visit(tenant string, names []string, each func(*Role)) {
	seen := map[string]bool{}
	var visit func(tenant string, names []string)
	visit = func(tenant string, names []string) {
		for _, name := range names {
			r := s.role(tenant, name)
			if r == nil || seen[name] {
				continue
			}
			seen[name] = true
			each(r)
			visit(r.Tenant, r.Inherits) // everybody's inherit none of one tenant
		}
	}
	visit(tenant, names)
}
