package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/problem"
)

// The changes of grants, as the audit log names them.
const (
	grantCreate = "grant.create"
	grantDelete = "grant.delete"
)

func (a *API) addGrants(set *operation.Set) {
	operation.Add(set, operation.Operation{
		Method: http.MethodPost, Pattern: "/v1/grants", ID: "createGrant", Tag: "grants",
		Summary: "Grant what the caller holds; it counts as long as they do",
		Needs:   auth.DoManageRoles, Audit: grantCreate, Status: http.StatusCreated, Codes: []problem.Code{problem.Conflict},
	}, a.createGrant)
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/grants", ID: "listGrants", Tag: "grants",
		Summary: "List grants, newest first",
		Needs:   auth.DoManageRoles,
	}, a.listGrants)
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/grants/{id}", ID: "getGrant", Tag: "grants",
		Summary: "Show a grant",
		Needs:   auth.DoManageRoles, Codes: []problem.Code{problem.NotFound},
	}, a.getGrant)
	operation.Add(set, operation.Operation{
		Method: http.MethodDelete, Pattern: "/v1/grants/{id}", ID: "deleteGrant", Tag: "grants",
		Summary: "End a grant",
		Needs:   auth.DoManageRoles, Audit: grantDelete, Codes: []problem.Code{problem.NotFound},
	}, a.deleteGrant)
}

// Recipient is who gets a grant: exactly one of the three.
type Recipient struct {
	Key     string `json:"key,omitempty" maxLength:"32" doc:"a key's id; those that it is rotated to get it too"`
	Subject string `json:"subject,omitempty" maxLength:"511" doc:"of tokens: the issuer, a space, and the subject, each at most 255 bytes"`
	Tenant  string `json:"tenant,omitempty" pattern:"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" doc:"everyone of the tenant"`
}

// TransformSchema adds what tags cannot express.
func (Recipient) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Description = "exactly one of key, subject and tenant"
	var one []any
	for _, name := range []string{"key", "subject", "tenant"} {
		one = append(one, keywords{"required": []string{name}, "properties": keywords{name: keywords{"type": "string", "minLength": 1}}})
	}
	s.Properties["subject"].Pattern = subjectPattern
	s.Extensions = keywords{"oneOf": one}
	return s
}

// subjectPattern is an issuer without white space, a space, and a subject without white
// space around it; or nothing. What else a token's is, auth.IsSubject knows.
const subjectPattern = `^([^\x00-\x20\x7f-\xa0]+ [^\x00-\x20\x7f-\xa0]([^\x00-\x1f\x7f-\xa0]*[^\x00-\x20\x7f-\xa0])?)?$`

// Grant is a grant as the control API shows it.
type Grant struct {
	ID          string            `json:"id"`
	Tenant      string            `json:"tenant" doc:"of those who get it"`
	To          GrantedTo         `json:"to"`
	By          string            `json:"by" doc:"who gave it: key:<id>, subject:<issuer> <subject>, or platform for an admin of another tenant"`
	Roles       []string          `json:"roles"`
	Permissions []auth.Permission `json:"permissions"`
	Status      string            `json:"status" enum:"active,expired" doc:"an active one counts as long as its giver holds what it gives"`
	CreatedAt   time.Time         `json:"created_at"`
	ExpiresAt   *time.Time        `json:"expires_at,omitempty"`
}

// GrantedTo is who got a grant.
type GrantedTo struct {
	Key     string `json:"key,omitempty" doc:"the id of the first key of its rotations"`
	Subject string `json:"subject,omitempty"`
	Tenant  string `json:"tenant,omitempty"`
}

// viewOfGrant shows a grant to a principal of a tenant. An admin sees who gave it.
func viewOfGrant(g *access.Grant, tenant string, admin bool, now time.Time) Grant {
	if admin {
		tenant = g.By.Tenant
	}
	view := Grant{
		ID: g.ID, Tenant: g.Tenant, To: GrantedTo(g.To), By: g.By.Name(tenant), Roles: g.Roles, Permissions: g.Permissions,
		Status: "active", CreatedAt: g.CreatedAt.UTC(), ExpiresAt: orNil(g.ExpiresAt),
	}
	if !g.ExpiresAt.IsZero() && !now.Before(g.ExpiresAt) {
		view.Status = "expired"
	}
	return view
}

// NewGrant is the body of POST /v1/grants.
type NewGrant struct {
	To          Recipient         `json:"to"`
	Tenant      string            `json:"tenant,omitempty" pattern:"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" doc:"of those who get it; the caller's own where it is left out, null or empty"`
	Roles       []string          `json:"roles,omitempty" maxItems:"20" uniqueItems:"true" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" doc:"at least one, or a permission"`
	Permissions []auth.Permission `json:"permissions,omitempty" maxItems:"20" uniqueItems:"true" doc:"at least one, or a role"`

	End
}

// TransformSchema adds what tags cannot express.
func (NewGrant) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	describeItems(s, "permissions", "roles")
	s.Extensions = keywords{"allOf": []any{oneEnd(), someOf("roles", "permissions")}}
	return s
}

type createGrantInput struct{ Body NewGrant }

type createGrantOutput struct {
	Location string `header:"Location" doc:"the grant's URL"`
	Body     Grant
}

func grantNote(g *access.Grant) note { return note{g.Tenant, "grant:" + g.ID, ""} }

func (a *API) createGrant(ctx context.Context, c *call.Call, in *createGrantInput) (*createGrantOutput, error) {
	if to := in.Body.To.Subject; to != "" && !auth.IsSubject(to) {
		return nil, problem.Invalid("to.subject", "expected what tokens have: an issuer, a space, and a subject, each 1 to 255 printable bytes")
	}
	now := time.Now()
	ends, err := in.Body.at(now)
	if err != nil {
		return nil, err
	}
	tenant := cmp.Or(in.Body.Tenant, c.Principal.Tenant)
	made := access.Grant{
		ID: strings.ToLower(rand.Text()[:12]), Tenant: tenant, To: access.Recipient(in.Body.To), By: access.GiverOf(c.Principal),
		Roles: in.Body.Roles, Permissions: in.Body.Permissions,
		CreatedAt: now.UTC().Truncate(time.Millisecond), ExpiresAt: ends.UTC().Truncate(time.Millisecond),
	}
	var g access.Grant
	err = a.change(ctx, c, act{auth.DoManageRoles, grantCreate}, func(d *access.Decider) (*access.Change, []note, error) {
		g = made // whose To is changed
		change, err := d.Grant(&g)
		return change, []note{grantNote(&g)}, err
	})
	if err != nil {
		return nil, err
	}
	return &createGrantOutput{"/v1/grants/" + g.ID, viewOfGrant(&g, c.Principal.Tenant, false, now)}, nil
}

// GrantList is a page of grants.
type GrantList struct {
	Grants []Grant `json:"grants"`
	Next   string  `json:"next_cursor,omitempty" doc:"asks for the next page; absent on the last"`
}

type listGrantsOutput struct{ Body GrantList }

// grantsFor are the grants that a caller may see, newest first.
func (a *API) grantsFor(c *call.Call, admin bool) []*access.Grant {
	state := a.deps.Rights.State()
	tenants := []string{c.Principal.Tenant}
	if admin {
		tenants = state.Tenants()
	}
	var all []*access.Grant
	for _, tenant := range tenants {
		all = append(all, state.Tenant(tenant).Grants...)
	}
	slices.SortFunc(all, func(a, b *access.Grant) int { return newestFirst(cursorOf(a), cursorOf(b)) })
	return all
}

func cursorOf(g *access.Grant) auth.Cursor { return auth.Cursor{CreatedAt: g.CreatedAt, ID: g.ID} }

func newestFirst(a, b auth.Cursor) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
}

func (a *API) listGrants(ctx context.Context, c *call.Call, in *page) (*listGrantsOutput, error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	out, now, admin := &listGrantsOutput{}, time.Now(), a.isAdmin(ctx, c)
	var last auth.Cursor
	for _, g := range a.grantsFor(c, admin) {
		switch at := cursorOf(g); {
		case after != (auth.Cursor{}) && newestFirst(after, at) >= 0:
			continue
		case len(out.Body.Grants) == in.Limit:
			out.Body.Next = formatCursor(last)
			return out, nil
		default:
			last = at
		}
		out.Body.Grants = append(out.Body.Grants, viewOfGrant(g, c.Principal.Tenant, admin, now))
	}
	return out, nil
}

// grantID is the id of a grant in a URL.
type grantID struct {
	ID string `path:"id" maxLength:"32" pattern:"^[A-Za-z0-9]+$" doc:"a grant's id"`
}

type getGrantOutput struct{ Body Grant }

func (a *API) getGrant(ctx context.Context, c *call.Call, in *grantID) (*getGrantOutput, error) {
	admin := a.isAdmin(ctx, c)
	for _, g := range a.grantsFor(c, admin) {
		if g.ID == in.ID {
			return &getGrantOutput{viewOfGrant(g, c.Principal.Tenant, admin, time.Now())}, nil
		}
	}
	return nil, problem.New(problem.NotFound, "there is no grant of this id")
}

func (a *API) deleteGrant(ctx context.Context, c *call.Call, in *grantID) (*struct{}, error) {
	err := a.change(ctx, c, act{auth.DoManageRoles, grantDelete}, func(d *access.Decider) (*access.Change, []note, error) {
		change, err := d.EndGrant(in.ID)
		if err != nil {
			return nil, nil, err
		}
		return change, []note{grantNote(change.EndGrants[0])}, nil
	})
	if err != nil {
		return nil, err
	}
	return &struct{}{}, nil
}
