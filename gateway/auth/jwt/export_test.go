package jwt

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// Forget drops the verified tokens.
func (v *Verifier) Forget() { clear(v.cache.entries) }

// Remembered is how many verified tokens are.
func (v *Verifier) Remembered() int {
	v.cache.mu.RLock()
	defer v.cache.mu.RUnlock()
	return len(v.cache.entries)
}

// Fill has the Verifier remember n tokens that there are not.
func (v *Verifier) Fill(n int, until time.Time) {
	for i := range n {
		hash := sha256.Sum256(binary.AppendVarint(nil, int64(i)))
		v.cache.put(hash, remembered{until: until}, time.Now())
	}
}

// Map is what an issuer's expressions make of claims.
func Map(config Issuer, claims map[string]any) (*auth.Principal, error) {
	m, err := newMapping(&config)
	if err != nil {
		return nil, err
	}
	p := &auth.Principal{}
	if p.Tenant, err = m.tenantOf(claims); err != nil {
		return nil, err
	}
	p.Roles, err = m.rolesOf(claims)
	return p, err
}

// Verifies reports whether a key of a set, as text, signed a token.
func Verifies(keys []byte, token string) bool {
	set, err := parseKeys(keys)
	if err != nil {
		return false
	}
	read, err := parse(token)
	if err != nil {
		return false
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.EdDSA})
	return err == nil && set.verifies(read, signed)
}
