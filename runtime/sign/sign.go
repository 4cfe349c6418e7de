// Package sign makes and checks signatures of documents (manifests, policies) with
// Ed25519 (RFC 8032), and reads and writes the keys.
//
// It is cryptography and key files alone: what is signed, and where signatures are
// kept, others know.
package sign

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// MaxSignatures bounds, in bytes, the signatures of one document: a line of base64
// for each key that signed.
const MaxSignatures = 4 << 10

// Signer signs documents with Ed25519 (RFC 8032).
type Signer struct{ key ed25519.PrivateKey }

// Sign returns the signature of a document: one line of base64.
func (s *Signer) Sign(document []byte) []byte {
	return []byte(base64.StdEncoding.EncodeToString(ed25519.Sign(s.key, document)) + "\n")
}

// Public is the key that verifies what s signs.
func (s *Signer) Public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) } //nolint:forcetypeassert // by its documentation

// Verifier accepts documents that one of its keys signed.
type Verifier struct{ keys []ed25519.PublicKey }

// NewVerifier makes a verifier of keys; several stand beside each other while
// a key is replaced.
func NewVerifier(keys ...ed25519.PublicKey) *Verifier { return &Verifier{keys: keys} }

// Keys are the keys whose signatures v accepts.
func (v *Verifier) Keys() []ed25519.PublicKey { return slices.Clone(v.keys) }

// KeyID is a short name of a key: how its sha256 begins, in hexadecimal.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// names are short names of the keys, to distinguish them in logs.
func (v *Verifier) names() []string {
	var names []string
	for _, key := range v.keys {
		names = append(names, KeyID(key))
	}
	return names
}

// The reasons why a document is not accepted.
var (
	ErrUnsigned       = errors.New("unsigned: there is no signature, and one is required (MODELSERVE_PUBLIC_KEY or MODELSERVE_PUBLIC_KEY_FILE)")
	ErrWrongSignature = errors.New("signature wrong: no trusted key made it for these bytes (MODELSERVE_PUBLIC_KEY or MODELSERVE_PUBLIC_KEY_FILE)")
)

// Verify checks the signatures of a document, one a line: one of a key that is
// trusted is enough. Its error is ErrUnsigned or ErrWrongSignature.
func (v *Verifier) Verify(document, signatures []byte) error {
	if len(signatures) == 0 {
		return ErrUnsigned
	}
	if len(signatures) > MaxSignatures {
		return ErrWrongSignature
	}
	for line := range strings.Lines(string(signatures)) {
		sig, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if err != nil || len(sig) != ed25519.SignatureSize {
			continue
		}
		for _, key := range v.keys {
			if ed25519.Verify(key, document, sig) {
				return nil
			}
		}
	}
	return ErrWrongSignature
}
