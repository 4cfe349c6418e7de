// Package usagetest is a database of usage and quotas in memory, for tests.
package usagetest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/usage"
)

// Store is a usage.Store. The zero Store is empty.
type Store struct {
	mu       sync.Mutex
	sums     map[usage.Key]usage.Counts
	quotas   map[usage.QuotaKey]counted
	replicas map[string]replica
	err      error
	lose     bool
}

type counted struct {
	n   int64
	day usage.Day
}

type replica struct {
	sequence int64
	at       time.Time
}

// Fail makes every call return err until it is nil again.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// LoseAnswers makes flushes be added, and return an error, until it is false again.
func (s *Store) LoseAnswers(lose bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = lose
}

func (s *Store) begin(ctx context.Context) error {
	if s.sums == nil {
		s.sums, s.quotas, s.replicas = map[usage.Key]usage.Counts{}, map[usage.QuotaKey]counted{}, map[string]replica{}
	}
	return cmp.Or(ctx.Err(), s.err)
}

// AddUsage implements usage.Store.
func (s *Store) AddUsage(ctx context.Context, f *usage.Flush) ([]usage.Quota, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if f.Sequence > s.replicas[f.Replica].sequence {
		s.replicas[f.Replica] = replica{f.Sequence, f.At}
		for _, row := range f.Sums {
			sums := s.sums[row.Key]
			sums.Add(row.Counts)
			s.sums[row.Key] = sums
		}
		for _, q := range f.Quotas {
			sums := usage.Counts{Rows: s.quotas[q.QuotaKey].n}
			sums.Add(usage.Counts{Rows: q.Count})
			s.quotas[q.QuotaKey] = counted{sums.Rows, usage.DayOf(f.At)}
		}
	}
	if s.lose {
		return nil, context.DeadlineExceeded
	}
	keys := make([]usage.QuotaKey, 0, len(f.Quotas))
	for _, q := range f.Quotas {
		keys = append(keys, q.QuotaKey)
	}
	return s.totals(keys), nil
}

func (s *Store) totals(keys []usage.QuotaKey) (totals []usage.Quota) {
	for _, key := range keys {
		if is, ok := s.quotas[key]; ok {
			totals = append(totals, usage.Quota{QuotaKey: key, Count: is.n})
		}
	}
	return totals
}

// Quotas implements usage.Store.
func (s *Store) Quotas(ctx context.Context, keys []usage.QuotaKey) ([]usage.Quota, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	return s.totals(keys), nil
}

// Usage implements usage.Store.
func (s *Store) Usage(ctx context.Context, q *usage.Query) ([]usage.Row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	sums := map[usage.Key]*usage.Counts{}
	for key, counts := range s.sums {
		if q.Tenant != "" && key.Tenant != q.Tenant || key.Day < q.From || key.Day >= q.To {
			continue
		}
		of := q.By.Of(key)
		if sums[of] == nil {
			sums[of] = &usage.Counts{}
		}
		sums[of].Add(counts)
	}
	var rows []usage.Row
	for key, counts := range sums {
		if q.After == nil || key.Compare(*q.After) > 0 {
			rows = append(rows, usage.Row{Key: key, Counts: *counts})
		}
	}
	slices.SortFunc(rows, func(a, b usage.Row) int { return a.Compare(b.Key) })
	return rows[:min(q.Limit, len(rows))], nil
}

// TrimUsage implements usage.Store.
func (s *Store) TrimUsage(ctx context.Context, old usage.Old) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	return trim(s.sums, func(k usage.Key, _ usage.Counts) bool { return k.Day < old.Usage }) +
		trim(s.quotas, func(_ usage.QuotaKey, c counted) bool { return c.day < old.Quotas }) +
		trim(s.replicas, func(_ string, r replica) bool { return r.at.Before(old.Flush) }), nil
}

func trim[K comparable, V any](from map[K]V, isOld func(K, V) bool) (removed int64) {
	for k, v := range from {
		if removed < usage.TrimPage && isOld(k, v) {
			delete(from, k)
			removed++
		}
	}
	return removed
}
