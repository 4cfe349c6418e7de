package access

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// Depth is how many givings deep a grant counts: what A gave B, and B gave on to C,
// is two deep for C. It bounds what one tenant can have computed.
const Depth = 8

// solution is what a tenant's grants come to, until a time: which of them count,
// for each of their permissions, since whoever gave them holds it.
//
// It is the least one: grants that were given in a circle do not hold each other up.
type solution struct {
	until   time.Time // when something in it ends; zero is never
	foreign bool      // something was given by a principal of another tenant
	given   map[Recipient][]given
	has     map[Recipient]*Set // the same, compiled

	mu    sync.Mutex
	sets  map[string]*Set // what principals may do in all, by who
	roles map[string]*Set // what lists of roles come to
	held  int             // permissions in both
}

func newSolution() *solution {
	return &solution{given: map[Recipient][]given{}, has: map[Recipient]*Set{}, sets: map[string]*Set{}, roles: map[string]*Set{}}
}

// given is one permission that counts, and the grant that it comes of.
type given struct {
	permission auth.Permission
	grant      *Grant
}

// mostHeld bounds the permissions in the sets that are kept for one tenant: tokens may
// have any roles, and a hundred keys of the most that a tenant's roles have.
const mostHeld = 200_000

// solving is a tenant's solution, or that it is being computed: other tenants' calls do
// not wait for it.
type solving struct {
	mu   sync.Mutex // while it is computed
	last atomic.Pointer[solution]
}

// solutionOf is the tenant's solution at a time.
func (s *State) solutionOf(tenant string, now time.Time) *solution {
	of := s.solving(tenant)
	if last := of.last.Load(); last.holds(now) {
		return last
	}
	of.mu.Lock()
	defer of.mu.Unlock()
	if last := of.last.Load(); last.holds(now) {
		return last
	}
	solved := s.solve(tenant, now)
	of.last.Store(solved)
	return solved
}

func (s *State) solving(tenant string) *solving {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.solved[tenant]
	if of == nil {
		of = &solving{}
		s.solved[tenant] = of
	}
	return of
}

// holds reports whether a solution, if there is one, holds at a time.
func (o *solution) holds(now time.Time) bool {
	return o != nil && (o.until.IsZero() || now.Before(o.until))
}

// wish is a permission of a grant that does not count yet.
type wish struct {
	permission auth.Permission
	grant      *Grant
}

func (s *State) solve(name string, now time.Time) *solution {
	out := newSolution()
	givers := s.givers(name, now, out)
	wishes := s.wishes(name, now, out)
	for range Depth {
		var counts, rest []wish
		for _, w := range wishes {
			if by := w.grant.By; givers[by] != nil && (givers[by].Allows(w.permission) || by.Tenant == name && out.hands(by, w.permission)) {
				counts = append(counts, w)
			} else {
				rest = append(rest, w)
			}
		}
		if len(counts) == 0 {
			break
		}
		for _, w := range counts { // what they give on counts from the next round
			to := w.grant.To
			out.given[to] = append(out.given[to], given(w))
			if out.has[to] == nil {
				out.has[to] = &Set{}
			}
			out.has[to].add(w.permission)
		}
		wishes = rest
	}
	return out
}

// wishes are what a tenant's grants would give.
func (s *State) wishes(name string, now time.Time, out *solution) (wishes []wish) {
	for _, g := range s.Tenant(name).Grants {
		if !out.lives(g.ExpiresAt, now) {
			continue
		}
		set := &Set{}
		for _, p := range g.Permissions {
			set.add(p)
		}
		s.expand(g.Tenant, g.Roles, set.add)
		for _, p := range set.all {
			wishes = append(wishes, wish{p, g})
		}
	}
	return wishes
}

// hands reports whether what counts until now hands a giver of the tenant a permission.
func (o *solution) hands(by Giver, p auth.Permission) bool {
	for _, to := range recipientsOf(by.Tenant, by.Key, by.Subject) {
		if set := o.has[to]; set != nil && set.Allows(p) {
			return true
		}
	}
	return false
}

// givers are the rights that the givers of a tenant's grants have by themselves.
// Those of another tenant have to be admins there by themselves.
func (s *State) givers(name string, now time.Time, out *solution) map[Giver]*Set {
	givers := map[Giver]*Set{}
	for _, g := range s.Tenant(name).Grants {
		if _, known := givers[g.By]; known {
			continue
		}
		set := s.ownOf(g.By, now, out)
		if g.By.Tenant != name {
			out.foreign = true
			if set != nil && !set.Allows(auth.Admin) {
				set = nil
			}
		}
		givers[g.By] = set
	}
	return givers
}

// ownOf is what a giver may do without grants; nil is one who is no longer good.
func (s *State) ownOf(g Giver, now time.Time, out *solution) *Set {
	t := s.Tenant(g.Tenant)
	var set *Set
	if g.Key != "" {
		for _, k := range t.Keys {
			if k.Lineage != g.Key || !out.lives(k.ExpiresAt, now) {
				continue
			}
			if set == nil {
				set = &Set{}
			}
			out.hold(s, set, k.Tenant, k.Roles, k.Scopes, false)
		}
		return set
	}
	for _, sub := range t.Subjects {
		if sub.Subject == g.Subject && out.lives(sub.IssuedAt.Add(SubjectCounts), now) {
			set = &Set{}
			out.hold(s, set, sub.Tenant, sub.Roles, nil, sub.NoAdmin)
		}
	}
	return set
}

func (s *State) ownOfRoles(tenant string, roles []string, noAdmin bool) *Set {
	set := &Set{}
	s.expand(tenant, roles, func(p auth.Permission) {
		if p != auth.Admin || !noAdmin {
			set.add(p)
		}
	})
	return set
}

// hold adds scopes and roles to what a set has by itself. What roles come to is kept,
// and shared by those who have the same ones.
func (o *solution) hold(s *State, set *Set, tenant string, roles []string, scopes []auth.Permission, noAdmin bool) {
	for _, p := range scopes {
		set.add(p)
	}
	if len(roles) == 0 {
		return
	}
	name := fmt.Sprintf("%s %v %q", tenant, noAdmin, roles)
	of := o.roles[name]
	if of == nil {
		of = s.ownOfRoles(tenant, roles, noAdmin)
		o.makeRoom(len(of.all))
		o.roles[name] = of
	}
	set.shared = append(set.shared, of)
}

// makeRoom has room for n more permissions in what is kept.
func (o *solution) makeRoom(n int) {
	if o.held += n + 1; o.held > mostHeld {
		clear(o.sets)
		clear(o.roles)
		o.held = n + 1
	}
}

// lives reports whether what ends at a time has not ended, and has the solution be
// computed anew when it does.
func (o *solution) lives(ends, now time.Time) bool {
	if ends.IsZero() {
		return true
	}
	if !now.Before(ends) {
		return false
	}
	if o.until.IsZero() || ends.Before(o.until) {
		o.until = ends
	}
	return true
}

// recipientsOf are those whose grants somebody gets: their tenant, and the key's lineage
// or the subject that they are.
func recipientsOf(tenant, lineage, subject string) []Recipient {
	out := []Recipient{{Tenant: tenant}}
	if lineage != "" {
		out = append(out, Recipient{Key: lineage})
	}
	if subject != "" {
		out = append(out, Recipient{Subject: subject})
	}
	return out
}

// Own is what a principal may do without what others granted.
func (s *State) Own(p *auth.Principal) *Set {
	set := s.ownOfRoles(p.Tenant, p.Roles, p.NoAdmin)
	for _, scope := range p.Scopes {
		set.add(scope)
	}
	return set
}

// Rights is what a principal may do at a time. The caller does not change it.
func (s *State) Rights(p *auth.Principal, now time.Time) *Set {
	solved := s.solutionOf(p.Tenant, now)
	who := p.ID
	if p.Lineage == "" { // tokens of one subject may have different roles
		who = fmt.Sprintf("%s %q %q %v", p.ID, p.Roles, p.Scopes, p.NoAdmin)
	}
	solved.mu.Lock()
	defer solved.mu.Unlock()
	if set := solved.sets[who]; set != nil {
		return set
	}
	set := &Set{}
	solved.hold(s, set, p.Tenant, p.Roles, p.Scopes, p.NoAdmin)
	for _, to := range recipientsOf(p.Tenant, p.Lineage, p.Subject) {
		if given := solved.has[to]; given != nil {
			set.shared = append(set.shared, given)
		}
	}
	solved.makeRoom(len(set.all))
	solved.sets[who] = set
	return set
}
