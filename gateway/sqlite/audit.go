package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/internal/stored"
	"github.com/modelserveai/modelserve/gateway/sqlite/db"
)

// chains implements stored.Chains. The transaction that they are in excludes every
// other that writes.
type chains struct{ q *db.Queries }

// Begun implements stored.Chains.
func (c chains) Begun(ctx context.Context, tenant string) (bool, error) {
	n, err := c.q.ChainExists(ctx, tenant)
	return n > 0, err
}

// Hold implements stored.Chains.
func (c chains) Hold(ctx context.Context, tenant string) (audit.Head, error) {
	if err := c.q.AddHead(ctx, tenant); err != nil {
		return audit.Head{}, err
	}
	row, err := c.q.Head(ctx, tenant)
	return audit.Head{Tenant: row.Tenant, Seq: row.Seq, Hash: row.Hash}, err
}

// Add implements stored.Chains.
func (c chains) Add(ctx context.Context, entries []stored.Entry) error {
	for _, e := range entries {
		if err := c.q.AddEntry(ctx, db.AddEntryParams(e)); err != nil {
			return err
		}
	}
	return nil
}

// Move implements stored.Chains.
func (c chains) Move(ctx context.Context, head audit.Head, at int64) error {
	return c.q.MoveHead(ctx, db.MoveHeadParams{Seq: head.Seq, Hash: head.Hash, MovedAt: at, Tenant: head.Tenant})
}

// Append implements audit.Store.
func (s *Store) Append(ctx context.Context, entries []audit.Entry) error {
	return s.write(ctx, func(q *db.Queries) error { return stored.Append(ctx, chains{q}, entries) })
}

// Entries implements audit.Store.
func (s *Store) Entries(ctx context.Context, f audit.Filter) ([]audit.Entry, error) {
	from, to, before := stored.Bounds(&f)
	p := db.EntriesParams{
		Tenant: f.Tenant, Before: before, Actor: f.Actor, Action: f.Action, Resource: f.Resource, Outcome: string(f.Outcome),
		FromAt: from, ToAt: to, Most: int64(f.Limit),
	}
	var rows []db.Audit
	var err error
	switch {
	case f.Resource != "":
		rows, err = s.queries.EntriesOfResource(ctx, db.EntriesOfResourceParams(p))
	case f.Actor != "":
		rows, err = s.queries.EntriesOfActor(ctx, db.EntriesOfActorParams(p))
	case f.Action != "":
		rows, err = s.queries.EntriesOfAction(ctx, db.EntriesOfActionParams(p))
	default:
		rows, err = s.queries.Entries(ctx, p)
	}
	if err != nil {
		return nil, fmt.Errorf("read audit entries: %w", s.files.note(err))
	}
	entries := make([]audit.Entry, 0, len(rows))
	for _, row := range rows {
		entries = append(entries, stored.Entry(row).Entry())
	}
	return entries, nil
}

// Chain implements audit.Store.
func (s *Store) Chain(ctx context.Context, tenant string, visit func(*audit.Entry) error) (head audit.Head, err error) {
	err = s.read(ctx, func(q *db.Queries) error {
		row, err := q.Head(ctx, tenant)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read the chain's head: %w", err)
		}
		head = audit.Head{Tenant: tenant, Seq: row.Seq, Hash: row.Hash}
		after := int64(stored.BeforeFirst)
		for {
			rows, err := q.Chain(ctx, db.ChainParams{Tenant: tenant, After: after, Most: stored.ChainPage})
			if err != nil {
				return fmt.Errorf("read audit entries: %w", err)
			}
			for _, row := range rows {
				entry := stored.Entry(row).Entry()
				if err := visit(&entry); err != nil {
					return err
				}
				after = entry.Seq
			}
			if len(rows) < stored.ChainPage {
				return nil
			}
		}
	})
	return head, err
}

// Heads implements audit.Store.
func (s *Store) Heads(ctx context.Context, since time.Time, most int) ([]audit.Head, error) {
	rows, err := s.queries.MovedHeads(ctx, db.MovedHeadsParams{Since: stored.Millis(since), Most: int64(most)})
	if err != nil {
		return nil, fmt.Errorf("read the heads of chains: %w", s.files.note(err))
	}
	heads := make([]audit.Head, 0, len(rows))
	for _, row := range rows {
		heads = append(heads, audit.Head{Tenant: row.Tenant, Seq: row.Seq, Hash: row.Hash})
	}
	return heads, nil
}

// Trim implements audit.Store.
func (s *Store) Trim(ctx context.Context, tenant string, before time.Time, most int64) (removed int64, err error) {
	err = s.write(ctx, func(q *db.Queries) error {
		head, err := chains{q}.Hold(ctx, tenant)
		if err != nil {
			return fmt.Errorf("hold the chain of entries: %w", err)
		}
		rows, err := q.Trimmable(ctx, db.TrimmableParams{Tenant: tenant, Head: head.Seq, Most: stored.MostTrimmed})
		if err != nil {
			return fmt.Errorf("read audit entries: %w", err)
		}
		oldest := make([]stored.Link, 0, len(rows))
		for _, row := range rows {
			oldest = append(oldest, stored.Link(row))
		}
		last, ok := stored.Trimmed(oldest, head, before, most)
		if !ok {
			return nil
		}
		if removed, err = q.TrimEntries(ctx, db.TrimEntriesParams{Tenant: tenant, UpTo: last.Seq}); err != nil {
			return fmt.Errorf("remove audit entries: %w", err)
		}
		return stored.Append(ctx, chains{q}, []audit.Entry{audit.Trimmed(tenant, last.Seq, last.Hash, time.Now())})
	})
	return removed, err
}
