package stored

import (
	"cmp"
	"crypto/rand"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

// What is kept, and for how long.
const (
	Generations = 10_000 // of the history
	EndedKeys   = 1000   // of a tenant
)

// ErrOthers is why a row is not stored.
var ErrOthers = errors.New("another tenant has one of this id")

// Everything is the number that every tenant's last change is above.
const Everything = -1

// ExpiredBefore is the time, as a row has it, before which keys have expired long
// ago.
func ExpiredBefore() int64 { return time.Now().Add(-access.Remembered).UnixMilli() }

// Next is the position of a change after another.
func Next(p rights.Position) rights.Position {
	return rights.Position{Number: p.Number + 1, Mark: rand.Text()}
}

// Empty reports whether nothing is to be stored.
func Empty(s *rights.Stored) bool { return len(s.Entries) == 0 && len(s.Change.Tenants()) == 0 }

// Sorted are keys by id: in this order every transaction takes them.
func Sorted(keys []*auth.Key) []*auth.Key {
	return slices.SortedFunc(slices.Values(keys), func(a, b *auth.Key) int { return strings.Compare(a.ID, b.ID) })
}

// SortedUses are uses by key, likewise.
func SortedUses(uses []rights.Use) []rights.Use {
	return slices.SortedStableFunc(slices.Values(uses), func(a, b rights.Use) int { return strings.Compare(a.Key, b.Key) })
}

// OfKeys are the tenants of a change's keys: with each change ended ones are
// forgotten.
func OfKeys(c *access.Change) []string {
	var tenants []string
	for _, k := range c.Keys {
		if !slices.Contains(tenants, k.Tenant) {
			tenants = append(tenants, k.Tenant)
		}
	}
	return tenants
}

// Before is where a page of keys begins, as rows have it: the time and id that its
// keys are before.
func Before(page auth.Page) (createdAt int64, id string) {
	if page.After == (auth.Cursor{}) {
		return math.MaxInt64, ""
	}
	return Millis(page.After.CreatedAt), page.After.ID
}

// Update is a rights.Update that is put together from rows.
type Update struct {
	update rights.Update
	err    error
}

// NewUpdate is an Update with tenants of which nothing is stored.
func NewUpdate(p rights.Position, whole bool, tenants []string) *Update {
	u := &Update{update: rights.Update{Position: p, Whole: whole, Tenants: make(map[string]*access.Tenant, len(tenants))}}
	for _, tenant := range tenants {
		u.update.Tenants[tenant] = &access.Tenant{}
	}
	return u
}

// Key puts a row in its place.
func (u *Update) Key(r Key) {
	r.LastUsedAt = 0 // a use is no change
	k, err := r.Key()
	if u.err = cmp.Or(u.err, err); u.err == nil {
		t := u.update.Tenants[r.Tenant]
		t.Keys = append(t.Keys, k)
	}
}

// Role puts a row in its place.
func (u *Update) Role(r Role) {
	role, err := r.Role()
	if u.err = cmp.Or(u.err, err); u.err == nil {
		t := u.update.Tenants[r.Tenant]
		t.Roles = append(t.Roles, role)
	}
}

// Grant puts a row in its place.
func (u *Update) Grant(r Grant) {
	g, err := r.Grant()
	if u.err = cmp.Or(u.err, err); u.err == nil {
		t := u.update.Tenants[r.Tenant]
		t.Grants = append(t.Grants, g)
	}
}

// Subject puts a row in its place.
func (u *Update) Subject(r Subject) {
	s, err := r.Of()
	if u.err = cmp.Or(u.err, err); u.err == nil {
		t := u.update.Tenants[r.Tenant]
		t.Subjects = append(t.Subjects, s)
	}
}

// Done is the Update, or the first row's fault.
func (u *Update) Done() (*rights.Update, error) {
	if u.err != nil {
		return nil, u.err
	}
	return &u.update, nil
}
