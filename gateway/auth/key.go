package auth

import (
	"crypto/rand"
	"strings"
	"time"
	"unicode"

	"github.com/modelserveai/modelserve/problem"
)

// Key is a stored API key. The secret itself is nowhere: only a keyed hash of it is.
//
// The hash is fast. Slow ones (bcrypt, argon2) make guessing passwords dear; a
// secret of 260 random bits cannot be guessed at any speed, and a slow hash would be
// paid on every request, and by us on every flood of wrong keys.
type Key struct {
	ID          string
	Name        string // what people call it
	Description string
	Tenant      string
	Scopes      []Permission
	Roles       []string
	Hash        Hash // of the secret

	// Lineage is the id of the first key of its rotations: grants are held and given
	// by all of a lineage. Replaces is the one before, "" for the first.
	Lineage  string
	Replaces string

	CreatedAt time.Time
	ExpiresAt time.Time // zero is never
	RevokedAt time.Time // zero is not

	// Planned is when it would have ended without its rotation, zero is never; nil
	// where it was not rotated.
	Planned *time.Time

	Imported   bool      // made elsewhere: what is known of it is never dropped
	LastUsedAt time.Time // to the minute, where it was asked for; zero is never
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

// End is when the key ends, or would have without its rotation; zero is never.
func (k *Key) End() time.Time {
	if k.Planned != nil {
		return *k.Planned
	}
	return k.ExpiresAt
}

// KeySpec is what a new key should be.
type KeySpec struct {
	Name        string
	Description string
	Tenant      string
	Scopes      []Permission
	Roles       []string
	ExpiresAt   time.Time // zero is never
}

// The bounds of a KeySpec.
const (
	maxName        = 100 // characters
	maxDescription = 500 // likewise
	maxScopes      = 100
	maxRoles       = 20
)

// Check reports the first thing wrong with the spec, as a problem that names
// the field of the control API.
func (s *KeySpec) Check(now time.Time) error {
	switch {
	case !strings.ContainsFunc(s.Name, isSeen):
		return problem.Invalid("name", "expected a name that is seen, 1 to %d characters", maxName)
	case len([]rune(s.Name)) > maxName || strings.ContainsFunc(s.Name, isControl):
		return problem.Invalid("name", "expected 1 to %d printable characters", maxName)
	case len([]rune(s.Description)) > maxDescription || strings.ContainsFunc(s.Description, isControl):
		return problem.Invalid("description", "expected at most %d printable characters", maxDescription)
	case !IsLabel(s.Tenant):
		return problem.Invalid("tenant", "expected %s", label)
	case len(s.Scopes)+len(s.Roles) == 0:
		return problem.Invalid("scopes", "expected at least one, or a role; scopes are %s", PermissionsHelp)
	case len(s.Scopes) > maxScopes:
		return problem.Invalid("scopes", "expected at most %d, got %d", maxScopes, len(s.Scopes))
	case len(s.Roles) > maxRoles:
		return problem.Invalid("roles", "expected at most %d, got %d", maxRoles, len(s.Roles))
	case !s.ExpiresAt.IsZero() && !s.ExpiresAt.After(now):
		return problem.Invalid("expires_at", "expected a time in the future, got %s", s.ExpiresAt.UTC().Format(time.RFC3339))
	}
	for i, scope := range s.Scopes {
		if !scope.Valid() {
			return problem.Invalid(index("scopes", i), "expected one of %s", PermissionsHelp)
		}
	}
	for i, role := range s.Roles {
		if !IsLabel(role) {
			return problem.Invalid(index("roles", i), "expected %s", label)
		}
	}
	return nil
}

// NewKey makes a key and its text, "ms_<id>_<secret>", which is shown once and
// stored nowhere. The id has 60 random bits, the secret 260.
func (h *Hasher) NewKey(spec KeySpec, now time.Time) (text string, key *Key, err error) {
	text = prefix + strings.ToLower(rand.Text()[:12]) + "_" + rand.Text() + rand.Text()
	key, err = h.ImportKey(text, spec, now)
	return text, key, err
}

// ImportKey makes the stored form of a key whose text was made elsewhere, as an
// operator's first one is, in a Secret.
func (h *Hasher) ImportKey(text string, spec KeySpec, now time.Time) (*Key, error) {
	if err := spec.Check(now); err != nil {
		return nil, err
	}
	parsed, err := ParseKey(text)
	if err != nil {
		return nil, err
	}
	return &Key{
		ID: parsed.ID, Name: spec.Name, Description: spec.Description, Tenant: spec.Tenant, Scopes: spec.Scopes, Roles: spec.Roles,
		Hash: h.Hash(parsed), Lineage: parsed.ID,
		CreatedAt: now.UTC().Truncate(time.Millisecond),
		ExpiresAt: spec.ExpiresAt.UTC().Truncate(time.Millisecond),
	}, nil
}

// Rotate makes the key that takes over from k: the same rights, the same end, and a
// text of its own.
func (h *Hasher) Rotate(k *Key, now time.Time) (text string, key *Key) {
	text = prefix + strings.ToLower(rand.Text()[:12]) + "_" + rand.Text() + rand.Text()
	parsed, err := ParseKey(text)
	if err != nil {
		panic(err) // it was made just now
	}
	next := *k
	next.ID, next.Replaces, next.Hash = parsed.ID, k.ID, h.Hash(parsed)
	next.Imported = false
	next.CreatedAt, next.RevokedAt = now.UTC().Truncate(time.Millisecond), time.Time{}
	return text, &next
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

func notAlphanumeric(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
}

// Controls are the characters that would act on a terminal, on lines or on the order
// of the text around them, rather than be seen.
func Controls() []*unicode.RangeTable {
	return []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp}
}

// Unseen are the other characters that alone are nothing that people see: white space,
// marks on another character, letters without a form, and what has no meaning.
func Unseen() []*unicode.RangeTable {
	blank := &unicode.RangeTable{R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}}} // of Braille
	return []*unicode.RangeTable{
		unicode.White_Space, unicode.M, unicode.Other_Default_Ignorable_Code_Point, blank, unicode.Co, unicode.Cn,
	}
}

func isControl(r rune) bool { return unicode.In(r, Controls()...) }

func isSeen(r rune) bool { return !isControl(r) && !unicode.In(r, Unseen()...) }

// label is what IsLabel expects, for people.
const label = "a DNS label (a-z, 0-9 and -, at most 63)"

// IsLabel reports whether s is a DNS label (RFC 1123), as names of tenants and
// roles are.
func IsLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}
