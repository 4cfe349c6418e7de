package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Store is where chains are. Package storetest holds what each one does.
type Store interface {
	// Append adds entries to the chains of their tenants, in one transaction.
	Append(ctx context.Context, entries []Entry) error

	// Entries returns a page, newest first.
	Entries(ctx context.Context, f Filter) ([]Entry, error)

	// Chain visits a tenant's entries, the oldest first, as of one moment, and
	// returns the head that is stored beside them. An error of visit ends it.
	Chain(ctx context.Context, tenant string, visit func(*Entry) error) (Head, error)

	// Heads returns the heads of the chains that were added to since a time, at
	// most so many.
	Heads(ctx context.Context, since time.Time, most int) ([]Head, error)

	// Trim removes the oldest entries of a chain, those before a time and those that
	// are more than most, at most 10,000 at once, and adds the entry that says so
	// (Trimmed). It returns how many; a chain's newest entry always stays.
	Trim(ctx context.Context, tenant string, before time.Time, most int64) (int64, error)
}

// Filter is which entries are meant. What is empty matches all.
type Filter struct {
	Tenant   string // whose chain: always compared
	From, To time.Time
	Actor    string
	Action   string
	Resource string
	Outcome  Outcome
	Before   int64 // Seq; 0 is from the newest
	Limit    int
}

// Matches reports whether an entry of the chain is meant, but for the Limit.
func (f *Filter) Matches(e *Entry) bool {
	return (f.From.IsZero() || !e.At.Before(f.From)) && (f.To.IsZero() || e.At.Before(f.To)) &&
		(f.Actor == "" || f.Actor == e.Actor) && (f.Action == "" || f.Action == e.Action) &&
		(f.Resource == "" || f.Resource == e.Resource) && (f.Outcome == "" || f.Outcome == e.Outcome) &&
		(f.Before == 0 || e.Seq < f.Before)
}

// Chains are the heads of all chains, by their tenants' names, and so the platform's
// first: of those that are stored, and of those of which only the platform's chain
// says that they were begun, which somebody removed. Either alone is not enough: what
// was said may have been trimmed.
func Chains(ctx context.Context, s Store) ([]Head, error) {
	stored, err := s.Heads(ctx, time.Time{}, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	heads := map[string]Head{Platform: {}}
	for page := (Filter{Tenant: Platform, Action: openAction, Limit: openPage}); ; {
		opened, err := s.Entries(ctx, page)
		if err != nil {
			return nil, err
		}
		for _, e := range opened {
			tenant := strings.TrimPrefix(e.Resource, chainResource)
			heads[tenant] = Head{Tenant: tenant}
			page.Before = e.Seq
		}
		if len(opened) < openPage {
			break
		}
	}
	for _, head := range stored {
		heads[head.Tenant] = head
	}
	all := slices.Collect(maps.Values(heads))
	slices.SortFunc(all, func(a, b Head) int { return strings.Compare(a.Tenant, b.Tenant) })
	return all, nil
}

// openPage is how many of the entries that say that a chain was begun are read at once.
const openPage = 1000

// openAction is the action of the entry in the platform's chain that says that a
// tenant's chain was begun.
const openAction = "audit.open"

// chainResource is what a chain's resource begins with, before its tenant.
const chainResource = "chain:"

// Opened is that entry. It is stored with the first of the tenant's.
func Opened(tenant string, at time.Time) Entry {
	return Entry{At: at, Tenant: Platform, Actor: "gateway", Action: openAction, Outcome: Done, Resource: chainResource + tenant}
}

// TrimAction is the action of the entry that says what was removed.
const TrimAction = "audit.trim"

// Trimmed is the entry that says that a chain's entries up to one were removed.
func Trimmed(tenant string, upTo int64, hash string, at time.Time) Entry {
	return Entry{
		At: at, Tenant: tenant, Actor: "gateway", Action: TrimAction, Outcome: Done,
		Resource: fmt.Sprintf("entries up to %d", upTo), Reason: hash,
	}
}

// Verdict is whether a chain holds.
type Verdict struct {
	Holds    bool
	Entries  int64
	BrokenAt int64 // the Seq of the first entry that does not follow; 0 where it holds
}

// Verify reads a tenant's chain, and holds each entry to its hash, to the one
// before, to the entry that says what was removed before the first, and the last to
// the head that is stored beside the chain. A chain that was removed whole is found out
// by the platform's, also when it was begun anew. Whoever writes anew a whole chain and
// its head is not found out by this, but by heads that were logged.
func Verify(ctx context.Context, s Store, tenant string) (Verdict, error) {
	c := chain{tenant: tenant}
	head, err := s.Chain(ctx, tenant, c.follow)
	if err != nil && !errors.Is(err, errBroken) {
		return Verdict{}, err
	}
	if err == nil {
		c.end(head)
	}
	if c.broken == 0 && tenant != Platform {
		opened, err := s.Entries(ctx, Filter{Tenant: Platform, Action: openAction, Resource: chainResource + tenant, Limit: 2})
		if err != nil {
			return Verdict{}, err
		}
		if len(opened) > 1 || len(opened) == 1 && c.entries == 0 { // begun anew, or gone
			c.broken = 1
		}
	}
	return Verdict{Holds: c.broken == 0, Entries: c.entries, BrokenAt: c.broken}, nil
}

// chain is one that is being verified.
type chain struct {
	tenant  string
	entries int64
	first   Entry // its Seq, and its Previous, which an entry has to vouch for
	last    Head
	vouched bool // for what was removed before the first
	broken  int64
}

var errBroken = errors.New("the chain is broken")

func (c *chain) follow(e *Entry) error {
	if c.entries == 0 {
		c.first = Entry{Seq: e.Seq, Previous: e.Previous}
		c.last = Head{Tenant: c.tenant, Seq: e.Seq - 1, Hash: e.Previous}
		c.vouched = e.Seq == 1 && e.Previous == ""
	}
	c.entries++
	sum, err := e.Sum()
	if err != nil || sum != e.Hash || e.Tenant != c.tenant || e.Seq != c.last.Seq+1 || e.Previous != c.last.Hash {
		c.broken = c.last.Seq + 1
		return errBroken
	}
	c.last.Seq, c.last.Hash = e.Seq, e.Hash
	if e.Action == TrimAction && e.Actor == "gateway" {
		want := Trimmed(c.tenant, c.first.Seq-1, c.first.Previous, e.At)
		c.vouched = c.vouched || e.Resource == want.Resource && e.Reason == want.Reason
	}
	return nil
}

func (c *chain) end(head Head) {
	switch {
	case c.entries > 0 && !c.vouched:
		c.broken = c.first.Seq
	case c.last.Seq != head.Seq || c.last.Hash != head.Hash:
		c.broken = c.last.Seq + 1
	}
}
