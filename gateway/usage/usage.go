// Package usage counts what tenants use: requests, errors, rows, compute and bytes of
// each tenant, model and day, and how much of each quota.
//
// A Recorder sums in memory what calls came to, and has a Store add the sums each
// second, once each. It knows no database, decides nothing and refuses nobody.
package usage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Others is the tenant of what could not be counted by tenant. No tenant has this name.
const Others = "_other"

// Row is what calls came to.
type Row struct {
	Key
	Counts
}

// Key is whose calls they were, of which model and when.
type Key struct {
	Tenant string
	Model  string // or the function, of one that has none or several; "" where a call came to none
	Day    Day
}

// Compare orders keys as lists have them: the newest day first, then by name.
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(other.Day, k.Day), strings.Compare(k.Tenant, other.Tenant), strings.Compare(k.Model, other.Model))
}

// Counts are sums, none of them negative.
type Counts struct {
	Requests int64 // that were answered, or broke off
	Errors   int64 // those of them that failed
	Rows     int64 // of the batch axis
	Compute  int64 // µs
	BytesIn  int64 // of bodies and messages, as they came
	BytesOut int64
}

// Add sums. What is more than can be counted is the most that can, and what is negative
// is nothing: no count becomes a credit.
func (c *Counts) Add(other Counts) {
	into, from := c.all(), other.all()
	for i := range into {
		*into[i] = sum(*into[i], *from[i])
	}
}

func (c *Counts) all() [6]*int64 {
	return [6]*int64{&c.Requests, &c.Errors, &c.Rows, &c.Compute, &c.BytesIn, &c.BytesOut}
}

func sum(a, b int64) int64 {
	a, b = max(a, 0), max(b, 0)
	return min(a, math.MaxInt64-b) + b
}

// Day is a day in UTC, in days since 1970-01-01.
type Day int64

const secondsADay = 24 * 60 * 60

// DayOf is the day of a time.
func DayOf(t time.Time) Day {
	seconds := t.Unix()
	day := seconds / secondsADay
	if seconds%secondsADay < 0 {
		day--
	}
	return Day(day)
}

// Start is when the day begins.
func (d Day) Start() time.Time { return time.Unix(int64(d)*secondsADay, 0).UTC() }

// String is the day as 2006-01-02.
func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// Quota is how much of a quota is used, or was since the last flush.
type Quota struct {
	QuotaKey

	Count int64
}

// QuotaKey is a limit's quota for one combination of what the limit is per, in a period.
type QuotaKey struct {
	Limit, Combination, Period string
}

// Compare orders keys by their texts.
func (k QuotaKey) Compare(other QuotaKey) int {
	return cmp.Or(strings.Compare(k.Limit, other.Limit), strings.Compare(k.Combination, other.Combination), strings.Compare(k.Period, other.Period))
}

// maxText bounds each text that is stored, in bytes.
const maxText = 256

// Plain is a text as every database takes it: the text itself where it is valid UTF-8
// of at most 256 bytes without zeros, else its hash.
func Plain(text string) string {
	if len(text) <= maxText && utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return text
	}
	hash := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(hash[:])
}

// Store is where usage and the counters of quotas are. Package storetest holds what
// each one does.
type Store interface {
	// AddUsage adds what one replica counted, all of it or nothing, and returns how
	// much is used, by all replicas, of each of its quotas. A flush whose sequence is
	// not above the last that was added of its replica changes nothing, and returns
	// the same. Texts that are not Plain may be refused.
	AddUsage(ctx context.Context, f *Flush) ([]Quota, error)

	// Usage returns a page, in the order of Key.Compare.
	Usage(ctx context.Context, q *Query) ([]Row, error)

	// Quotas returns how much is used of quotas, in any order; those of which nothing
	// was counted are left out.
	Quotas(ctx context.Context, keys []QuotaKey) ([]Quota, error)

	// TrimUsage removes some of what is old, TrimPage of each kind at most, and
	// returns how much that was; 0 is that nothing is left to remove.
	TrimUsage(ctx context.Context, old Old) (int64, error)
}

// TrimPage is how much of each kind is removed at once.
const TrimPage = 1000

// Flush is what one replica counted since the flush before.
type Flush struct {
	Replica  string
	Sequence int64 // 1, 2, …
	At       time.Time
	Sums     []Row
	Quotas   []Quota
}

// Old is what is old: what is before.
type Old struct {
	Usage  Day
	Quotas Day       // on which they were last added to
	Flush  time.Time // a replica's last
}

// Query is which usage is meant, and by what it is summed.
type Query struct {
	Tenant   string // "" is all
	From, To Day    // days from From on, before To

	By    By
	After *Key // of the last row of the page before; nil is from the first
	Limit int
}

// By is what rows are of. What they are not of is zero in their keys.
type By struct{ Tenant, Model, Day bool }

// Of is the key of the row that a key's counts are summed in.
func (by By) Of(k Key) Key {
	if !by.Tenant {
		k.Tenant = ""
	}
	if !by.Model {
		k.Model = ""
	}
	if !by.Day {
		k.Day = 0
	}
	return k
}
