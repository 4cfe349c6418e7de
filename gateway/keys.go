package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/problem"
)

// keyView is a key as the control API shows it.
type keyView struct {
	ID        string       `json:"id"`
	Name      string       `json:"name"`
	Tenant    string       `json:"tenant"`
	Scopes    []auth.Scope `json:"scopes"`
	Roles     []string     `json:"roles"`
	Status    auth.Status  `json:"status"`
	CreatedAt time.Time    `json:"created_at"`
	ExpiresAt *time.Time   `json:"expires_at,omitempty"`
	RevokedAt *time.Time   `json:"revoked_at,omitempty"`
	Key       string       `json:"key,omitempty"` // only in the answer that made it
}

func viewOf(k *auth.Key) keyView {
	return keyView{
		ID: k.ID, Name: k.Name, Tenant: k.Tenant,
		Scopes: append([]auth.Scope{}, k.Scopes...), Roles: append([]string{}, k.Roles...),
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

// newKey is the body of POST /v1/keys.
type newKey struct {
	Name      string       `json:"name"`
	Tenant    string       `json:"tenant"`
	Scopes    []auth.Scope `json:"scopes"`
	Roles     []string     `json:"roles"`
	ExpiresAt time.Time    `json:"expires_at"`
	ExpiresIn string       `json:"expires_in"`
}

const longestLife = 10 * 365 * 24 * time.Hour

func (n *newKey) spec(caller *auth.Principal, now time.Time) (auth.KeySpec, error) {
	spec := auth.KeySpec{Name: n.Name, Tenant: n.Tenant, Scopes: n.Scopes, Roles: n.Roles, ExpiresAt: n.ExpiresAt}
	setDefault(&spec.Tenant, caller.Tenant)
	if n.ExpiresIn == "" {
		return spec, nil
	}
	if !n.ExpiresAt.IsZero() {
		return spec, problem.Invalid("expires_in", "expected only one of expires_in and expires_at")
	}
	life, err := time.ParseDuration(n.ExpiresIn)
	if err != nil || life <= 0 || life > longestLife {
		return spec, problem.Invalid("expires_in", "expected a duration such as 720h, at most %v", longestLife)
	}
	spec.ExpiresAt = now.Add(life)
	return spec, nil
}

// mayManageKeys lets the holders of keys:admin in. Only an admin sees beyond
// his tenant.
func (g *gateway) mayManageKeys(ctx context.Context, c *call.Call) error {
	return g.door.Decide(ctx, c, auth.Action{Verb: auth.DoManageKeys})
}

func (g *gateway) isAdmin(ctx context.Context, c *call.Call) bool {
	return g.door.May(ctx, c, auth.Action{Verb: auth.DoAnything})
}

func (g *gateway) createKey(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	if err := g.mayManageKeys(r.Context(), c); err != nil {
		return err
	}
	var asked newKey
	if err := decode(r, &asked); err != nil {
		return err
	}
	now := time.Now()
	spec, err := asked.spec(c.Principal, now)
	if err != nil {
		return err
	}
	text, key, err := auth.NewKey(spec, now)
	if err != nil {
		return err
	}
	if err := g.mayGrant(r.Context(), c, key); err != nil {
		return err
	}
	if err := g.deps.Keys.Create(r.Context(), key); err != nil {
		return err
	}
	view := viewOf(key)
	view.Key = text
	w.Header().Set("Location", "/v1/keys/"+key.ID)
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusCreated, view)
}

// mayGrant keeps a caller from making, or revoking, a key that may do more than
// he.
func (g *gateway) mayGrant(ctx context.Context, c *call.Call, key *auth.Key) error {
	if g.isAdmin(ctx, c) {
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

func (g *gateway) listKeys(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	if err := g.mayManageKeys(r.Context(), c); err != nil {
		return err
	}
	page, err := pageOf(r)
	if err != nil {
		return err
	}
	if !g.isAdmin(r.Context(), c) {
		page.Tenant = c.Principal.Tenant
	}
	wanted := page.Limit
	page.Limit++ // one more says whether there is a next page
	keys, err := g.deps.Keys.List(r.Context(), page)
	if err != nil {
		return err
	}
	var answer struct {
		Keys []keyView `json:"keys"`
		Next string    `json:"next_cursor,omitempty"`
	}
	answer.Keys = []keyView{}
	for i, key := range keys {
		if i == wanted {
			last := keys[i-1]
			answer.Next = formatCursor(auth.Cursor{CreatedAt: last.CreatedAt, ID: last.ID})
			break
		}
		answer.Keys = append(answer.Keys, viewOf(key))
	}
	return writeJSON(w, http.StatusOK, answer)
}

// keyOf loads the key a URL names, if the caller may see it. One of another
// tenant is not there for him: ids of others are not his to learn.
func (g *gateway) keyOf(c *call.Call, r *http.Request) (*auth.Key, error) {
	if err := g.mayManageKeys(r.Context(), c); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if len(id) > 32 || strings.ContainsFunc(id, isControl) {
		return nil, problem.Invalid("id", "expected a key's id, such as the part between ms_ and the next _")
	}
	key, err := g.deps.Keys.Get(r.Context(), id)
	if errors.Is(err, auth.ErrNoKey) || err == nil && key.Tenant != c.Principal.Tenant && !g.isAdmin(r.Context(), c) {
		return nil, problem.New(problem.NotFound, "there is no key %q", id)
	}
	return key, err
}

func (g *gateway) getKey(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	key, err := g.keyOf(c, r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, viewOf(key))
}

func (g *gateway) revokeKey(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	key, err := g.keyOf(c, r)
	if err != nil {
		return err
	}
	if err := g.mayGrant(r.Context(), c, key); err != nil {
		return err // nor may he take from others what he could not give
	}
	if err := g.deps.Keys.Revoke(r.Context(), key.ID, time.Now()); err != nil {
		return err
	}
	g.keys.Forget(key.ID)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// The bounds of a list's pages.
const (
	defaultLimit = 50
	maxLimit     = 200
)

func pageOf(r *http.Request) (auth.Page, error) {
	page := auth.Page{Limit: defaultLimit}
	query := r.URL.Query()
	for name := range query {
		if name != "limit" && name != "cursor" {
			return page, problem.Invalid(name, "expected only the query parameters limit and cursor")
		}
	}
	if text := query.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 || limit > maxLimit {
			return page, problem.Invalid("limit", "expected 1 to %d", maxLimit)
		}
		page.Limit = limit
	}
	if text := query.Get("cursor"); text != "" {
		after, err := parseCursor(text)
		if err != nil {
			return page, err
		}
		page.After = after
	}
	return page, nil
}

func formatCursor(c auth.Cursor) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(c.CreatedAt.UnixMilli(), 10) + "/" + c.ID))
}

func parseCursor(text string) (auth.Cursor, error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	at, id, ok := strings.Cut(string(data), "/")
	ms, err2 := strconv.ParseInt(at, 10, 64)
	if err != nil || err2 != nil || !ok || id == "" {
		return auth.Cursor{}, problem.Invalid("cursor", "expected next_cursor of the page before, as it was")
	}
	return auth.Cursor{CreatedAt: time.UnixMilli(ms).UTC(), ID: id}, nil
}
