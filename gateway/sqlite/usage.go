package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/modelserveai/modelserve/gateway/internal/stored"
	"github.com/modelserveai/modelserve/gateway/sqlite/db"
	"github.com/modelserveai/modelserve/gateway/usage"
)

// AddUsage implements usage.Store.
func (s *Store) AddUsage(ctx context.Context, f *usage.Flush) (totals []usage.Quota, err error) {
	err = s.write(ctx, func(q *db.Queries) error {
		totals, err = addUsage(ctx, q, f)
		return err
	})
	return totals, err
}

func addUsage(ctx context.Context, q *db.Queries, f *usage.Flush) ([]usage.Quota, error) {
	quotas := stored.Quotas(f)
	n, err := q.Flushed(ctx, db.FlushedParams{Replica: f.Replica, Sequence: f.Sequence, At: f.At.UnixMilli()})
	if err != nil {
		return nil, fmt.Errorf("note a flush of usage: %w", err)
	}
	if n == 0 { // it was added before
		keys := make([]usage.QuotaKey, 0, len(quotas))
		for _, quota := range quotas {
			keys = append(keys, quota.QuotaKey)
		}
		return quotasOf(ctx, q, keys)
	}
	for _, row := range stored.Sums(f) {
		if err := q.AddUsage(ctx, db.AddUsageParams(row)); err != nil {
			return nil, fmt.Errorf("add usage: %w", err)
		}
	}
	for i, quota := range quotas {
		quotas[i].Count, err = q.AddQuota(ctx, db.AddQuotaParams{
			LimitName: quota.Limit, Combination: quota.Combination, Period: quota.Period, Count: quota.Count, Day: int64(usage.DayOf(f.At)),
		})
		if err != nil {
			return nil, fmt.Errorf("add to quotas: %w", err)
		}
	}
	return quotas, nil
}

// Quotas implements usage.Store.
func (s *Store) Quotas(ctx context.Context, keys []usage.QuotaKey) (quotas []usage.Quota, err error) {
	err = s.read(ctx, s.poll, func(ctx context.Context, q *db.Queries) error {
		quotas, err = quotasOf(ctx, q, keys)
		return err
	})
	return quotas, err
}

func quotasOf(ctx context.Context, q *db.Queries, keys []usage.QuotaKey) (quotas []usage.Quota, err error) {
	for _, key := range keys {
		count, err := q.Quota(ctx, db.QuotaParams{LimitName: key.Limit, Combination: key.Combination, Period: key.Period})
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return nil, fmt.Errorf("read quotas: %w", err)
		default:
			quotas = append(quotas, usage.Quota{QuotaKey: key, Count: count})
		}
	}
	return quotas, nil
}

// Usage implements usage.Store.
func (s *Store) Usage(ctx context.Context, q *usage.Query) (rows []usage.Row, err error) {
	err = s.get(ctx, s.reader, func(ctx context.Context, queries *db.Queries) error {
		rows, err = usageOf(ctx, queries, q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	return rows, nil
}

func usageOf(ctx context.Context, queries *db.Queries, q *usage.Query) (rows []usage.Row, err error) {
	from, to, after := stored.Span(q)
	if q.By == (usage.By{Tenant: true, Model: true, Day: true}) {
		found, err := queries.UsageRows(ctx, db.UsageRowsParams{
			Tenant: q.Tenant, FromDay: from, ToDay: to,
			AfterDay: int64(after.Day), AfterTenant: after.Tenant, AfterModel: after.Model, Most: int64(q.Limit),
		})
		for _, row := range found {
			rows = append(rows, stored.Usage(row).Row())
		}
		return rows, err
	}
	found, err := queries.UsageSums(ctx, db.UsageSumsParams{
		ByTenant: number(q.By.Tenant), ByModel: number(q.By.Model), ByDay: number(q.By.Day), Tenant: q.Tenant, FromDay: from, ToDay: to,
		AfterDay: int64(after.Day), AfterTenant: after.Tenant, AfterModel: after.Model, Most: int64(q.Limit),
	})
	for _, row := range found {
		rows = append(rows, stored.Usage(row).Row())
	}
	return rows, err
}

// number is a truth as SQLite has it.
func number(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// TrimUsage implements usage.Store.
func (s *Store) TrimUsage(ctx context.Context, old usage.Old) (removed int64, err error) {
	err = s.write(ctx, func(q *db.Queries) error {
		sums, err := q.TrimUsage(ctx, db.TrimUsageParams{Before: int64(old.Usage), Most: usage.TrimPage})
		if err != nil {
			return fmt.Errorf("remove old usage: %w", err)
		}
		quotas, err := q.TrimQuotas(ctx, db.TrimQuotasParams{Before: int64(old.Quotas), Most: usage.TrimPage})
		if err != nil {
			return fmt.Errorf("remove old quotas: %w", err)
		}
		flushes, err := q.TrimFlushes(ctx, db.TrimFlushesParams{Before: old.Flush.UnixMilli(), Most: usage.TrimPage})
		if err != nil {
			return fmt.Errorf("remove old flushes: %w", err)
		}
		removed = sums + quotas + flushes
		return nil
	})
	return removed, err
}
