package control

import (
	"context"
	"errors"
	"net/http"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/problem"
)

func (a *API) addKeys(set *operation.Set) {
	operation.Add(set, operation.Operation{
		Method: http.MethodPost, Pattern: "/v1/keys", ID: "createKey", Tag: "keys",
		Summary: "Make a key; its text is in this answer only",
		Needs:   auth.DoManageKeys, Audit: "key.create", Status: http.StatusCreated,
	}, a.createKey)
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/keys", ID: "listKeys", Tag: "keys",
		Summary: "List keys, newest first",
		Needs:   auth.DoManageKeys,
	}, a.listKeys)
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/keys/{id}", ID: "getKey", Tag: "keys",
		Summary: "Show a key",
		Needs:   auth.DoManageKeys, Codes: []problem.Code{problem.NotFound},
	}, a.getKey)
	operation.Add(set, operation.Operation{
		Method: http.MethodDelete, Pattern: "/v1/keys/{id}", ID: "revokeKey", Tag: "keys",
		Summary: "Revoke a key; it is refused within two seconds",
		Needs:   auth.DoManageKeys, Audit: "key.revoke", Codes: []problem.Code{problem.NotFound},
	}, a.revokeKey)
}

// Key is a key as the control API shows it.
type Key struct {
	ID        string       `json:"id"`
	Name      string       `json:"name" minLength:"1" maxLength:"100"`
	Tenant    string       `json:"tenant" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	Scopes    []auth.Scope `json:"scopes" minItems:"1" maxItems:"100" doc:"infer:*, infer:<model or function>, models:read, models:write, keys:admin, admin"`
	Roles     []string     `json:"roles" maxItems:"20" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	Status    auth.Status  `json:"status" enum:"active,expired,revoked"`
	CreatedAt time.Time    `json:"created_at"`
	ExpiresAt *time.Time   `json:"expires_at,omitempty"`
	RevokedAt *time.Time   `json:"revoked_at,omitempty"`
}

func viewOf(k *auth.Key) Key {
	return Key{
		ID: k.ID, Name: k.Name, Tenant: k.Tenant, Scopes: k.Scopes, Roles: k.Roles,
		Status: k.Status(time.Now()), CreatedAt: k.CreatedAt,
		ExpiresAt: orNil(k.ExpiresAt), RevokedAt: orNil(k.RevokedAt),
	}
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// NewKey is the body of POST /v1/keys.
type NewKey struct {
	Name      string       `json:"name" minLength:"1" maxLength:"100" doc:"printable characters, not only white space: none of Unicode's categories Cc and Cf"`
	Tenant    string       `json:"tenant,omitempty" pattern:"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" doc:"a DNS label (a-z, 0-9 and -, at most 63); the caller's own where it is left out, null or empty"`
	Scopes    []auth.Scope `json:"scopes" minItems:"1" maxItems:"100" pattern:"^(infer:(\\*|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)|models:read|models:write|keys:admin|admin)$"`
	Roles     []string     `json:"roles,omitempty" maxItems:"20" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	ExpiresAt *time.Time   `json:"expires_at,omitempty" doc:"a time to come, such as 2027-01-31T12:00:00Z, at most ten years ahead"`
	ExpiresIn string       `json:"expires_in,omitempty" pattern:"^(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))*$" doc:"a duration such as 720h, at least a second and at most ten years; not with expires_at; null or empty where it is left out"`
}

// TransformSchema adds what tags cannot express.
func (NewKey) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	invisible := classOf(unicode.Cc, unicode.Cf)
	name := s.Properties["name"]
	name.Pattern = "[^" + classOf(unicode.White_Space) + invisible + "]"
	name.Not = &huma.Schema{Pattern: "[" + invisible + "]"}
	s.Properties["scopes"].Items.Description = "one of " + auth.ScopesHelp
	s.Properties["roles"].Items.Description = "a DNS label (a-z, 0-9 and -, at most 63)"
	s.Extensions = map[string]any{
		"if": map[string]any{
			"required": []string{"expires_at"}, "properties": map[string]any{"expires_at": map[string]any{"type": "string"}},
		},
		"then": map[string]any{
			"properties": map[string]any{"expires_in": map[string]any{"pattern": "^$", "description": "only one of expires_in and expires_at"}},
		},
	}
	return s
}

// How long a key may be good for. Without an end it is good until it is revoked.
const (
	shortestLife = time.Second
	longestLife  = 10 * 365 * 24 * time.Hour
)

func (n *NewKey) spec(caller *auth.Principal, now time.Time) (auth.KeySpec, error) {
	spec := auth.KeySpec{Name: n.Name, Tenant: n.Tenant, Scopes: n.Scopes, Roles: n.Roles}
	if spec.Tenant == "" {
		spec.Tenant = caller.Tenant
	}
	if at := n.ExpiresAt; at != nil {
		// The zero time would be a key without an end.
		if !at.Truncate(time.Millisecond).After(now) || at.After(now.Add(longestLife)) {
			return spec, problem.Invalid("expires_at", "expected a time to come, such as 2027-01-31T12:00:00Z, at most %v ahead", longestLife)
		}
		spec.ExpiresAt = *at
	}
	if n.ExpiresIn != "" {
		life, err := time.ParseDuration(n.ExpiresIn)
		if err != nil || life < shortestLife || life > longestLife {
			return spec, problem.Invalid("expires_in", "expected a duration such as 720h, at least %v and at most %v", shortestLife, longestLife)
		}
		spec.ExpiresAt = now.Add(life)
	}
	return spec, nil
}

// NewKeyAnswer is a key with its text, which is shown once.
type NewKeyAnswer struct {
	Key
	Text string `json:"key" doc:"ms_<id>_<secret>"`
}

type createKeyInput struct{ Body NewKey }

type createKeyOutput struct {
	Location     string `header:"Location" doc:"the key's URL"`
	CacheControl string `header:"Cache-Control" doc:"no-store"`
	Body         NewKeyAnswer
}

func (a *API) createKey(ctx context.Context, c *call.Call, in *createKeyInput) (*createKeyOutput, error) {
	now := time.Now()
	spec, err := in.Body.spec(c.Principal, now)
	if err != nil {
		return nil, err
	}
	text, key, err := auth.NewKey(spec, now)
	if err != nil {
		return nil, err
	}
	if err := a.mayGrant(ctx, c, key); err != nil {
		return nil, err
	}
	if err := a.deps.Keys.Create(ctx, key); err != nil {
		return nil, err
	}
	return &createKeyOutput{Location: "/v1/keys/" + key.ID, CacheControl: "no-store", Body: NewKeyAnswer{viewOf(key), text}}, nil
}

// isAdmin reports whether a caller sees beyond their tenant.
func (a *API) isAdmin(ctx context.Context, c *call.Call) bool {
	return a.deps.Door.May(ctx, c, auth.Action{Verb: auth.DoAnything})
}

// mayGrant keeps callers from making, or revoking, a key that may do more than
// they may.
func (a *API) mayGrant(ctx context.Context, c *call.Call, key *auth.Key) error {
	if a.isAdmin(ctx, c) {
		return nil
	}
	if key.Tenant != c.Principal.Tenant {
		return problem.New(problem.PermissionDenied, "this credential may make keys of tenant %s only", c.Principal.Tenant)
	}
	for _, scope := range key.Scopes {
		if !c.Principal.Holds(scope) {
			return problem.New(problem.PermissionDenied, "this credential does not hold the scope %s, so it cannot grant or revoke it", scope)
		}
	}
	for _, role := range key.Roles {
		return problem.New(problem.PermissionDenied, "only an admin grants roles, such as %s", role)
	}
	return nil
}

// Keys is a page of keys.
type Keys struct {
	Keys []Key  `json:"keys"`
	Next string `json:"next_cursor,omitempty" doc:"asks for the next page; absent on the last"`
}

type listKeysOutput struct{ Body Keys }

func (a *API) listKeys(ctx context.Context, c *call.Call, in *page) (*listKeysOutput, error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	page := auth.Page{After: after, Limit: in.Limit + 1} // one more shows whether there is a next page
	if !a.isAdmin(ctx, c) {
		page.Tenant = c.Principal.Tenant
	}
	keys, err := a.deps.Keys.List(ctx, page)
	if err != nil {
		return nil, err
	}
	out := &listKeysOutput{}
	for i, key := range keys {
		if i == in.Limit {
			last := keys[i-1]
			out.Body.Next = formatCursor(auth.Cursor{CreatedAt: last.CreatedAt, ID: last.ID})
			break
		}
		out.Body.Keys = append(out.Body.Keys, viewOf(key))
	}
	return out, nil
}

type keyInput struct {
	ID string `path:"id" minLength:"1" maxLength:"32" pattern:"^[^\\x00-\\x1f\\x7f]*$" doc:"a key's id, such as the part between ms_ and the next _"`
}

// keyOf loads the key a URL names, if the caller may see it. One of another
// tenant is not there for them: ids of others are not theirs to learn.
func (a *API) keyOf(ctx context.Context, c *call.Call, id string) (*auth.Key, error) {
	key, err := a.deps.Keys.Get(ctx, id)
	if errors.Is(err, auth.ErrNoKey) || err == nil && key.Tenant != c.Principal.Tenant && !a.isAdmin(ctx, c) {
		return nil, problem.New(problem.NotFound, "there is no key of this id")
	}
	return key, err
}

type getKeyOutput struct{ Body Key }

func (a *API) getKey(ctx context.Context, c *call.Call, in *keyInput) (*getKeyOutput, error) {
	key, err := a.keyOf(ctx, c, in.ID)
	if err != nil {
		return nil, err
	}
	return &getKeyOutput{viewOf(key)}, nil
}

func (a *API) revokeKey(ctx context.Context, c *call.Call, in *keyInput) (*struct{}, error) {
	key, err := a.keyOf(ctx, c, in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.mayGrant(ctx, c, key); err != nil {
		return nil, err // nor may they take from others what they could not give
	}
	if err := a.deps.Keys.Revoke(ctx, key.ID, time.Now()); err != nil {
		return nil, err
	}
	a.deps.Known.Forget(key.ID)
	return &struct{}{}, nil
}
