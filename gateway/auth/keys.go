package auth

import (
	"context"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// KnownKeys are the keys that are stored, as far as is known here.
type KnownKeys interface {
	// Key returns a key that is not revoked, or nil.
	Key(id string) *Key

	// Renew has what is known be no older than the call. An error is of what cannot
	// be read now, or of too many who wait.
	Renew(ctx context.Context) error

	// Usable returns problem.Unavailable where what is known is too old to go by.
	Usable() error

	// Used notes that a key was used; anew is the hash that is to take the place of
	// its own, nil where that is by the current key.
	Used(k *Key, anew *Hash)
}

// Keys authenticates API keys.
type Keys struct {
	known  KnownKeys
	hasher *Hasher
}

// NewKeys authenticates the keys that are known.
func NewKeys(known KnownKeys, hasher *Hasher) *Keys { return &Keys{known, hasher} }

// Authenticate implements Authenticator. Whatever is wrong with a key that has the
// form of one, the answer is the same, and takes the same: a key that is not good
// as far as is known here may have been made at another replica a moment ago, so
// each that fails is looked at once more when what is known was renewed.
func (k *Keys) Authenticate(ctx context.Context, credential string) (*Principal, error) {
	if !strings.HasPrefix(credential, prefix) {
		return nil, ErrNotMine
	}
	parsed, err := ParseKey(credential)
	if err != nil {
		return nil, err
	}
	if err := k.known.Usable(); err != nil {
		return nil, err
	}
	if p := k.check(parsed); p != nil {
		return p, nil
	}
	if err := k.known.Renew(ctx); err == nil {
		if p := k.check(parsed); p != nil {
			return p, nil
		}
	}
	return nil, problem.New(problem.Unauthenticated, "the key is not known, or no longer good")
}

// check is the principal of a key; nil is none, also of a key by a hash key that is not
// known here: another answer would say that its id exists.
func (k *Keys) check(parsed Parsed) *Principal {
	key := k.known.Key(parsed.ID)
	if key == nil {
		key = &Key{} // compared all the same, so that the time taken reveals nothing
	}
	ok, old := k.hasher.Matches(parsed, key.Hash)
	if key.ID == "" || !ok || key.Status(time.Now()) != Active {
		return nil
	}
	var anew *Hash
	if old {
		h := k.hasher.Hash(parsed)
		anew = &h
	}
	k.known.Used(key, anew)
	return key.Principal()
}

// Principal is who a key is.
func (k *Key) Principal() *Principal {
	return &Principal{ID: "key:" + k.ID, Tenant: k.Tenant, Roles: k.Roles, Scopes: k.Scopes, Lineage: k.Lineage, Until: k.ExpiresAt}
}
