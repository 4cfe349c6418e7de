package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"time"
	"unicode"

	"github.com/modelserveai/modelserve/problem"
)

// Key is a stored API key. The secret itself is nowhere: only its hash is.
//
// The hash is a plain SHA-256. Slow hashes (bcrypt, argon2) make guessing
// passwords dear; a secret of 260 random bits cannot be guessed at any speed,
// and a slow hash here would only be paid on every request, and by us on every
// flood of wrong keys.
type Key struct {
	ID     string
	Name   string // what people call it
	Tenant string
	Scopes []Scope
	Roles  []string
	Hash   [sha256.Size]byte // of the secret

	CreatedAt time.Time
	ExpiresAt time.Time // zero is never
	RevokedAt time.Time // zero is not
}

// Status is what a key is good for.
type Status string

// A key's life. Revoked and expired keys are kept, so that a log's key id
// always has a name.
const (
	Active  Status = "active"
	Expired Status = "expired"
	Revoked Status = "revoked"
)

// Status is the key's at a time.
func (k *Key) Status(now time.Time) Status {
	switch {
	case !k.RevokedAt.IsZero():
		return Revoked
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return Expired
	default:
		return Active
	}
}

// KeySpec is what a new key should be.
type KeySpec struct {
	Name      string
	Tenant    string
	Scopes    []Scope
	Roles     []string
	ExpiresAt time.Time // zero is never
}

// The bounds of a KeySpec.
const (
	maxName   = 100 // characters
	maxScopes = 100
	maxRoles  = 20
)

// Check reports the first thing wrong with the spec, as a problem that names
// the field of the control API.
func (s *KeySpec) Check(now time.Time) error {
	switch {
	case strings.TrimSpace(s.Name) == "":
		return problem.Invalid("name", "expected a name, 1 to %d characters", maxName)
	case len([]rune(s.Name)) > maxName || strings.ContainsFunc(s.Name, isControl):
		return problem.Invalid("name", "expected 1 to %d printable characters", maxName)
	case !isLabel(s.Tenant):
		return problem.Invalid("tenant", "expected a DNS label (a-z, 0-9 and -, at most 63)")
	case len(s.Scopes) == 0:
		return problem.Invalid("scopes", "expected at least one of %s", ScopesHelp)
	case len(s.Scopes) > maxScopes:
		return problem.Invalid("scopes", "expected at most %d, got %d", maxScopes, len(s.Scopes))
	case len(s.Roles) > maxRoles:
		return problem.Invalid("roles", "expected at most %d, got %d", maxRoles, len(s.Roles))
	case !s.ExpiresAt.IsZero() && !s.ExpiresAt.After(now):
		return problem.Invalid("expires_at", "expected a time in the future, got %s", s.ExpiresAt.UTC().Format(time.RFC3339))
	}
	for i, scope := range s.Scopes {
		if err := scope.check(index("scopes", i)); err != nil {
			return err
		}
	}
	for i, role := range s.Roles {
		if !isLabel(role) {
			return problem.Invalid(index("roles", i), "expected a DNS label (a-z, 0-9 and -, at most 63)")
		}
	}
	return nil
}

// NewKey makes a key and its text, "ms_<id>_<secret>", which is shown once and
// stored nowhere. The id has 60 random bits, the secret 260.
func NewKey(spec KeySpec, now time.Time) (text string, key *Key, err error) {
	if err := spec.Check(now); err != nil {
		return "", nil, err
	}
	id := strings.ToLower(rand.Text()[:12])
	secret := rand.Text() + rand.Text()
	return prefix + id + "_" + secret, &Key{
		ID:        id,
		Name:      spec.Name,
		Tenant:    spec.Tenant,
		Scopes:    spec.Scopes,
		Roles:     spec.Roles,
		Hash:      sha256.Sum256([]byte(secret)),
		CreatedAt: now.UTC().Truncate(time.Millisecond),
		ExpiresAt: spec.ExpiresAt.UTC().Truncate(time.Millisecond),
	}, nil
}

// ImportKey makes the stored form of a key whose text was made elsewhere, as an
// operator's first one is, in a Secret.
func ImportKey(text string, spec KeySpec, now time.Time) (*Key, error) {
	parsed, err := ParseKey(text)
	if err != nil {
		return nil, err
	}
	_, key, err := NewKey(spec, now)
	if err != nil {
		return nil, err
	}
	key.ID, key.Hash = parsed.ID, sha256.Sum256([]byte(parsed.secret))
	return key, nil
}

const prefix = "ms_"

// Parsed is a key's text, taken apart.
type Parsed struct {
	ID     string
	secret string
}

// ParseKey takes a key's text apart. The error never repeats it.
func ParseKey(text string) (Parsed, error) {
	rest, ok := strings.CutPrefix(text, prefix)
	id, secret, ok2 := strings.Cut(rest, "_")
	if !ok || !ok2 || len(id) == 0 || len(id) > 32 || len(secret) < 40 || len(secret) > 128 ||
		strings.ContainsFunc(id+secret, notAlphanumeric) {
		return Parsed{}, problem.New(problem.Unauthenticated, "the key is malformed; expected ms_<id>_<secret>")
	}
	return Parsed{ID: id, secret: secret}, nil
}

// Matches reports whether the secret is the key's, in constant time.
func (p Parsed) Matches(k *Key) bool {
	sum := sha256.Sum256([]byte(p.secret))
	return p.ID == k.ID && subtle.ConstantTimeCompare(sum[:], k.Hash[:]) == 1
}

func notAlphanumeric(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
}

// isControl reports whether a rune would act on a terminal or on the order of the
// text around it, rather than be seen.
func isControl(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// isLabel reports whether s is a DNS label (RFC 1123).
func isLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}
