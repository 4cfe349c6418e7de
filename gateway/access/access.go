// Package access decides what principals may do: the roles and grants that exist,
// what follows from them for each principal, and which changes of keys, roles and
// grants somebody may make.
//
// It is pure: a State is what was stored at one moment, and every decision is made
// on one State. It identifies nobody, stores nothing and knows no URL.
package access

import (
	"slices"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// Everywhere is the tenant of what every tenant has: the roles that admins made.
const Everywhere = ""

// Role is a named list of permissions.
type Role struct {
	Tenant      string // whose it is; Everywhere where an admin made it
	Name        string // a DNS label
	Inherits    []string
	Permissions []auth.Permission
	UpdatedAt   time.Time
}

// Grant gives permissions to somebody, as long as whoever gave them holds them.
type Grant struct {
	ID          string
	Tenant      string // of those who get it
	To          Recipient
	By          Giver
	Roles       []string // as they are in Tenant
	Permissions []auth.Permission
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero is never
}

// Recipient is who gets a grant. One field is set.
type Recipient struct {
	Key     string // a lineage of keys
	Subject string // "<issuer> <subject>" of tokens
	Tenant  string // each of its principals
}

// Giver is who gave a grant: a lineage of keys, or the subject of tokens.
type Giver struct{ Tenant, Key, Subject string }

// GiverOf is a principal as a giver.
func GiverOf(p *auth.Principal) Giver {
	return Giver{Tenant: p.Tenant, Key: p.Lineage, Subject: p.Subject}
}

// Subject is what the last token of somebody who gave grants said. It counts for
// what they gave, for SubjectCounts after it was issued.
type Subject struct {
	Subject  string // "<issuer> <subject>"
	Tenant   string
	Roles    []string
	NoAdmin  bool
	IssuedAt time.Time // of the token
}

// SubjectCounts is how long after its last token a subject counts as a giver.
const SubjectCounts = 24 * time.Hour

// Tenant is all that is stored of one tenant: its keys that are not revoked, and
// its roles and grants. It does not change.
type Tenant struct {
	Keys     []*auth.Key
	Roles    []*Role
	Grants   []*Grant
	Subjects []*Subject
}

// The roles that are built in, and fixed.
const (
	viewer    = "viewer"
	invoker   = "invoker"
	deployer  = "deployer"
	auditor   = "auditor"
	adminRole = "admin"
)

// BuiltIns are the roles that every tenant has and nobody changes, by name.
func BuiltIns() []*Role {
	return []*Role{
		{Name: adminRole, Permissions: []auth.Permission{auth.Admin}},
		{Name: auditor, Permissions: []auth.Permission{auth.AuditRead, auth.UsageRead}},
		{Name: deployer, Inherits: []string{invoker}, Permissions: []auth.Permission{
			auth.ModelsWrite, auth.PipelinesWrite, auth.ExecutionsWrite, auth.SchedulesWrite, auth.WebhooksWrite,
		}},
		{Name: invoker, Permissions: []auth.Permission{auth.InferAll, auth.RunAll, auth.EventsSend, auth.ExecutionsRead}},
		{Name: viewer, Permissions: []auth.Permission{auth.ModelsRead, auth.PipelinesRead, auth.ExecutionsRead, auth.UsageRead}},
	}
}

// Change is what is written in one transaction: whole rows, and what goes.
type Change struct {
	Keys     []*auth.Key // by id; one that is revoked leaves the State
	Roles    []*Role     // by tenant and name
	Grants   []*Grant    // by id
	Subjects []*Subject  // by tenant and subject

	EndKeys   []*auth.Key // that expired longer ago than Remembered; what stores them forgets them by itself
	EndRoles  []*Role
	EndGrants []*Grant
}

// Tenants are those that a change is of, each once.
func (c *Change) Tenants() []string {
	seen := map[string]bool{}
	var out []string
	add := func(tenant string) {
		if !seen[tenant] {
			seen[tenant] = true
			out = append(out, tenant)
		}
	}
	for _, k := range slices.Concat(c.Keys, c.EndKeys) {
		add(k.Tenant)
	}
	for _, list := range [][]*Role{c.Roles, c.EndRoles} {
		for _, r := range list {
			add(r.Tenant)
		}
	}
	for _, list := range [][]*Grant{c.Grants, c.EndGrants} {
		for _, g := range list {
			add(g.Tenant)
		}
	}
	for _, s := range c.Subjects {
		add(s.Tenant)
	}
	return out
}
