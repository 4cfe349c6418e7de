package stored

import (
	"maps"
	"math"
	"slices"

	"github.com/modelserveai/modelserve/gateway/usage"
)

// Usage is a row of usage, or a sum of some.
type Usage struct {
	Tenant    string
	Day       int64
	Model     string
	Requests  int64
	Errors    int64
	Rows      int64
	ComputeUs int64
	BytesIn   int64
	BytesOut  int64
}

// Row is what a row is of.
func (u Usage) Row() usage.Row {
	return usage.Row{
		Key: usage.Key{Tenant: u.Tenant, Model: u.Model, Day: usage.Day(u.Day)},
		Counts: usage.Counts{
			Requests: u.Requests, Errors: u.Errors, Rows: u.Rows, Compute: u.ComputeUs, BytesIn: u.BytesIn, BytesOut: u.BytesOut,
		},
	}
}

// Sums are the rows of a flush, each once and all in one order, so that no two flushes
// wait for each other.
func Sums(f *usage.Flush) []Usage {
	sums := map[usage.Key]usage.Counts{}
	for _, row := range f.Sums {
		c := sums[row.Key]
		c.Add(row.Counts)
		sums[row.Key] = c
	}
	rows := make([]Usage, 0, len(sums))
	for _, key := range slices.SortedFunc(maps.Keys(sums), usage.Key.Compare) {
		c := sums[key]
		rows = append(rows, Usage{
			key.Tenant, int64(key.Day), key.Model, c.Requests, c.Errors, c.Rows, c.Compute, c.BytesIn, c.BytesOut,
		})
	}
	return rows
}

// Quotas are the quotas of a flush, likewise.
func Quotas(f *usage.Flush) []usage.Quota {
	sums := map[usage.QuotaKey]usage.Counts{}
	for _, q := range f.Quotas {
		c := sums[q.QuotaKey]
		c.Add(usage.Counts{Rows: q.Count})
		sums[q.QuotaKey] = c
	}
	quotas := make([]usage.Quota, 0, len(sums))
	for _, key := range slices.SortedFunc(maps.Keys(sums), usage.QuotaKey.Compare) {
		quotas = append(quotas, usage.Quota{QuotaKey: key, Count: sums[key].Rows})
	}
	return quotas
}

// Span is a query's days, from one and before another, and the key behind which its page
// begins.
func Span(q *usage.Query) (from, to int64, after usage.Key) {
	from, to = int64(q.From), int64(q.To)
	if q.After == nil {
		return from, to, usage.Key{Day: math.MaxInt64}
	}
	if q.By.Day {
		to = min(to, int64(q.After.Day)+1) // which an index finds
	}
	return from, to, *q.After
}
