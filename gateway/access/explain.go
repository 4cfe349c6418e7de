package access

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// Explanation is whether somebody may do something, and why, in sentences.
type Explanation struct {
	Allowed bool
	Because []string // at least one
}

// mostReasons bounds the sentences of an explanation.
const mostReasons = 20

// ExplainKey explains whether a key has one of some permissions at a time.
func (s *State) ExplainKey(k *auth.Key, now time.Time, needs ...auth.Permission) Explanation {
	switch k.Status(now) {
	case auth.Revoked:
		return Explanation{Because: []string{fmt.Sprintf("The key %s was revoked at %s.", k.ID, at(k.RevokedAt))}}
	case auth.Expired:
		return Explanation{Because: []string{fmt.Sprintf("The key %s ended at %s.", k.ID, at(k.ExpiresAt))}}
	default:
		return s.Explain(k.Principal(), now, needs...)
	}
}

// Explain explains whether a principal has one of some permissions at a time: by
// which scopes, roles and grants they have, or else which come near, and why those do
// not count. Who is of another tenant is called the platform.
func (s *State) Explain(p *auth.Principal, now time.Time, needs ...auth.Permission) Explanation {
	e := explanation{state: s, of: p, now: now, needs: needs}
	held := s.Rights(p, now)
	e.scopes()
	e.roles()
	e.grants()
	if slices.ContainsFunc(needs, held.Allows) {
		return Explanation{true, e.by[:min(len(e.by), mostReasons)]}
	}
	e.near(held)
	nothing := "Nothing that " + p.ID + " holds gives " + anyOf(needs) + "."
	return Explanation{false, append([]string{nothing}, e.not[:min(len(e.not), mostReasons)]...)}
}

// explanation is one that is being made.
type explanation struct {
	state *State
	of    *auth.Principal
	now   time.Time
	needs []auth.Permission
	by    []string // what gives it
	not   []string // what comes near
}

// gives reports whether a permission is one of those that are needed, or covers it.
func (e *explanation) gives(p auth.Permission) bool {
	return slices.ContainsFunc(e.needs, p.Covers)
}

func (e *explanation) scopes() {
	for _, scope := range e.of.Scopes {
		if e.gives(scope) {
			e.by = append(e.by, fmt.Sprintf("The key has the scope %s.", scope))
		}
	}
}

func (e *explanation) roles() {
	for _, name := range e.of.Roles {
		path, p := e.state.path(e.of.Tenant, name, func(p auth.Permission) bool {
			return e.gives(p) && (p != auth.Admin || !e.of.NoAdmin)
		})
		switch {
		case len(path) > 0:
			name := strings.Join(path, ", which inherits ")
			if len(path) > 1 {
				name += ","
			}
			e.by = append(e.by, fmt.Sprintf("The role %s has %s.", name, p))
		case e.state.role(e.of.Tenant, name) == nil:
			e.not = append(e.not, fmt.Sprintf("There is no role %s, so that holding it gives nothing.", name))
		case e.of.NoAdmin:
			if admin, _ := e.state.path(e.of.Tenant, name, func(p auth.Permission) bool { return p == auth.Admin }); len(admin) > 0 {
				e.not = append(e.not, fmt.Sprintf("The role %s has admin, which tokens of this issuer do not give.", name))
			}
		}
	}
}

// path is by which inheritance a role has a permission that is looked for; empty is
// by none.
func (s *State) path(tenant, name string, wanted func(auth.Permission) bool) (path []string, found auth.Permission) {
	seen := map[string]bool{}
	var visit func(tenant, name string) bool
	visit = func(tenant, name string) bool {
		r := s.role(tenant, name)
		if r == nil || seen[name] {
			return false
		}
		seen[name] = true
		path = append(path, name)
		if i := slices.IndexFunc(r.Permissions, wanted); i >= 0 {
			found = r.Permissions[i]
			return true
		}
		if slices.ContainsFunc(r.Inherits, func(n string) bool { return visit(r.Tenant, n) }) {
			return true
		}
		path = path[:len(path)-1]
		return false
	}
	visit(tenant, name)
	return path, found
}

func (e *explanation) grants() {
	counting := e.state.solutionOf(e.of.Tenant, e.now).given
	to := recipientsOf(e.of.Tenant, e.of.Lineage, e.of.Subject)
	for _, g := range e.state.Tenant(e.of.Tenant).Grants {
		if !slices.Contains(to, g.To) {
			continue
		}
		counts := slices.IndexFunc(counting[g.To], func(one given) bool { return one.grant == g && e.gives(one.permission) })
		if counts >= 0 {
			p := counting[g.To][counts].permission
			e.by = append(e.by, fmt.Sprintf("The grant %s, %s, gives %s, which %s holds.", g.ID, toWhom(g.To), p, e.giver(g)))
			continue
		}
		e.grantNot(g)
	}
}

// grantNot explains why a grant does not give what is needed, where it comes near.
func (e *explanation) grantNot(g *Grant) {
	for _, name := range g.Roles {
		if e.state.role(g.Tenant, name) == nil {
			e.not = append(e.not, fmt.Sprintf("The grant %s gives the role %s, which does not exist.", g.ID, name))
		}
	}
	set := &Set{}
	for _, p := range g.Permissions {
		set.add(p)
	}
	e.state.expand(g.Tenant, g.Roles, set.add)
	i := slices.IndexFunc(set.all, e.gives)
	if i < 0 {
		return
	}
	p := set.all[i]
	var why string
	own := e.state.ownOf(g.By, e.now, newSolution())
	switch {
	case !g.ExpiresAt.IsZero() && !e.now.Before(g.ExpiresAt):
		why = "ended at " + at(g.ExpiresAt)
	case own == nil && g.By.Key != "":
		why = "does not count, since the key of its giver, " + e.giver(g) + ", has ended"
	case own == nil:
		why = "does not count, since its giver, " + e.giver(g) + ", has had no token for " + SubjectCounts.String()
	case g.By.Tenant != g.Tenant && !own.Allows(auth.Admin):
		why = "does not count, since its giver, the platform, is no admin any more"
	case own.Allows(p) || e.granted(g.By, p):
		why = fmt.Sprintf("does not count, since it was given on more than %d times", Depth)
	default:
		why = "does not count, since its giver, " + e.giver(g) + ", does not hold that any more"
	}
	e.not = append(e.not, fmt.Sprintf("The grant %s, %s, of %s %s.", g.ID, toWhom(g.To), p, why))
}

// granted reports whether a giver holds a permission by grants.
func (e *explanation) granted(by Giver, p auth.Permission) bool {
	return e.state.solutionOf(by.Tenant, e.now).hands(by, p)
}

// giver names who gave a grant, as those who get it may know.
func (e *explanation) giver(g *Grant) string { return g.By.Name(e.of.Tenant) }

// Name is the giver as a tenant may know them.
func (g Giver) Name(tenant string) string {
	switch {
	case g.Tenant != tenant:
		return "platform"
	case g.Key != "":
		return "key:" + g.Key
	default:
		return "subject:" + g.Subject
	}
}

func toWhom(r Recipient) string {
	switch {
	case r.Key != "":
		return "to this key"
	case r.Subject != "":
		return "to this subject"
	default:
		return "to everyone of the tenant"
	}
}

// mostNear bounds the permissions that are named as coming near.
const mostNear = 5

// near names what is held of the same kind.
func (e *explanation) near(held *Set) {
	area := func(p auth.Permission) string { before, _, _ := strings.Cut(string(p), ":"); return before }
	var near []string
	for p := range held.each {
		if slices.ContainsFunc(e.needs, func(n auth.Permission) bool { return area(n) == area(p) }) {
			near = append(near, string(p))
		}
	}
	slices.Sort(near)
	near = near[:min(len(near), mostNear)]
	if len(near) > 0 {
		e.not = append(e.not, "What comes near, and does not cover it: "+strings.Join(near, ", ")+".")
	}
}

func anyOf(needs []auth.Permission) string {
	var texts []string
	for _, n := range needs {
		texts = append(texts, string(n))
	}
	return strings.Join(texts, " or ")
}

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }
