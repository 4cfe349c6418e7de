package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of a set of keys. A longer RSA key would take a millisecond and more for
// each forged signature, as would many keys for a token that names none.
const (
	maxKeys       = 100
	maxCandidates = 10
	minRSA        = 2048 // bits
	maxRSA        = 16384
	maxExponent   = 1<<31 - 1
)

// key is one of an issuer's public keys.
type key struct {
	id     string
	alg    string // "" is every one that fits its kind
	public any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// keySet is an issuer's keys at a time. It does not change.
type keySet struct {
	keys    []key
	print   [sha256.Size]byte // the same for the same keys, whatever their order
	ignored int               // that are for something else, or cannot be used
}

// parseKeys reads a JWK set (RFC 7517). Keys that are not for verifying, are too
// weak, or are of unknown kinds are left out, as its section 5 says; a set of none
// is a set, too: its issuer took its keys back.
func parseKeys(text []byte) (*keySet, error) {
	var document struct {
		Keys *[]jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, errors.New("expected a JWK set in JSON")
	}
	if document.Keys == nil {
		return nil, errors.New("expected a JWK set, which has keys")
	}
	if len(*document.Keys) > maxKeys {
		return nil, fmt.Errorf("expected at most %d keys, got %d", maxKeys, len(*document.Keys))
	}
	set := &keySet{}
	var prints []string
	for _, text := range *document.Keys {
		k, thumbprint, ok := parseKey(text)
		if !ok {
			set.ignored++
			continue
		}
		set.keys = append(set.keys, k)
		prints = append(prints, fmt.Sprintf("%q %q %x", k.id, k.alg, thumbprint))
	}
	slices.Sort(prints)
	set.print = sha256.Sum256([]byte(strings.Join(prints, "\n")))
	return set, nil
}

func parseKey(text jsontext.Value) (k key, thumbprint []byte, ok bool) {
	var purpose struct {
		Use string   `json:"use"`
		Ops []string `json:"key_ops"`
	}
	var jwk jose.JSONWebKey
	if json.Unmarshal(text, &purpose) != nil || jwk.UnmarshalJSON(text) != nil {
		return key{}, nil, false
	}
	forOthers := purpose.Use != "" && purpose.Use != "sig" || purpose.Ops != nil && !slices.Contains(purpose.Ops, "verify")
	if forOthers || !usable(jwk.Key) {
		return key{}, nil, false
	}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return key{}, nil, false
	}
	return key{id: jwk.KeyID, alg: jwk.Algorithm, public: jwk.Key}, thumbprint, true
}

func usable(public any) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return bits >= minRSA && bits <= maxRSA && k.E >= 3 && k.E <= maxExponent && k.E%2 == 1
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	default: // a secret, or a private key, which is everybody's once it is published
		return false
	}
}

// fits reports whether a key may verify signatures of an algorithm (RFC 7518,
// section 3.1; RFC 8037): of its kind, and the one that it is for.
func (k *key) fits(alg jose.SignatureAlgorithm) bool {
	if k.alg != "" && k.alg != string(alg) {
		return false
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(string(alg), "RS") || strings.HasPrefix(string(alg), "PS")
	case *ecdsa.PublicKey:
		curve := map[jose.SignatureAlgorithm]string{jose.ES256: "P-256", jose.ES384: "P-384", jose.ES512: "P-521"}[alg]
		return public.Params().Name == curve
	default:
		return alg == jose.EdDSA
	}
}

// candidates are the keys that may have signed a token, at most maxCandidates: those
// with its kid, or without one, those of its algorithm.
func (s *keySet) candidates(kid string, alg jose.SignatureAlgorithm) []key {
	var found []key
	for _, k := range s.keys {
		if (kid == "" || k.id == kid) && k.fits(alg) && len(found) < maxCandidates {
			found = append(found, k)
		}
	}
	return found
}

// verifies reports whether a key of the set signed the token. A nil set verifies
// nothing.
func (s *keySet) verifies(token *parsed, signed *jose.JSONWebSignature) bool {
	if s == nil {
		return false
	}
	return slices.ContainsFunc(s.candidates(token.kid, token.alg), func(k key) bool {
		_, err := signed.Verify(k.public)
		return err == nil
	})
}

// same reports whether two sets hold the same keys.
func (s *keySet) same(other *keySet) bool {
	return s != nil && other != nil && bytes.Equal(s.print[:], other.print[:])
}
