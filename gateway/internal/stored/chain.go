package stored

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
)

// MostTrimmed is how many entries are removed at once.
const MostTrimmed = 10_000

// BeforeFirst is before the Seq of every entry, also of one that somebody has put
// where none should be.
const BeforeFirst = math.MinInt64

// ChainPage is how many entries of a chain are read at once.
const ChainPage = 1000

// Chains are the chains of audit entries, within one transaction.
type Chains interface {
	// Begun reports whether a chain has entries. It does not wait.
	Begun(ctx context.Context, tenant string) (bool, error)

	// Hold returns the head of a chain, which nobody else adds to from now on.
	Hold(ctx context.Context, tenant string) (audit.Head, error)

	// Add stores entries.
	Add(ctx context.Context, entries []Entry) error

	// Move stores the head of a chain that was added to at a time.
	Move(ctx context.Context, head audit.Head, at int64) error
}

// Append adds entries to the chains of their tenants, and of each chain that begins
// the entry that says so to the platform's. Chains are held in the order of their
// names, so that no two transactions wait for each other.
func Append(ctx context.Context, c Chains, entries []audit.Entry) error {
	chains := map[string][]audit.Entry{}
	for _, e := range entries {
		chains[e.Tenant] = append(chains[e.Tenant], e)
	}
	for tenant := range maps.Clone(chains) {
		begun, err := c.Begun(ctx, tenant)
		if err != nil {
			return fmt.Errorf("look for the chain of entries: %w", err)
		}
		if !begun && tenant != audit.Platform {
			chains[audit.Platform] = append([]audit.Entry{}, chains[audit.Platform]...) // to be held first
		}
	}
	heads := map[string]audit.Head{}
	for _, tenant := range slices.Sorted(maps.Keys(chains)) {
		head, err := c.Hold(ctx, tenant)
		if err != nil {
			return fmt.Errorf("hold the chain of entries: %w", err)
		}
		heads[tenant] = head
		if head.Seq == 0 && tenant != audit.Platform {
			chains[audit.Platform] = append(chains[audit.Platform], audit.Opened(tenant, chains[tenant][0].At))
		}
	}
	for _, tenant := range slices.Sorted(maps.Keys(heads)) {
		if err := extend(ctx, c, heads[tenant], chains[tenant]); err != nil {
			return err
		}
	}
	return nil
}

func extend(ctx context.Context, c Chains, head audit.Head, entries []audit.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	rows := make([]Entry, 0, len(entries))
	for _, e := range entries {
		next, err := head.Next(e)
		if err != nil {
			return err
		}
		rows = append(rows, EntryRow(&next))
		head.Seq, head.Hash = next.Seq, next.Hash
	}
	if err := c.Add(ctx, rows); err != nil {
		return fmt.Errorf("add audit entries: %w", err)
	}
	if err := c.Move(ctx, head, time.Now().UnixMilli()); err != nil {
		return fmt.Errorf("move the chain's head: %w", err)
	}
	return nil
}

// Link is what matters of an entry that may be removed.
type Link struct {
	Seq  int64
	At   int64
	Hash string
}

// Trimmed is the last of the oldest links that are to be removed of a chain with
// this head: those before a time, and those that are more than most.
func Trimmed(oldest []Link, head audit.Head, before time.Time, most int64) (last Link, ok bool) {
	for _, l := range oldest {
		if l.At >= Millis(before) && head.Seq-l.Seq < most {
			break
		}
		last, ok = l, true
	}
	return last, ok
}

// Bounds are those of a filter, as rows have them.
func Bounds(f *audit.Filter) (from, to, before int64) {
	from, to, before = math.MinInt64, math.MaxInt64, math.MaxInt64
	if !f.From.IsZero() {
		from = ceil(f.From)
	}
	if !f.To.IsZero() {
		to = ceil(f.To)
	}
	if f.Before != 0 {
		before = f.Before
	}
	return from, to, before
}

// ceil is the first millisecond that is not before a time.
func ceil(t time.Time) int64 {
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}
