package control

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/problem"
)

// The changes of keys, as the audit log names them.
const (
	keyCreate = "key.create"
	keyRotate = "key.rotate"
	keyRevoke = "key.revoke"
)

func (a *API) addKeys(set *operation.Set) {
	operation.Add(set, operation.Operation{
		Method: http.MethodPost, Pattern: "/v1/keys", ID: "createKey", Tag: "keys",
		Summary: "Make a key; its text is in this answer only",
		Needs:   auth.DoManageKeys, Audit: keyCreate, Status: http.StatusCreated, Codes: []problem.Code{problem.Conflict},
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
		Needs:   auth.DoManageKeys, Audit: keyRevoke, Codes: []problem.Code{problem.NotFound},
	}, a.revokeKey)
	operation.Add(set, operation.Operation{
		Method: http.MethodPost, Pattern: "/v1/keys/{id}/rotate", ID: "rotateKey", Tag: "keys",
		Summary: "Replace a key by one with the same rights, whose text is in this answer only",
		Needs:   auth.DoManageKeys, Audit: keyRotate, Status: http.StatusCreated,
		Codes: []problem.Code{problem.NotFound, problem.Conflict},
	}, a.rotateKey)
}

// Key is a key as the control API shows it.
type Key struct {
	ID          string            `json:"id"`
	Name        string            `json:"name" minLength:"1" maxLength:"100"`
	Description string            `json:"description,omitempty" maxLength:"500"`
	Tenant      string            `json:"tenant" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	Scopes      []auth.Permission `json:"scopes" maxItems:"100"`
	Roles       []string          `json:"roles" maxItems:"20" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	Status      auth.Status       `json:"status" enum:"active,expired,revoked"`
	Replaces    string            `json:"replaces,omitempty" doc:"the id of the key that it was rotated from"`
	CreatedAt   time.Time         `json:"created_at"`
	ExpiresAt   *time.Time        `json:"expires_at,omitempty"`
	RevokedAt   *time.Time        `json:"revoked_at,omitempty"`
	LastUsedAt  *time.Time        `json:"last_used_at,omitempty" doc:"true to the minute, within five seconds of a use; absent where there was none"`
}

func viewOf(k *auth.Key, now time.Time) Key {
	return Key{
		ID: k.ID, Name: k.Name, Description: k.Description, Tenant: k.Tenant, Scopes: k.Scopes, Roles: k.Roles,
		Status: k.Status(now), Replaces: k.Replaces, CreatedAt: k.CreatedAt.UTC(),
		ExpiresAt: orNil(k.ExpiresAt), RevokedAt: orNil(k.RevokedAt), LastUsedAt: orNil(k.LastUsedAt),
	}
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
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

func newKeyAnswer(k *auth.Key, text string, now time.Time) *createKeyOutput {
	return &createKeyOutput{Location: "/v1/keys/" + k.ID, CacheControl: "no-store", Body: NewKeyAnswer{viewOf(k, now), text}}
}

func keyNote(k *auth.Key, reason string) note { return note{k.Tenant, "key:" + k.ID, reason} }

func (a *API) createKey(ctx context.Context, c *call.Call, in *createKeyInput) (*createKeyOutput, error) {
	now := time.Now()
	spec, err := in.Body.spec(c.Principal, now)
	if err != nil {
		return nil, err
	}
	text, key, err := a.deps.Hasher.NewKey(spec, now)
	if err != nil {
		return nil, err
	}
	err = a.change(ctx, c, act{auth.DoManageKeys, keyCreate}, func(d *access.Decider) (*access.Change, []note, error) {
		change, err := d.CreateKey(key)
		return change, []note{keyNote(key, "")}, err
	})
	if err != nil {
		return nil, err
	}
	return newKeyAnswer(key, text, now), nil
}

// isAdmin reports whether a caller sees beyond their tenant.
func (a *API) isAdmin(ctx context.Context, c *call.Call) bool {
	return a.deps.Door.May(ctx, c, auth.Action{Verb: auth.DoAnything})
}

// KeyList is a page of keys.
type KeyList struct {
	Keys []Key  `json:"keys"`
	Next string `json:"next_cursor,omitempty" doc:"asks for the next page; absent on the last"`
}

type listKeysOutput struct{ Body KeyList }

func (a *API) listKeys(ctx context.Context, c *call.Call, in *page) (*listKeysOutput, error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	asked := auth.Page{After: after, Limit: in.Limit + 1} // one more shows whether there is a next page
	if !a.isAdmin(ctx, c) {
		asked.Tenant = c.Principal.Tenant
	}
	keys, err := a.deps.Keys.Keys(ctx, asked)
	if err != nil {
		return nil, whyRead(ctx, err)
	}
	out, now := &listKeysOutput{}, time.Now()
	for i, key := range keys {
		if i == in.Limit {
			last := keys[i-1]
			out.Body.Next = formatCursor(auth.Cursor{CreatedAt: last.CreatedAt, ID: last.ID})
			break
		}
		out.Body.Keys = append(out.Body.Keys, viewOf(key, now))
	}
	return out, nil
}

// keyID is the id of a key in a URL.
type keyID struct {
	ID string `path:"id" maxLength:"32" pattern:"^[A-Za-z0-9]+$" doc:"a key's id, such as the part between ms_ and the next _"`
}

// keyOf loads the key a URL names, if the caller may see it. One of another
// tenant is not there for them: ids of others are not theirs to learn.
func (a *API) keyOf(ctx context.Context, c *call.Call, id string) (*auth.Key, error) {
	key, err := a.deps.Keys.Key(ctx, id)
	if errors.Is(err, auth.ErrNoKey) || err == nil && key.Tenant != c.Principal.Tenant && !a.isAdmin(ctx, c) {
		return nil, problem.New(problem.NotFound, "there is no key of this id")
	}
	return key, whyRead(ctx, err)
}

type getKeyOutput struct{ Body Key }

func (a *API) getKey(ctx context.Context, c *call.Call, in *keyID) (*getKeyOutput, error) {
	key, err := a.keyOf(ctx, c, in.ID)
	if err != nil {
		return nil, err
	}
	return &getKeyOutput{viewOf(key, time.Now())}, nil
}

type revokeKeyInput struct {
	keyID

	Rotations bool `query:"rotations" doc:"true also ends every key that it was rotated from and to"`
}

func (a *API) revokeKey(ctx context.Context, c *call.Call, in *revokeKeyInput) (*struct{}, error) {
	key, err := a.keyOf(ctx, c, in.ID)
	if err != nil {
		return nil, err
	}
	err = a.change(ctx, c, act{auth.DoManageKeys, keyRevoke}, func(d *access.Decider) (*access.Change, []note, error) {
		id := liveOf(d.State, key, in.Rotations)
		if id == "" {
			return &access.Change{}, nil, nil // it has ended already
		}
		change, err := d.RevokeKey(id, in.Rotations)
		if err != nil {
			return nil, nil, err
		}
		var notes []note
		for _, k := range change.Keys {
			notes = append(notes, keyNote(k, ""))
		}
		return change, notes, nil
	})
	if err != nil {
		return nil, err
	}
	return &struct{}{}, nil
}

// liveOf is the id of a key that is not revoked, or of one that it was rotated from or to, where
// those are meant too; "" is none.
func liveOf(s *access.State, key *auth.Key, rotations bool) string {
	if s.Key(key.ID) != nil {
		return key.ID
	}
	for _, k := range s.Tenant(key.Tenant).Keys {
		if rotations && k.Lineage == key.Lineage {
			return k.ID
		}
	}
	return ""
}

// Rotation is the body of POST /v1/keys/{id}/rotate.
type Rotation struct {
	Overlap string `json:"overlap,omitempty" pattern:"^(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))*$" doc:"how long the old key goes on, such as 24h, which it is where it is left out; 0s to 720h"`
}

// How long a key may go on beside the one that replaces it.
const (
	defaultOverlap = 24 * time.Hour
	longestOverlap = 720 * time.Hour
)

func (r *Rotation) overlap() (time.Duration, error) {
	if r == nil || r.Overlap == "" {
		return defaultOverlap, nil
	}
	overlap, err := time.ParseDuration(r.Overlap)
	if err != nil || overlap < 0 || overlap > longestOverlap {
		return 0, problem.Invalid("overlap", "expected a duration such as 24h, 0s to %s", gatewayfile.Written(longestOverlap))
	}
	return overlap, nil
}

type rotateKeyInput struct {
	keyID

	Body *Rotation
}

func (a *API) rotateKey(ctx context.Context, c *call.Call, in *rotateKeyInput) (*createKeyOutput, error) {
	overlap, err := in.Body.overlap()
	if err != nil {
		return nil, err
	}
	old, err := a.keyOf(ctx, c, in.ID)
	if err != nil {
		return nil, err
	}
	var text string
	var key *auth.Key
	now := time.Now()
	err = a.change(ctx, c, act{auth.DoManageKeys, keyRotate}, func(d *access.Decider) (*access.Change, []note, error) {
		change, err := d.RotateKey(old.ID, overlap, func(k *auth.Key) *auth.Key {
			text, key = a.deps.Hasher.Rotate(k, now)
			return key
		})
		if err != nil {
			return nil, nil, err
		}
		return change, []note{keyNote(old, "replaced by key:"+key.ID), keyNote(key, "replaces key:"+old.ID)}, nil
	})
	if err != nil {
		return nil, err
	}
	return newKeyAnswer(key, text, now), nil
}
