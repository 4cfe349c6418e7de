package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Hash is what is stored of a key's secret: HMAC-SHA256(k, SHA-256(secret)), and
// which k. Whoever reads the database alone can neither use nor test a key.
type Hash struct {
	By  string // the id of k; "" is the plain SHA-256, as keys were stored at first
	Sum [sha256.Size]byte
}

// HashKey is one k.
type HashKey struct {
	ID  string // 1 to 16 of a-z and 0-9
	Key [32]byte
}

// NewHashKey makes a random one.
func NewHashKey() HashKey {
	k := HashKey{ID: strings.ToLower(rand.Text()[:8])}
	_, _ = rand.Read(k.Key[:]) // never fails
	return k
}

// String is how a HashKey is configured: "<id>:<32 bytes in base64>".
func (k HashKey) String() string { return k.ID + ":" + base64.StdEncoding.EncodeToString(k.Key[:]) }

// ParseHashKeys reads a list of hash keys, separated by commas. The error names the
// place and repeats nothing.
func ParseHashKeys(text string) ([]HashKey, error) {
	var keys []HashKey
	seen := map[string]bool{}
	for i, part := range strings.Split(text, ",") {
		id, encoded, ok := strings.Cut(strings.TrimSpace(part), ":")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		switch {
		case !ok, err != nil, len(raw) != 32, len(id) == 0, len(id) > 16, strings.ContainsFunc(id, notAlphanumeric), id != strings.ToLower(id):
			return nil, fmt.Errorf("number %d: expected <id>:<32 bytes in base64>, with an id of a-z and 0-9, at most 16", i+1)
		case seen[id]:
			return nil, fmt.Errorf("number %d: the id is there twice", i+1)
		}
		seen[id] = true
		keys = append(keys, HashKey{ID: id, Key: [32]byte(raw)})
	}
	return keys, nil
}

// Hasher hashes keys' secrets and compares them. It is immutable.
type Hasher struct{ keys []HashKey }

// NewHasher makes a Hasher that hashes by the first key, and compares by each.
func NewHasher(keys ...HashKey) (*Hasher, error) {
	if len(keys) == 0 {
		return nil, errors.New("auth: expected at least one hash key")
	}
	return &Hasher{keys}, nil
}

// Hash is what is stored of a key.
func (h *Hasher) Hash(p Parsed) Hash { return h.keys[0].hash(sha256.Sum256([]byte(p.secret))) }

func (k *HashKey) hash(sum [sha256.Size]byte) Hash {
	mac := hmac.New(sha256.New, k.Key[:])
	mac.Write(sum[:])
	return Hash{By: k.ID, Sum: [sha256.Size]byte(mac.Sum(nil))}
}

// Convert makes of a plain SHA-256 what Hash makes of the secret. Others stay.
func (h *Hasher) Convert(plain Hash) Hash {
	if plain.By != "" {
		return plain
	}
	return h.keys[0].hash(plain.Sum)
}

// Knows reports whether secrets can be compared with a hash.
func (h *Hasher) Knows(stored Hash) bool { return stored.By == "" || h.by(stored.By) != nil }

func (h *Hasher) by(id string) *HashKey {
	for i := range h.keys {
		if h.keys[i].ID == id {
			return &h.keys[i]
		}
	}
	return nil
}

// Matches reports whether a secret is that of a hash, and whether the hash is not by
// the current key and is to be made anew. It takes the same time whether they
// match, and for hashes by keys that are not known.
func (h *Hasher) Matches(p Parsed, stored Hash) (ok, old bool) {
	sum := sha256.Sum256([]byte(p.secret))
	k, known := h.by(stored.By), true
	if k == nil {
		k, known = &h.keys[0], false
	}
	computed := k.hash(sum)
	if stored.By == "" {
		computed.Sum, known = sum, true
	}
	ok = hmac.Equal(computed.Sum[:], stored.Sum[:]) && known
	return ok, ok && stored.By != h.keys[0].ID
}
