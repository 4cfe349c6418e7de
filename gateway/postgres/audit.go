package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/internal/stored"
	"github.com/modelserveai/modelserve/gateway/postgres/db"
	"github.com/modelserveai/modelserve/internal/postgresql"
)

// chains implements stored.Chains.
type chains struct{ q *db.Queries }

// Begun implements stored.Chains.
func (c chains) Begun(ctx context.Context, tenant string) (bool, error) {
	n, err := c.q.ChainExists(ctx, tenant)
	return n > 0, err
}

// Hold implements stored.Chains.
func (c chains) Hold(ctx context.Context, tenant string) (head audit.Head, last int64, err error) {
	if err := c.q.AddHead(ctx, tenant); err != nil {
		return audit.Head{}, 0, err
	}
	row, err := c.q.HoldHead(ctx, tenant)
	return audit.Head{Tenant: row.Tenant, Seq: row.Seq, Hash: row.Hash}, row.Newest, err
}

// Add implements stored.Chains.
func (c chains) Add(ctx context.Context, entries []stored.Entry) error {
	rows := make([]db.AddEntryParams, 0, len(entries))
	for _, e := range entries {
		rows = append(rows, db.AddEntryParams(e))
	}
	return all(c.q.AddEntry(ctx, rows))
}

// Move implements stored.Chains.
func (c chains) Move(ctx context.Context, head audit.Head, at int64) error {
	return c.q.MoveHead(ctx, db.MoveHeadParams{Seq: head.Seq, Hash: head.Hash, MovedAt: at, Tenant: head.Tenant})
}

// Before implements stored.Oldest.
func (c chains) Before(ctx context.Context, head audit.Head) ([]audit.Entry, error) {
	rows, err := c.q.Trimmable(ctx, db.TrimmableParams{Tenant: head.Tenant, Head: head.Seq, Most: audit.CutPage})
	return entries(rows), err
}

// Opened implements stored.Oldest.
func (c chains) Opened(ctx context.Context) (int64, error) { return c.q.CountOpened(ctx) }

// Remove implements stored.Oldest.
func (c chains) Remove(ctx context.Context, tenant string, upTo int64) (int64, error) {
	return c.q.TrimEntries(ctx, db.TrimEntriesParams{Tenant: tenant, UpTo: upTo})
}

func entries(rows []db.Audit) []audit.Entry {
	entries := make([]audit.Entry, 0, len(rows))
	for _, row := range rows {
		entries = append(entries, stored.Entry(row).Entry())
	}
	return entries
}

// Append implements audit.Store.
func (s *Store) Append(ctx context.Context, entries []audit.Entry) error {
	return s.write(ctx, func(q *db.Queries) error { return stored.Append(ctx, chains{q}, entries) })
}

// Entries implements audit.Store.
func (s *Store) Entries(ctx context.Context, f audit.Filter) ([]audit.Entry, error) {
	if !postgresql.Storable(f.Tenant, f.Actor, f.Action, f.Resource, string(f.Outcome)) {
		return nil, nil
	}
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
		return nil, notRead(ctx, "read audit entries", err)
	}
	return entries(rows), nil
}

// Chain implements audit.Store.
func (s *Store) Chain(ctx context.Context, tenant string, from int64) (page []audit.Entry, head audit.Head, err error) {
	err = s.read(ctx, s.pool, func(q *db.Queries) error {
		row, err := q.Head(ctx, tenant)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return notRead(ctx, "read the chain's head", err)
		}
		head = audit.Head{Tenant: tenant, Seq: row.Seq, Hash: row.Hash}
		rows, err := q.Chain(ctx, db.ChainParams{Tenant: tenant, First: from, Most: audit.ChainPage})
		if err != nil {
			return notRead(ctx, "read audit entries", err)
		}
		page = entries(rows)
		return nil
	})
	return page, head, err
}

// Heads implements audit.Store.
func (s *Store) Heads(ctx context.Context, since time.Time, most int) ([]audit.Head, error) {
	rows, err := s.queries.MovedHeads(ctx, db.MovedHeadsParams{Since: stored.Millis(since), Most: int64(most)})
	if err != nil {
		return nil, notRead(ctx, "read the heads of chains", err)
	}
	heads := make([]audit.Head, 0, len(rows))
	for _, row := range rows {
		heads = append(heads, audit.Head{Tenant: row.Tenant, Seq: row.Seq, Hash: row.Hash})
	}
	if !since.IsZero() || len(heads) >= most {
		return heads, nil
	}
	headless, err := s.queries.HeadlessChains(ctx, int64(most-len(heads)))
	if err != nil {
		return nil, notRead(ctx, "read the chains without heads", err)
	}
	for _, tenant := range headless {
		heads = append(heads, audit.Head{Tenant: tenant})
	}
	return heads, nil
}

// Trim implements audit.Store.
func (s *Store) Trim(ctx context.Context, tenant string, before time.Time, most int64) (removed int64, err error) {
	err = s.write(ctx, func(q *db.Queries) error {
		removed, err = stored.Trim(ctx, chains{q}, chains{q}, tenant, before, most)
		return err
	})
	return removed, err
}
