// Package limit is how much callers may have: token buckets, quotas by the calendar
// and concurrency, by rules of the gateway's file. It decides which rules match a
// call, has all of them decided on at once, and charges what calls took.
//
// The counts are in a Counters that all gateways share, and a quota's in a Ledger as
// well, which survives. It knows no Redis, no database and no protocol.
package limit

import (
	"net/netip"
	"strings"
)

// Rule is one limit. One of Rate, Quota and Concurrency is set.
type Rule struct {
	Name  string // a DNS label
	Match Match
	Per   []By // each combination of these has a count of its own; none is one for all

	Rate  float64 // of a token bucket, in units of the cost a second
	Burst float64 // what it holds when it is full

	Quota  int64 // units of the cost in a Period
	Period Period
	Report bool // over its quota a call is counted and admitted

	Concurrency int // calls at once

	Cost Cost
}

// Match is what a rule is for: names, or beginnings of names with a * behind them; ""
// is everything.
type Match struct{ Tenant, Key, Route, Model, Path string }

// By is what counts are apart by.
type By string

// What counts may be apart by.
const (
	ByTenant  By = "tenant"
	ByKey     By = "key" // with its rotations; of a token its subject
	ByModel   By = "model"
	ByRoute   By = "route"
	ByAddress By = "address" // of IPv6 the /64
)

// Cost is what is counted.
type Cost string

// The costs. What is not Requests is known after the run, and charged then: calls are
// admitted while there is more than none, and what is owed is carried on.
const (
	Requests Cost = "requests"
	Rows     Cost = "rows"
	Elements Cost = "elements"
	Compute  Cost = "compute_ms"
)

// Period is what a quota is for, by the calendar in UTC.
type Period string

// The periods.
const (
	Day   Period = "day"
	Month Period = "month"
)

// Subject is what a call is, to the rules.
type Subject struct {
	Tenant  string
	Key     string      // lineage of the key, or the token's subject
	Route   string      // the pattern of what was called, the same by whichever protocol
	Path    string      // of the URL, decoded; of a model's inference that of REST
	Model   string      // "" where none is called
	Known   func() bool // whether the model is one that there is: names that callers make up share one count
	Address netip.Addr
}

// matches reports whether a rule is for a call.
func (m *Match) matches(s *Subject) bool {
	return fits(m.Tenant, s.Tenant) && fits(m.Key, s.Key) && fits(m.Route, s.Route) && fits(m.Path, s.Path) &&
		(m.Model == "" || s.Model != "" && fits(m.Model, s.Model))
}

func fits(pattern, name string) bool {
	if begin, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(name, begin)
	}
	return pattern == "" || pattern == name
}

// combination is what of a call its count is apart by. Each part has its length before
// it, so that no two calls meet in one that differ in a part.
func (r *Rule) combination(s *Subject) (string, bool) {
	var b strings.Builder
	for _, by := range r.Per {
		var part string
		switch by {
		case ByTenant:
			part = s.Tenant
		case ByKey:
			part = s.Key
		case ByRoute:
			part = s.Route
		case ByModel:
			switch {
			case s.Model == "":
				return "", false
			case s.Known():
				part = s.Model
			}
		case ByAddress:
			part = network(s.Address)
		}
		writePart(&b, part)
	}
	return b.String(), true
}

const hexadecimal = "0123456789abcdef"

func writePart(b *strings.Builder, part string) {
	n := len(part)
	b.WriteByte(hexadecimal[n>>12&15])
	b.WriteByte(hexadecimal[n>>8&15])
	b.WriteByte(hexadecimal[n>>4&15])
	b.WriteByte(hexadecimal[n&15])
	b.WriteString(part)
}

// network is what one user of addresses has at least.
func network(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
