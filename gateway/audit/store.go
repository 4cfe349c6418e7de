package audit

import (
	"context"
	"errors"
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

	// Chain returns a tenant's entries from a Seq on, the oldest first and at most
	// ChainPage, and the head that is stored beside them, as of one moment. It holds
	// nothing of the database's once it has returned.
	Chain(ctx context.Context, tenant string, from int64) ([]Entry, Head, error)

	// Heads returns the heads of the chains that were added to since a time, at
	// most so many. Since the zero time they are all: also, with Seq 0, of a chain
	// that has entries and no head, and the platform's where changes were stored
	// and it has none.
	Heads(ctx context.Context, since time.Time, most int) ([]Head, error)

	// Trim removes the oldest entries of a chain, as many as Cut says of its first
	// CutPage, and adds the entries that say so (Cutting). It returns how many were
	// removed; a chain's newest entry always stays.
	Trim(ctx context.Context, tenant string, before time.Time, most int64) (int64, error)
}

// BeforeFirst is before the Seq of every entry, also of one that somebody has put
// where none should be.
const BeforeFirst = math.MinInt64

// ChainPage is how many entries of a chain are read at once.
const ChainPage = 1000

// ErrMoved is why a reading ends before its chain does.
var ErrMoved = errors.New("entries of the chain were removed while it was read: read it again")

// Read visits a tenant's entries, the oldest first, up to the head that it returns.
// The database is read in pages, between which nothing of it is held: visit may take
// as long as it likes. Each page begins with the last entry of the one before, so
// that all is one chain; where that is gone, the error is ErrMoved. An error of
// visit ends it.
func Read(ctx context.Context, s Store, tenant string, visit func(*Entry) error) (Head, error) {
	var last *Entry
	for from := int64(BeforeFirst); ; from = last.Seq {
		page, head, err := s.Chain(ctx, tenant, from)
		if err != nil {
			return Head{}, err
		}
		full := len(page) >= ChainPage
		if last != nil {
			if len(page) == 0 || page[0].Seq != last.Seq || page[0].Hash != last.Hash {
				return Head{}, ErrMoved
			}
			page = page[1:]
		}
		for i := range page {
			if err := visit(&page[i]); err != nil {
				return Head{}, err
			}
			last = &page[i]
		}
		if !full {
			return head, nil
		}
	}
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
// says that they were begun, which somebody removed.
func Chains(ctx context.Context, s Store) ([]Head, error) {
	stored, err := s.Heads(ctx, time.Time{}, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	heads := map[string]Head{Platform: {}}
	for page := openings(); ; {
		page.Limit = openPage
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
