package access

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// Bounds are how much one tenant may have.
type Bounds struct {
	Keys   int // that are remembered, rotations of one counted once
	Roles  int
	Grants int // in force
}

// DefaultBounds are those of a tenant of whom nothing else is configured.
func DefaultBounds() Bounds { return Bounds{Keys: 1000, Roles: 100, Grants: 1000} }

// Decider decides on changes that a principal wants to make of a State.
type Decider struct {
	State  *State
	Bounds Bounds
	Now    time.Time
	By     *auth.Principal
}

// Admin reports whether the principal sees, and takes away, beyond their tenant.
func (d *Decider) Admin() bool { return d.rights().Allows(auth.Admin) }

// OwnAdmin reports whether the principal is an admin without grants. What goes on
// beyond their tenant, or in all of them, takes that: a grant ends.
func (d *Decider) OwnAdmin() bool { return d.own().Allows(auth.Admin) }

func (d *Decider) rights() *Set { return d.State.Rights(d.By, d.Now) }

func (d *Decider) own() *Set { return d.State.Own(d.By) }

// PutRole decides on a role's new content.
func (d *Decider) PutRole(r *Role) (*Change, error) {
	if slices.ContainsFunc(BuiltIns(), func(b *Role) bool { return b.Name == r.Name }) {
		return nil, problem.New(problem.Conflict, "the role %s is built in, and fixed: choose another name", r.Name)
	}
	if err := d.mayAct(r.Tenant); err != nil {
		return nil, err
	}
	if err := d.nameIsFree(r); err != nil {
		return nil, err
	}
	before := d.stored(r)
	if before == nil && len(d.State.Tenant(r.Tenant).Roles) >= d.Bounds.Roles {
		return nil, problem.New(problem.Conflict, "there are %d roles, which is the bound (MODELSERVE_TENANT_ROLES): delete some", d.Bounds.Roles)
	}
	if err := d.rolesExist("inherits", r.Tenant, r.Inherits); err != nil {
		return nil, err
	}
	after := d.State.Apply(&Change{Roles: []*Role{r}})
	if after.reaches(r.Tenant, r.Inherits, r.Name) {
		return nil, problem.Invalid("inherits", "the role would inherit itself")
	}
	if err := after.bounded(r.Tenant, d.Now); err != nil {
		return nil, err
	}
	for _, state := range []*State{d.State, after} { // nor may they take from others what they could not give
		content := &Set{}
		state.expand(r.Tenant, []string{r.Name}, content.add)
		if err := d.gives(d.own(), content, "write a role with"); err != nil {
			return nil, err
		}
	}
	return &Change{Roles: []*Role{r}}, nil
}

// stored is what is stored of a role; nil is nothing.
func (d *Decider) stored(r *Role) *Role {
	i := slices.IndexFunc(d.State.Tenant(r.Tenant).Roles, func(o *Role) bool { return o.Name == r.Name })
	if i < 0 {
		return nil
	}
	return d.State.Tenant(r.Tenant).Roles[i]
}

// nameIsFree keeps one name from meaning two roles to anybody.
func (d *Decider) nameIsFree(r *Role) error {
	if r.Tenant != Everywhere {
		if d.stored(&Role{Name: r.Name}) == nil {
			return nil
		}
		return problem.New(problem.Conflict, "there is a role %s that every tenant has: choose another name", r.Name)
	}
	var own []string
	for _, tenant := range d.State.Tenants() {
		if tenant != Everywhere && d.stored(&Role{Tenant: tenant, Name: r.Name}) != nil {
			own = append(own, tenant)
		}
	}
	if len(own) == 0 {
		return nil
	}
	slices.Sort(own) // an admin may know whose
	return problem.New(problem.Conflict, "tenants have a role %s of their own, which would then mean two things to them (%s is one of %d): choose another name, or have them delete theirs", r.Name, own[0], len(own))
}

// reaches reports whether one of some roles is, or inherits, the one of a name.
func (s *State) reaches(tenant string, from []string, name string) bool {
	seen := map[string]bool{}
	var visit func(tenant string, names []string) bool
	visit = func(tenant string, names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool {
			if n == name {
				return true
			}
			r := s.role(tenant, n)
			if r == nil || seen[n] {
				return false
			}
			seen[n] = true
			return visit(r.Tenant, r.Inherits)
		})
	}
	return visit(tenant, from)
}

// DeleteRole decides on the end of a role, which nobody may hold.
func (d *Decider) DeleteRole(r *Role) (*Change, error) {
	if slices.ContainsFunc(BuiltIns(), func(b *Role) bool { return b.Name == r.Name }) {
		return nil, problem.New(problem.Conflict, "the role %s is built in, and fixed", r.Name)
	}
	if err := d.mayAct(r.Tenant); err != nil {
		return nil, err
	}
	stored := d.stored(r)
	if stored == nil {
		return nil, problem.New(problem.NotFound, "there is no role of this name")
	}
	content := &Set{}
	d.State.expand(stored.Tenant, []string{stored.Name}, content.add)
	if err := d.gives(d.own(), content, "delete a role with"); err != nil {
		return nil, err
	}
	if by := d.holders(stored); by != "" {
		return nil, problem.New(problem.Conflict, "the role is held by %s: end that first", by)
	}
	return &Change{EndRoles: []*Role{stored}}, nil
}

// holders names some of what has a role; "" is nothing.
func (d *Decider) holders(r *Role) string {
	var keys, grants, roles int
	for _, name := range d.State.Tenants() {
		if r.Tenant != Everywhere && name != r.Tenant {
			continue
		}
		t := d.State.Tenant(name)
		for _, k := range t.Keys {
			if slices.Contains(k.Roles, r.Name) && k.Status(d.Now) == auth.Active {
				keys++
			}
		}
		for _, g := range t.Grants {
			if slices.Contains(g.Roles, r.Name) && (g.ExpiresAt.IsZero() || d.Now.Before(g.ExpiresAt)) {
				grants++
			}
		}
		for _, other := range t.Roles {
			if slices.Contains(other.Inherits, r.Name) {
				roles++
			}
		}
	}
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{keys, "keys"}, {grants, "grants"}, {roles, "roles that inherit it"}} {
		if c.n > 0 {
			parts = append(parts, counted(c.n, c.what))
		}
	}
	return strings.Join(parts, " and ")
}

// Grant decides on a new grant. It counts from the moment it is given, as long as
// its giver has what it gives.
func (d *Decider) Grant(g *Grant) (*Change, error) {
	if err := d.mayAct(g.Tenant); err != nil {
		return nil, err
	}
	if err := d.recipientExists(g); err != nil {
		return nil, err
	}
	if err := d.rolesExist("roles", g.Tenant, g.Roles); err != nil {
		return nil, err
	}
	wanted := d.State.contentOf(g)
	if err := d.gives(d.rights(), wanted, "grant"); err != nil {
		return nil, err
	}
	giver, err := d.subject(wanted)
	if err != nil {
		return nil, err
	}
	if end := d.until(); outlives(g.ExpiresAt, end) {
		return nil, problem.Invalid("expires_at", "expected a time not after the end of the credential that grants, %s", written(end))
	}
	change := &Change{Grants: []*Grant{g}, Subjects: giver}
	n := 0
	for _, other := range d.State.Tenant(g.Tenant).Grants {
		if other.ExpiresAt.IsZero() || d.Now.Before(other.ExpiresAt) {
			n++
		} else { // it makes room
			change.EndGrants = append(change.EndGrants, other)
		}
	}
	if n >= d.Bounds.Grants {
		return nil, problem.New(problem.Conflict, "the tenant has %d grants, which is the bound (MODELSERVE_TENANT_GRANTS): end some", n)
	}
	after := d.State.Apply(change)
	if err := after.bounded(g.Tenant, d.Now); err != nil {
		return nil, err
	}
	given := 0
	for _, p := range after.solutionOf(g.Tenant, d.Now).given[g.To] {
		if p.grant.ID == g.ID {
			given++
		}
	}
	if given < len(wanted.all) {
		return nil, problem.New(problem.Conflict, "what is to be granted was granted to its giver in turn, %d times over, which is the bound: have one of the earlier grant it", Depth)
	}
	return change, nil
}

// subject is what is to be stored of the token that grants, where it is newer than what
// is stored of its subject. An older one grants what the stored one may: whoever lost
// a right does not give it by a token of before.
func (d *Decider) subject(wanted *Set) ([]*Subject, error) {
	if d.By.Subject == "" {
		return nil, nil
	}
	row := SubjectOf(d.By)
	if row.IssuedAt.IsZero() || !d.Now.Before(row.IssuedAt.Add(SubjectCounts)) {
		return nil, problem.New(problem.PermissionDenied, "granting needs a token with iat, at most 24 h old")
	}
	stored := d.State.subject(row.Tenant, row.Subject)
	if stored == nil || row.IssuedAt.After(stored.IssuedAt) {
		return []*Subject{row}, nil
	}
	newest := *d.By
	newest.Roles, newest.NoAdmin = stored.Roles, stored.NoAdmin
	if p := d.State.Rights(&newest, d.Now).lacks(wanted); p != "" {
		return nil, problem.New(problem.PermissionDenied, "a token of this subject that is not older does not hold %s, so that this one cannot grant it: take a new token", p)
	}
	return nil, nil
}

// subject is what is stored of a subject's last token; nil is nothing.
func (s *State) subject(tenant, name string) *Subject {
	for _, known := range s.Tenant(tenant).Subjects {
		if known.Subject == name {
			return known
		}
	}
	return nil
}

// contentOf are the permissions that a grant has.
func (s *State) contentOf(g *Grant) *Set {
	content := &Set{}
	for _, p := range g.Permissions {
		content.add(p)
	}
	s.expand(g.Tenant, g.Roles, content.add)
	return content
}

// SubjectOf is what counts of a token for what its subject granted.
func SubjectOf(p *auth.Principal) *Subject {
	return &Subject{Subject: p.Subject, Tenant: p.Tenant, Roles: p.Roles, NoAdmin: p.NoAdmin, IssuedAt: p.IssuedAt.UTC().Truncate(time.Millisecond)}
}

// recipientExists checks who is to get a grant, and makes a key's id its lineage.
func (d *Decider) recipientExists(g *Grant) error {
	if g.To.Tenant != "" && g.To.Tenant != g.Tenant {
		return problem.Invalid("to.tenant", "expected the tenant of the grant")
	}
	if g.To.Key == "" {
		return nil
	}
	k := d.State.Key(g.To.Key)
	if k == nil || k.Tenant != g.Tenant || k.Status(d.Now) != auth.Active {
		return problem.Invalid("to.key", "expected the id of a key of the tenant that is good")
	}
	g.To.Key = k.Lineage
	return nil
}

// EndGrant decides on the end of a grant: by whoever gave it, or by who could have.
func (d *Decider) EndGrant(id string) (*Change, error) {
	g := d.grant(id)
	if g == nil {
		return nil, problem.New(problem.NotFound, "there is no grant of this id")
	}
	if g.By != GiverOf(d.By) {
		if err := d.gives(d.rights(), d.State.contentOf(g), "end a grant of"); err != nil {
			return nil, err
		}
	}
	return &Change{EndGrants: []*Grant{g}}, nil
}

// grant is a grant that the principal may see; nil is none.
func (d *Decider) grant(id string) *Grant {
	tenants := []string{d.By.Tenant}
	if d.Admin() {
		tenants = d.State.Tenants()
	}
	for _, name := range tenants {
		for _, g := range d.State.Tenant(name).Grants {
			if g.ID == id {
				return g
			}
		}
	}
	return nil
}

// mayAct is nil where the principal may make what goes on in a tenant.
func (d *Decider) mayAct(tenant string) error {
	switch {
	case tenant == d.By.Tenant || d.OwnAdmin():
		return nil
	case d.Admin():
		return problem.New(problem.PermissionDenied, "this credential is an admin by a grant alone, which ends: beyond tenant %s it may not do that", d.By.Tenant)
	default:
		return problem.New(problem.PermissionDenied, "this credential may do that in tenant %s only", d.By.Tenant)
	}
}

func (d *Decider) rolesExist(field, tenant string, names []string) error {
	for i, name := range names {
		if d.State.role(tenant, name) == nil {
			return problem.Invalid(element(field, i), "expected the name of a role: viewer, invoker, deployer, auditor, admin, or one that was made")
		}
	}
	return nil
}

// gives is nil where a set has all that is to be given.
func (*Decider) gives(has, wanted *Set, what string) error {
	if p := has.lacks(wanted); p != "" {
		return problem.New(problem.PermissionDenied, "this credential does not hold %s, so that it cannot %s it", p, what)
	}
	return nil
}

func counted(n int, what string) string { return strconv.Itoa(n) + " " + what }

func element(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
