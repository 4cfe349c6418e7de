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

// Chains are the chains of audit entries, within one transaction.
type Chains interface {
	// Begun reports whether a chain has entries. It does not wait.
	Begun(ctx context.Context, tenant string) (bool, error)

	// Hold returns the head of a chain, which nobody else adds to from now on, and
	// the Seq of its last entry, or 0.
	Hold(ctx context.Context, tenant string) (head audit.Head, last int64, err error)

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
		head, err := hold(ctx, c, tenant)
		if err != nil {
			return err
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

// hold returns where a chain goes on: at its head, or, where that is damaged, after
// its last entry. What is added then follows nothing, by which the damage is found.
func hold(ctx context.Context, c Chains, tenant string) (audit.Head, error) {
	head, last, err := c.Hold(ctx, tenant)
	if err != nil {
		return head, fmt.Errorf("hold the chain of entries: %w", err)
	}
	if last > head.Seq {
		head.Seq, head.Hash = last, ""
	}
	return head, nil
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

// Oldest are the oldest entries of a chain, within one transaction.
type Oldest interface {
	// Before returns the oldest entries that are before a head, at most
	// audit.CutPage.
	Before(ctx context.Context, head audit.Head) ([]audit.Entry, error)

	// Opened counts the platform's entries that say that a chain was begun.
	Opened(ctx context.Context) (int64, error)

	// Remove removes a chain's entries up to one, and returns how many.
	Remove(ctx context.Context, tenant string, upTo int64) (int64, error)
}

// Trim is audit.Store's, within one transaction.
func Trim(ctx context.Context, c Chains, o Oldest, tenant string, before time.Time, most int64) (int64, error) {
	head, err := hold(ctx, c, tenant)
	if err != nil {
		return 0, err
	}
	oldest, err := o.Before(ctx, head)
	if err != nil {
		return 0, fmt.Errorf("read audit entries: %w", err)
	}
	var opened int64
	if tenant == audit.Platform {
		if opened, err = o.Opened(ctx); err != nil {
			return 0, fmt.Errorf("count audit entries: %w", err)
		}
	}
	n := audit.Cut(oldest, head, opened, before, most)
	if n == 0 {
		return 0, nil
	}
	removed, err := o.Remove(ctx, tenant, oldest[n-1].Seq)
	if err != nil {
		return 0, fmt.Errorf("remove audit entries: %w", err)
	}
	return removed, Append(ctx, c, audit.Cutting(oldest[:n], time.Now()))
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
