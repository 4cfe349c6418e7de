package access

import (
	"cmp"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// CreateKey decides on a new key. It may have what its maker has without grants:
// those end, and a key goes on.
func (d *Decider) CreateKey(k *auth.Key) (*Change, error) {
	if err := d.mayAct(k.Tenant); err != nil {
		return nil, err
	}
	if err := d.rolesExist("roles", k.Tenant, k.Roles); err != nil {
		return nil, err
	}
	if err := d.gives(d.own(), d.State.Own(k.Principal()), "make a key with"); err != nil {
		return nil, err
	}
	if end := d.until(); outlives(k.ExpiresAt, end) {
		return nil, problem.Invalid("expires_at", "expected a time not after the end of the credential that makes the key, %s", written(end))
	}
	known, old := d.keysOf(k.Tenant)
	lineages := map[string]bool{}
	for _, k := range known {
		lineages[k.Lineage] = true
	}
	if n := len(lineages); n >= d.Bounds.Keys {
		return nil, problem.New(problem.Conflict, "the tenant has %d keys, with those that expired within a day, which is the bound (MODELSERVE_TENANT_KEYS): revoke some", n)
	}
	if err := d.roomFor(known); err != nil {
		return nil, err
	}
	return &Change{Keys: []*auth.Key{k}, EndKeys: old}, nil
}

// Remembered is how long a key is known that expired. So long it counts toward the
// bound of its tenant.
const Remembered = 24 * time.Hour

// mostRotations is how many keys of one lineage are good at once, and how many are
// remembered for each key of the bound.
const mostRotations = 3

// keysOf are a tenant's keys that are remembered, and those that expired before.
func (d *Decider) keysOf(tenant string) (known, old []*auth.Key) {
	for _, k := range d.State.Tenant(tenant).Keys {
		if !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(d.Now.Add(-Remembered)) {
			old = append(old, k)
		} else {
			known = append(known, k)
		}
	}
	return known, old
}

// roomFor is nil where one more of a tenant's keys can be remembered.
func (d *Decider) roomFor(known []*auth.Key) error {
	if n := len(known); n >= mostRotations*d.Bounds.Keys {
		return problem.New(problem.Conflict, "the tenant has %d keys, with rotations and those that expired within a day, which is %d times the bound (MODELSERVE_TENANT_KEYS): revoke some", n, mostRotations)
	}
	return nil
}

// RevokeKey decides on the end of a key, and of all that it was rotated to and
// from, where rotations is set.
func (d *Decider) RevokeKey(id string, rotations bool) (*Change, error) {
	k, err := d.key(id)
	if err != nil {
		return nil, err
	}
	if k.Lineage != d.By.Lineage {
		if err := d.gives(d.rights(), d.State.Own(k.Principal()), "revoke a key with"); err != nil {
			return nil, err // nor may they take from others what they could not give
		}
	}
	known, old := d.keysOf(k.Tenant)
	change := &Change{EndKeys: old}
	for _, other := range known {
		if other.ID == id || rotations && other.Lineage == k.Lineage {
			ended := *other
			ended.RevokedAt = d.Now.UTC().Truncate(time.Millisecond)
			change.Keys = append(change.Keys, &ended)
		}
	}
	return change, nil
}

// RotateKey decides on the key that takes over from another, which goes on for the
// overlap. Whoever rotates a key gets its text, so they need without grants all that
// it may do: a grant ends, and the text goes on.
func (d *Decider) RotateKey(id string, overlap time.Duration, rotate func(*auth.Key) *auth.Key) (*Change, error) {
	k, err := d.key(id)
	if err != nil {
		return nil, err
	}
	if err := d.mayAct(k.Tenant); err != nil {
		return nil, err
	}
	if k.Status(d.Now) != auth.Active {
		return nil, problem.New(problem.Conflict, "the key has ended, so that it cannot be rotated: make a new one")
	}
	known, gone := d.keysOf(k.Tenant)
	for _, other := range known {
		if other.Replaces == id && other.Status(d.Now) == auth.Active {
			return nil, problem.New(problem.Conflict, "the key was rotated already, to %s: rotate that one", other.ID)
		}
	}
	if k.Lineage != d.By.Lineage {
		all := d.State.Rights(k.Principal(), d.Now)
		if err := d.gives(d.own(), all, "rotate a key with"); err != nil {
			return nil, err
		}
	}
	whole, err := d.ofRotation(k)
	if err != nil {
		return nil, err
	}
	old, planned := *k, k.End()
	old.Planned = &planned
	if end := d.Now.Add(overlap).UTC().Truncate(time.Millisecond); old.ExpiresAt.IsZero() || end.Before(old.ExpiresAt) {
		old.ExpiresAt = end
	}
	if err := cmp.Or(d.fewAtOnce(known, &old), d.roomFor(known)); err != nil {
		return nil, err
	}
	return &Change{Keys: []*auth.Key{rotate(whole), &old}, EndKeys: gone}, nil
}

// fewAtOnce is nil where a key may have one more rotation beside it, as it is to be
// then.
func (d *Decider) fewAtOnce(known []*auth.Key, old *auth.Key) error {
	good := 1
	if old.Status(d.Now) == auth.Active {
		good++
	}
	var first *auth.Key // of the others to end
	for _, k := range known {
		if k.ID == old.ID || k.Lineage != old.Lineage || k.Status(d.Now) != auth.Active {
			continue
		}
		good++
		if first == nil || outlives(first.ExpiresAt, k.ExpiresAt) {
			first = k
		}
	}
	if good <= mostRotations {
		return nil
	}
	return problem.New(problem.Conflict, "%d keys of these rotations are still good, which is the most: revoke one, have this one end at once (overlap 0s), or wait until %s ends, at %s", mostRotations, first.ID, written(first.ExpiresAt))
}

// ofRotation is a key with the end that its rotation gets: the one that it had, before
// a rotation that was lost and revoked, too. Nobody who ends before gets that of
// another, nor a key that is to end because it was rotated its own.
func (d *Decider) ofRotation(k *auth.Key) (*auth.Key, error) {
	whole := *k
	whole.Planned = nil
	if d.By.ID == k.Principal().ID {
		return &whole, nil
	}
	whole.ExpiresAt = k.End()
	if end := d.until(); outlives(whole.ExpiresAt, end) {
		return nil, problem.New(problem.PermissionDenied, "this credential ends at %s, before the key would, so that it cannot rotate it", written(end))
	}
	return &whole, nil
}

// until is when the principal's key ends, as it is stored now; zero is never. A token's
// end is none: it is that of a session, and its subject comes back with the next one.
func (d *Decider) until() time.Time {
	if d.By.Lineage == "" {
		return time.Time{}
	}
	if k := d.State.Key(strings.TrimPrefix(d.By.ID, "key:")); k != nil {
		return k.ExpiresAt
	}
	return d.By.Until
}

// outlives reports whether what ends at one time goes on after another; zero is
// never.
func outlives(ends, other time.Time) bool {
	return !other.IsZero() && (ends.IsZero() || ends.After(other))
}

func written(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// key is a key that the principal may see.
func (d *Decider) key(id string) (*auth.Key, error) {
	k := d.State.Key(id)
	if k == nil || k.Tenant != d.By.Tenant && !d.Admin() {
		return nil, problem.New(problem.NotFound, "there is no key of this id that is not revoked")
	}
	return k, nil
}
