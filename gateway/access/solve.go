package access

import (
	"fmt"
	"sync"
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

	mu   sync.Mutex
	sets map[string]*Set // what principals may do in all, by who
}

// given is one permission that counts, and the grant that it comes of.
type given struct {
	permission auth.Permission
	grant      *Grant
}

// maxSets bounds the sets that are kept for one tenant: tokens may have any roles.
const maxSets = 10_000

// solutionOf is the tenant's solution at a time.
func (s *State) solutionOf(tenant string, now time.Time) *solution {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.solved[tenant]
	if old != nil && (old.until.IsZero() || now.Before(old.until)) {
		return old
	}
	solved := s.solve(tenant, now)
	s.solved[tenant] = solved
	return solved
}

// wish is a permission of a grant that does not count yet.
type wish struct {
	permission auth.Permission
	grant      *Grant
}

func (s *State) solve(name string, now time.Time) *solution {
	t := s.Tenant(name)
	out := &solution{given: map[Recipient][]given{}, sets: map[string]*Set{}}
	givers := s.givers(name, now, out)
	var wishes []wish
	for _, g := range t.Grants {
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
	for range Depth {
		var counts, rest []wish
		for _, w := range wishes {
			if of := givers[w.grant.By]; of != nil && of.Allows(w.permission) {
				counts = append(counts, w)
			} else {
				rest = append(rest, w)
			}
		}
		if len(counts) == 0 {
			break
		}
		for _, w := range counts { // what they give on counts from the next round
			out.given[w.grant.To] = append(out.given[w.grant.To], given(w))
			for giver, set := range givers {
				if set != nil && giver.Tenant == name && w.grant.To.is(giver) {
					set.add(w.permission)
				}
			}
		}
		wishes = rest
	}
	return out
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
			if k.Lineage == g.Key && out.lives(k.ExpiresAt, now) {
				set = s.ownOfKey(k, set)
			}
		}
		return set
	}
	for _, sub := range t.Subjects {
		if sub.Subject == g.Subject && out.lives(sub.IssuedAt.Add(SubjectCounts), now) {
			set = s.ownOfRoles(sub.Tenant, sub.Roles, sub.NoAdmin)
		}
	}
	return set
}

func (s *State) ownOfKey(k *auth.Key, set *Set) *Set {
	if set == nil {
		set = &Set{}
	}
	for _, p := range k.Scopes {
		set.add(p)
	}
	s.expand(k.Tenant, k.Roles, set.add)
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

// is reports whether a giver of the recipient's tenant gets what it gets.
func (r Recipient) is(g Giver) bool {
	return r.Tenant != "" || r.Key != "" && r.Key == g.Key || r.Subject != "" && r.Subject == g.Subject
}

// recipients are those whose grants a principal gets.
func recipients(p *auth.Principal) []Recipient {
	out := []Recipient{{Tenant: p.Tenant}}
	if p.Lineage != "" {
		out = append(out, Recipient{Key: p.Lineage})
	}
	if p.Subject != "" {
		out = append(out, Recipient{Subject: p.Subject})
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
	set := s.Own(p)
	for _, to := range recipients(p) {
		for _, given := range solved.given[to] {
			set.add(given.permission)
		}
	}
	if len(solved.sets) >= maxSets {
		clear(solved.sets)
	}
	solved.sets[who] = set
	return set
}
