// Package audit is the log of who did what to keys, roles, grants, models and the
// gateway's settings, and of who was refused: one chain of entries for each tenant,
// and one for the platform, each entry with the hash of the one before.
//
// Entries of changes are written in the change's own transaction, by whoever stores
// it; refusals by a Recorder, which counts a flood of them. It knows no database,
// decides nothing and refuses nobody.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/gowebpki/jcs"
)

// Platform is the tenant of the chain of what is no tenant's.
const Platform = ""

// Entry is one thing that happened.
type Entry struct {
	Seq       int64     `json:"seq"` // 1, 2, … in its chain, without gaps
	At        time.Time `json:"at"`  // UTC, whole milliseconds
	Tenant    string    `json:"tenant"`
	Actor     string    `json:"actor"`    // "key:<id>", "subject:<issuer> <subject>", "gateway"; "" is not known
	Action    string    `json:"action"`   // "key.create", "infer"
	Resource  string    `json:"resource"` // "key:<id>", "model:churn"; "" is none
	Outcome   Outcome   `json:"outcome"`
	Reason    string    `json:"reason"`
	RequestID string    `json:"request_id"`
	Address   string    `json:"address"` // of the caller, without a port
	Count     int64     `json:"count"`   // how often it happened, of refusals; else 1
	Previous  string    `json:"previous"`
	Hash      string    `json:"hash"`
}

// Outcome is how it ended.
type Outcome string

// The outcomes.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused"
)

// Head is the end of a chain.
type Head struct {
	Tenant string
	Seq    int64
	Hash   string // of the entry at Seq; "" before the first
}

// Next makes of what happened the entry that follows a chain's head, in the form in
// which it is stored: bounded text without control characters, whole milliseconds.
func (h Head) Next(e Entry) (Entry, error) {
	e.Seq, e.Tenant, e.Previous = h.Seq+1, h.Tenant, h.Hash
	e = e.plain()
	hash, err := e.Sum()
	e.Hash = hash
	return e, err
}

// plain is an entry in the form in which it is stored.
func (e Entry) plain() Entry {
	e.At = e.At.UTC().Truncate(time.Millisecond)
	e.Count = max(e.Count, 1)
	for _, text := range []*string{&e.Actor, &e.Action, &e.Resource, &e.Reason, &e.RequestID, &e.Address} {
		*text = plain(*text)
	}
	return e
}

// maxText bounds each text of an entry, in bytes: the longest actor is "subject:" with
// an issuer and a subject of 255 each.
const maxText = 519

// plain is text as every database takes it and gives it back.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	return text
}

// Sum is the entry's hash: SHA-256 over it as canonical JSON (RFC 8785) without
// "hash", in hexadecimal.
func (e Entry) Sum() (string, error) {
	text, err := json.Marshal(struct {
		Entry

		Hash *struct{} `json:"hash,omitempty"` // shadows the entry's
	}{Entry: e})
	if err != nil {
		return "", fmt.Errorf("audit: %w", err)
	}
	canonical, err := jcs.Transform(text)
	if err != nil {
		return "", fmt.Errorf("audit: canonical JSON: %w", err)
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}
