// Package stored is what the gateway's databases have in common: rows, what they
// come to, and how chains of audit entries grow.
//
// It speaks to no database: packages sqlite and postgres do, and their generated
// rows convert to the ones here. It decides nothing about keys, roles and grants.
package stored

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
)

// Key is a row of keys. Times are milliseconds since 1970, 0 is never; lists are
// JSON: so in every row.
type Key struct {
	ID          string
	Name        string
	Tenant      string
	Scopes      string
	Roles       string
	Hash        []byte
	CreatedAt   int64
	ExpiresAt   int64
	RevokedAt   int64
	Description string
	HashBy      string
	Lineage     string
	Replaces    string
	Imported    bool
	LastUsedAt  int64
	PlannedEnd  int64 // notRotated, or when it would have ended
}

// notRotated is the PlannedEnd of a key that was not rotated.
const notRotated = -1

// Role is a row of roles.
type Role struct {
	Tenant      string
	Name        string
	Inherits    string
	Permissions string
	UpdatedAt   int64
}

// Grant is a row of grants.
type Grant struct {
	ID          string
	Tenant      string
	ToKey       string
	ToSubject   string
	ToTenant    string
	ByTenant    string
	ByKey       string
	BySubject   string
	Roles       string
	Permissions string
	CreatedAt   int64
	ExpiresAt   int64
}

// Subject is a row of subjects.
type Subject struct {
	Tenant   string
	Subject  string
	Roles    string
	NoAdmin  bool
	IssuedAt int64
}

// Entry is a row of the audit log.
type Entry struct {
	Tenant    string
	Seq       int64
	At        int64
	Actor     string
	Action    string
	Resource  string
	Outcome   string
	Reason    string
	RequestID string
	Address   string
	Count     int64
	Previous  string
	Hash      string
}

// KeyRow is a key's row.
func KeyRow(k *auth.Key) Key {
	return Key{
		ID: k.ID, Name: k.Name, Tenant: k.Tenant, Scopes: list(k.Scopes), Roles: list(k.Roles), Hash: k.Hash.Sum[:],
		CreatedAt: Millis(k.CreatedAt), ExpiresAt: Millis(k.ExpiresAt), RevokedAt: Millis(k.RevokedAt),
		Description: k.Description, HashBy: k.Hash.By, Lineage: k.Lineage, Replaces: k.Replaces, Imported: k.Imported,
		LastUsedAt: Millis(k.LastUsedAt), PlannedEnd: planned(k),
	}
}

func planned(k *auth.Key) int64 {
	if k.Planned == nil {
		return notRotated
	}
	return Millis(*k.Planned)
}

// Key is the row's key.
func (r Key) Key() (*auth.Key, error) {
	k := &auth.Key{
		ID: r.ID, Name: r.Name, Description: r.Description, Tenant: r.Tenant, Hash: auth.Hash{By: r.HashBy},
		Lineage: r.Lineage, Replaces: r.Replaces, Imported: r.Imported,
		CreatedAt: Time(r.CreatedAt), ExpiresAt: Time(r.ExpiresAt), RevokedAt: Time(r.RevokedAt), LastUsedAt: Time(r.LastUsedAt),
	}
	if r.PlannedEnd != notRotated {
		planned := Time(r.PlannedEnd)
		k.Planned = &planned
	}
	if k.Lineage == "" {
		k.Lineage = k.ID // a program that knew no rotations made it
	}
	if copy(k.Hash.Sum[:], r.Hash) != sha256.Size {
		return nil, fmt.Errorf("read key %s: its hash has %d bytes", r.ID, len(r.Hash))
	}
	if err := read(&k.Scopes, r.Scopes, &k.Roles, r.Roles); err != nil {
		return nil, fmt.Errorf("read key %s: %w", r.ID, err)
	}
	return k, nil
}

// RoleRow is a role's row.
func RoleRow(r *access.Role) Role {
	return Role{r.Tenant, r.Name, list(r.Inherits), list(r.Permissions), Millis(r.UpdatedAt)}
}

// Role is the row's role.
func (r Role) Role() (*access.Role, error) {
	role := &access.Role{Tenant: r.Tenant, Name: r.Name, UpdatedAt: Time(r.UpdatedAt)}
	if err := read(&role.Permissions, r.Permissions, &role.Inherits, r.Inherits); err != nil {
		return nil, fmt.Errorf("read role %s: %w", r.Name, err)
	}
	return role, nil
}

// GrantRow is a grant's row.
func GrantRow(g *access.Grant) Grant {
	return Grant{
		ID: g.ID, Tenant: g.Tenant, ToKey: g.To.Key, ToSubject: g.To.Subject, ToTenant: g.To.Tenant,
		ByTenant: g.By.Tenant, ByKey: g.By.Key, BySubject: g.By.Subject,
		Roles: list(g.Roles), Permissions: list(g.Permissions), CreatedAt: Millis(g.CreatedAt), ExpiresAt: Millis(g.ExpiresAt),
	}
}

// Grant is the row's grant.
func (r Grant) Grant() (*access.Grant, error) {
	g := &access.Grant{
		ID: r.ID, Tenant: r.Tenant, To: access.Recipient{Key: r.ToKey, Subject: r.ToSubject, Tenant: r.ToTenant},
		By:        access.Giver{Tenant: r.ByTenant, Key: r.ByKey, Subject: r.BySubject},
		CreatedAt: Time(r.CreatedAt), ExpiresAt: Time(r.ExpiresAt),
	}
	if err := read(&g.Permissions, r.Permissions, &g.Roles, r.Roles); err != nil {
		return nil, fmt.Errorf("read grant %s: %w", r.ID, err)
	}
	return g, nil
}

// SubjectRow is a subject's row.
func SubjectRow(s *access.Subject) Subject {
	return Subject{s.Tenant, s.Subject, list(s.Roles), s.NoAdmin, Millis(s.IssuedAt)}
}

// Of is the row's subject.
func (r Subject) Of() (*access.Subject, error) {
	s := &access.Subject{Tenant: r.Tenant, Subject: r.Subject, NoAdmin: r.NoAdmin, IssuedAt: Time(r.IssuedAt)}
	if err := json.Unmarshal([]byte(r.Roles), &s.Roles); err != nil {
		return nil, fmt.Errorf("read subject %s: %w", r.Subject, err)
	}
	return s, nil
}

// EntryRow is an entry's row.
func EntryRow(e *audit.Entry) Entry {
	return Entry{
		Tenant: e.Tenant, Seq: e.Seq, At: Millis(e.At), Actor: e.Actor, Action: e.Action, Resource: e.Resource,
		Outcome: string(e.Outcome), Reason: e.Reason, RequestID: e.RequestID, Address: e.Address, Count: e.Count,
		Previous: e.Previous, Hash: e.Hash,
	}
}

// Entry is the row's entry.
func (r Entry) Entry() audit.Entry {
	return audit.Entry{
		Tenant: r.Tenant, Seq: r.Seq, At: Time(r.At), Actor: r.Actor, Action: r.Action, Resource: r.Resource,
		Outcome: audit.Outcome(r.Outcome), Reason: r.Reason, RequestID: r.RequestID, Address: r.Address, Count: r.Count,
		Previous: r.Previous, Hash: r.Hash,
	}
}

// list is a list as JSON.
func list[T ~string](items []T) string {
	text, err := json.Marshal(append([]T{}, items...))
	if err != nil {
		panic(err) // strings are never refused
	}
	return string(text)
}

// read reads the two lists of a row.
func read[A, B ~string](a *[]A, aText string, b *[]B, bText string) error {
	if err := json.Unmarshal([]byte(aText), a); err != nil {
		return fmt.Errorf("a list of it: %w", err)
	}
	if err := json.Unmarshal([]byte(bText), b); err != nil {
		return fmt.Errorf("a list of it: %w", err)
	}
	return nil
}

// Millis is a time as a row has it.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Time is a row's time, in UTC.
func Time(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
