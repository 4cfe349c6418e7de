package access

import (
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// What follows from roles and grants is computed while others' changes wait, so that one
// tenant's are bounded in what they come to, too.
const (
	// mostWritten is how many permissions the roles of a tenant have together.
	mostWritten = 1000

	// mostGranted is how many permissions the grants of a tenant give together, with
	// their roles and all that these inherit, each counted as often as it is given.
	mostGranted = 20_000
)

// bounded refuses the state where the roles or grants of a tenant come to more than one
// tenant's may.
func (s *State) bounded(tenant string, now time.Time) error {
	t := s.Tenant(tenant)
	written := 0
	for _, r := range t.Roles {
		written += len(r.Permissions)
	}
	if written > mostWritten {
		return problem.New(problem.Conflict, "the roles would have %d permissions together, and may have %d: use names that end in *, or inherit", written, mostWritten)
	}
	granted := 0
	for _, g := range t.Grants {
		if !g.ExpiresAt.IsZero() && !now.Before(g.ExpiresAt) {
			continue
		}
		if granted += len(g.Permissions) + s.weight(g.Tenant, g.Roles); granted > mostGranted {
			return problem.New(problem.Conflict, "the grants would give more than %d permissions together, with those of their roles: grant to the tenant instead of each, or end some", mostGranted)
		}
	}
	return nil
}

// weight is what it takes to expand roles: they, what they inherit, and the permissions.
func (s *State) weight(tenant string, names []string) (n int) {
	s.visit(tenant, names, func(r *Role) { n += 1 + len(r.Permissions) })
	return n
}
