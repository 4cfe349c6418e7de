package control

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/problem"
)

// The changes of roles, as the audit log names them.
const (
	rolePut    = "role.put"
	roleDelete = "role.delete"
)

func (a *API) addRoles(set *operation.Set) {
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/roles", ID: "listRoles", Tag: "roles",
		Summary: "List the roles that the caller's tenant has, by name",
		Needs:   auth.DoManageRoles,
	}, a.listRoles)
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/roles/{name}", ID: "getRole", Tag: "roles",
		Summary: "Show a role",
		Needs:   auth.DoManageRoles, Codes: []problem.Code{problem.NotFound},
	}, a.getRole)
	operation.Add(set, operation.Operation{
		Method: http.MethodPut, Pattern: "/v1/roles/{name}", ID: "putRole", Tag: "roles",
		Summary: "Make a role, or replace what it has; one that an admin makes is every tenant's",
		Needs:   auth.DoManageRoles, Audit: rolePut, Codes: []problem.Code{problem.Conflict},
	}, a.putRole)
	operation.Add(set, operation.Operation{
		Method: http.MethodDelete, Pattern: "/v1/roles/{name}", ID: "deleteRole", Tag: "roles",
		Summary: "Delete a role that nobody holds",
		Needs:   auth.DoManageRoles, Audit: roleDelete, Codes: []problem.Code{problem.NotFound, problem.Conflict},
	}, a.deleteRole)
}

// Role is a role as the control API shows it.
type Role struct {
	Name        string            `json:"name" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	Tenant      string            `json:"tenant,omitempty" doc:"whose it is; absent where every tenant has it"`
	BuiltIn     bool              `json:"built_in,omitzero" doc:"true where it is fixed"`
	Inherits    []string          `json:"inherits"`
	Permissions []auth.Permission `json:"permissions"`
	UpdatedAt   *time.Time        `json:"updated_at,omitempty" doc:"absent where it is built in"`
}

func viewOfRole(r *access.Role) Role {
	return Role{
		Name: r.Name, Tenant: r.Tenant, BuiltIn: isBuiltIn(r.Name), Inherits: r.Inherits, Permissions: r.Permissions, UpdatedAt: orNil(r.UpdatedAt),
	}
}

func isBuiltIn(name string) bool {
	return slices.ContainsFunc(access.BuiltIns(), func(r *access.Role) bool { return r.Name == name })
}

// rolesOf are the roles that a tenant has, by name. Names are unique in them.
func rolesOf(s *access.State, tenant string) []*access.Role {
	all := slices.Concat(access.BuiltIns(), s.Tenant(access.Everywhere).Roles)
	if tenant != access.Everywhere {
		all = append(all, s.Tenant(tenant).Roles...)
	}
	slices.SortFunc(all, func(a, b *access.Role) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// RoleList is a page of roles.
type RoleList struct {
	Roles []Role `json:"roles"`
	Next  string `json:"next_cursor,omitempty" doc:"asks for the next page; absent on the last"`
}

type listRolesOutput struct{ Body RoleList }

func (a *API) listRoles(_ context.Context, c *call.Call, in *page) (*listRolesOutput, error) {
	after, err := in.afterText()
	if err != nil {
		return nil, err
	}
	out := &listRolesOutput{}
	for _, r := range rolesOf(a.deps.Rights.State(), c.Principal.Tenant) {
		switch {
		case r.Name <= after:
			continue
		case len(out.Body.Roles) == in.Limit:
			out.Body.Next = formatText(out.Body.Roles[in.Limit-1].Name)
			return out, nil
		}
		out.Body.Roles = append(out.Body.Roles, viewOfRole(r))
	}
	return out, nil
}

// roleName is the name of a role in a URL.
type roleName struct {
	Name string `path:"name" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" doc:"a DNS label (a-z, 0-9 and -, at most 63)"`
}

type getRoleOutput struct{ Body Role }

func (a *API) getRole(_ context.Context, c *call.Call, in *roleName) (*getRoleOutput, error) {
	r := roleOf(a.deps.Rights.State(), c.Principal.Tenant, in.Name)
	if r == nil {
		return nil, problem.New(problem.NotFound, "there is no role of this name")
	}
	return &getRoleOutput{viewOfRole(r)}, nil
}

// roleOf is the role of a name that a tenant has; nil is none.
func roleOf(s *access.State, tenant, name string) *access.Role {
	all := rolesOf(s, tenant)
	i := slices.IndexFunc(all, func(r *access.Role) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

// RoleContent is the body of PUT /v1/roles/{name}.
type RoleContent struct {
	Name        string            `json:"name,omitempty" pattern:"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" doc:"the one in the URL, where it is given"`
	Inherits    []string          `json:"inherits,omitempty" maxItems:"20" uniqueItems:"true" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	Permissions []auth.Permission `json:"permissions,omitempty" maxItems:"100" uniqueItems:"true"`
}

// TransformSchema adds what tags cannot express.
func (RoleContent) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	describeItems(s, "permissions", "inherits")
	return s
}

type putRoleInput struct {
	roleName

	Body RoleContent
}

type putRoleOutput struct {
	Status int `or:"201"`
	Body   Role
}

// whose is the tenant of a role that the caller changes: the one that it has, or that of a new
// one.
func whose(d *access.Decider, name string) string {
	r := roleOf(d.State, d.By.Tenant, name)
	switch {
	case r != nil && !isBuiltIn(name) && (r.Tenant == d.By.Tenant || d.OwnAdmin()):
		return r.Tenant
	case d.OwnAdmin():
		return access.Everywhere
	default:
		return d.By.Tenant
	}
}

func roleNote(r *access.Role) note { return note{r.Tenant, "role:" + r.Name, ""} }

func (a *API) putRole(ctx context.Context, c *call.Call, in *putRoleInput) (*putRoleOutput, error) {
	if in.Body.Name != "" && in.Body.Name != in.Name {
		return nil, problem.Invalid("name", "expected the name in the URL, or none")
	}
	out := &putRoleOutput{}
	err := a.change(ctx, c, act{auth.DoManageRoles, rolePut}, func(d *access.Decider) (*access.Change, []note, error) {
		r := &access.Role{
			Tenant: whose(d, in.Name), Name: in.Name, Inherits: in.Body.Inherits, Permissions: in.Body.Permissions,
			UpdatedAt: d.Now.UTC().Truncate(time.Millisecond),
		}
		out.Body, out.Status = viewOfRole(r), http.StatusOK
		if roleOf(d.State, r.Tenant, r.Name) == nil {
			out.Status = http.StatusCreated
		}
		change, err := d.PutRole(r)
		return change, []note{roleNote(r)}, err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (a *API) deleteRole(ctx context.Context, c *call.Call, in *roleName) (*struct{}, error) {
	err := a.change(ctx, c, act{auth.DoManageRoles, roleDelete}, func(d *access.Decider) (*access.Change, []note, error) {
		r := &access.Role{Tenant: whose(d, in.Name), Name: in.Name}
		change, err := d.DeleteRole(r)
		return change, []note{roleNote(r)}, err
	})
	if err != nil {
		return nil, err
	}
	return &struct{}{}, nil
}
