package postgres

import (
	"context"
	"fmt"

	"github.com/modelserveai/modelserve/gateway/internal/stored"
	"github.com/modelserveai/modelserve/gateway/postgres/db"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/internal/postgresql"
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
	n, err := q.Flushed(ctx, db.FlushedParams{Replica: f.Replica, Sequence: f.Sequence, At: f.At.UnixMilli()})
	if err != nil {
		return nil, fmt.Errorf("note a flush of usage: %w", err)
	}
	quotas := db.AddQuotasParams{Day: int64(usage.DayOf(f.At))}
	for _, quota := range stored.Quotas(f) {
		quotas.Limits, quotas.Combinations = append(quotas.Limits, quota.Limit), append(quotas.Combinations, quota.Combination)
		quotas.Periods, quotas.Counts = append(quotas.Periods, quota.Period), append(quotas.Counts, quota.Count)
	}
	if n == 0 { // it was added before
		found, err := q.Quotas(ctx, db.QuotasParams{Limits: quotas.Limits, Combinations: quotas.Combinations, Periods: quotas.Periods})
		if err != nil {
			return nil, fmt.Errorf("read quotas: %w", err)
		}
		return quotasOf(found), nil
	}
	if len(f.Sums) > 0 {
		if err := q.AddUsage(ctx, columns(stored.Sums(f))); err != nil {
			return nil, fmt.Errorf("add usage: %w", err)
		}
	}
	if len(f.Quotas) == 0 {
		return nil, nil
	}
	totals, err := q.AddQuotas(ctx, quotas)
	if err != nil {
		return nil, fmt.Errorf("add to quotas: %w", err)
	}
	return quotasOf(totals), nil
}

// columns are rows, column by column.
func columns(rows []stored.Usage) (p db.AddUsageParams) {
	for _, row := range rows {
		p.Tenants, p.Days, p.Models = append(p.Tenants, row.Tenant), append(p.Days, row.Day), append(p.Models, row.Model)
		p.Requests, p.Errors = append(p.Requests, row.Requests), append(p.Errors, row.Errors)
		p.Rows, p.ComputeUs = append(p.Rows, row.Rows), append(p.ComputeUs, row.ComputeUs)
		p.BytesIn, p.BytesOut = append(p.BytesIn, row.BytesIn), append(p.BytesOut, row.BytesOut)
	}
	return p
}

func quotasOf(rows []db.Quota) []usage.Quota {
	quotas := make([]usage.Quota, 0, len(rows))
	for _, row := range rows {
		key := usage.QuotaKey{Limit: row.LimitName, Combination: row.Combination, Period: row.Period}
		quotas = append(quotas, usage.Quota{QuotaKey: key, Count: row.Count})
	}
	return quotas
}

// Quotas implements usage.Store.
func (s *Store) Quotas(ctx context.Context, keys []usage.QuotaKey) ([]usage.Quota, error) {
	var p db.QuotasParams
	for _, key := range keys {
		if postgresql.Storable(key.Limit, key.Combination, key.Period) {
			p.Limits, p.Combinations, p.Periods = append(p.Limits, key.Limit), append(p.Combinations, key.Combination), append(p.Periods, key.Period)
		}
	}
	found, err := s.queries.Quotas(ctx, p)
	if err != nil {
		return nil, s.failed(notRead(ctx, "read quotas", err))
	}
	return quotasOf(found), nil
}

// Usage implements usage.Store.
func (s *Store) Usage(ctx context.Context, q *usage.Query) (rows []usage.Row, err error) {
	from, to, after := stored.Span(q)
	if !postgresql.Storable(q.Tenant, after.Tenant, after.Model) {
		return nil, nil
	}
	if q.By == (usage.By{Tenant: true, Model: true, Day: true}) {
		found, err := s.queries.UsageRows(ctx, db.UsageRowsParams{
			Tenant: q.Tenant, FromDay: from, ToDay: to,
			AfterDay: int64(after.Day), AfterTenant: after.Tenant, AfterModel: after.Model, Most: int64(q.Limit),
		})
		if err != nil {
			return nil, notRead(ctx, "read usage", err)
		}
		for _, row := range found {
			rows = append(rows, stored.Usage(row).Row())
		}
		return rows, nil
	}
	found, err := s.queries.UsageSums(ctx, db.UsageSumsParams{
		ByTenant: q.By.Tenant, ByModel: q.By.Model, ByDay: q.By.Day, Tenant: q.Tenant, FromDay: from, ToDay: to,
		AfterDay: int64(after.Day), AfterTenant: after.Tenant, AfterModel: after.Model, Most: int64(q.Limit),
	})
	if err != nil {
		return nil, notRead(ctx, "read usage", err)
	}
	for _, row := range found {
		rows = append(rows, stored.Usage(row).Row())
	}
	return rows, nil
}

// TrimUsage implements usage.Store. What is removed is so in one transaction for each
// kind, and waits for none that adds.
func (s *Store) TrimUsage(ctx context.Context, old usage.Old) (int64, error) {
	sums, err := s.queries.TrimUsage(ctx, db.TrimUsageParams{Before: int64(old.Usage), Most: usage.TrimPage})
	if err != nil {
		return 0, s.failed(fmt.Errorf("remove old usage: %w", err))
	}
	quotas, err := s.queries.TrimQuotas(ctx, db.TrimQuotasParams{Before: int64(old.Quotas), Most: usage.TrimPage})
	if err != nil {
		return sums, s.failed(fmt.Errorf("remove old quotas: %w", err))
	}
	flushes, err := s.queries.TrimFlushes(ctx, db.TrimFlushesParams{Before: old.Flush.UnixMilli(), Most: usage.TrimPage})
	if err != nil {
		return sums + quotas, s.failed(fmt.Errorf("remove old flushes: %w", err))
	}
	return sums + quotas + flushes, nil
}
