package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/internal/memo"
	"github.com/modelserveai/modelserve/problem"
)

// ErrNoKey is what a KeyStore returns for an id it does not have.
var ErrNoKey = errors.New("no such key")

// ErrKeyExists is what a KeyStore returns for an id it has already.
var ErrKeyExists = errors.New("the key exists already")

// KeyStore keeps keys. Package authtest holds what every one must do.
type KeyStore interface {
	// Create stores a key, or returns ErrKeyExists.
	Create(ctx context.Context, key *Key) error

	// Get returns a key whatever its status, or ErrNoKey.
	Get(ctx context.Context, id string) (*Key, error)

	// List returns a page of keys, newest first.
	List(ctx context.Context, page Page) ([]*Key, error)

	// Revoke ends a key now. A revoked one stays as it is; an unknown one is
	// ErrNoKey.
	Revoke(ctx context.Context, id string, now time.Time) error
}

// Page asks for part of a list, newest first.
type Page struct {
	Tenant string // "" is every tenant
	After  Cursor // the last key of the page before; the zero Cursor is the first page
	Limit  int    // at least 1
}

// Cursor is a key's place in a list: times may be equal, so the id decides.
type Cursor struct {
	CreatedAt time.Time
	ID        string
}

// How long a key is remembered, and how many. Revoked keys are refused after
// keyFresh and one read of the store at the latest.
const (
	keyFresh   = time.Second
	keyTimeout = 900 * time.Millisecond
	keyMax     = 10_000
)

// Keys authenticates API keys.
type Keys struct {
	cache *memo.Cache[string, *Key]
}

// NewKeys authenticates the keys of store. A key is remembered for a second, a
// missing one too, at most 10,000 in all. Its owner closes it.
func NewKeys(store KeyStore) *Keys {
	return &Keys{cache: memo.New(
		memo.Options{Fresh: keyFresh, Max: keyMax, Timeout: keyTimeout},
		func(ctx context.Context, id string) (*Key, error) {
			key, err := store.Get(ctx, id)
			if errors.Is(err, ErrNoKey) {
				return nil, nil //nolint:nilnil // "there is none" is what is remembered
			}
			return key, err
		})}
}

// Close ends what is being read of the store and waits for it. Later keys are not
// checked, and so authenticate nobody.
func (k *Keys) Close() { k.cache.Close() }

// Authenticate implements Authenticator. Whether the id or the secret was
// wrong, the answer is the same. Without its store it returns
// problem.Unavailable and authenticates nobody.
func (k *Keys) Authenticate(ctx context.Context, credential string) (*Principal, error) {
	if !strings.HasPrefix(credential, prefix) {
		return nil, ErrNotMine
	}
	parsed, err := ParseKey(credential)
	if err != nil {
		return nil, err
	}
	key, err := k.cache.Get(ctx, parsed.ID)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("authenticate: %w", ctx.Err())
		}
		return nil, problem.New(problem.Unavailable, "keys cannot be checked now: %w", redacted{err}).WithRetryAfter(time.Second)
	}
	if key == nil {
		key = &Key{} // compared all the same, so that the time taken reveals nothing
	}
	if !parsed.Matches(key) {
		return nil, problem.New(problem.Unauthenticated, "the key is not known")
	}
	switch key.Status(time.Now()) {
	case Revoked:
		return nil, problem.New(problem.Unauthenticated, "the key %s is revoked", key.ID)
	case Expired:
		return nil, problem.New(problem.Unauthenticated, "the key %s expired at %s", key.ID, key.ExpiresAt.UTC().Format(time.RFC3339))
	default:
		return &Principal{ID: "key:" + key.ID, Tenant: key.Tenant, Roles: key.Roles, Scopes: key.Scopes}, nil
	}
}

// Forget drops what is remembered of a key: this process refuses a key it
// revoked at once.
func (k *Keys) Forget(id string) { k.cache.Forget(id) }

// redacted is an error whose text is for the log alone.
type redacted struct{ error }

func (redacted) Error() string   { return "the store failed" }
func (r redacted) Unwrap() error { return r.error }
