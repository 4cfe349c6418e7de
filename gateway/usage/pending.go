package usage

import (
	"slices"
)

// mostKept bounds what is not stored yet, in sums, and as many quotas: more sums than
// that are those of tenants without their models, and, where there are more than a tenth
// again, of all tenants in one.
const mostKept = 100_000

// pending are the sums since they were last taken.
type pending struct {
	sums   map[Key]*Counts
	quotas map[QuotaKey]int64
}

func newPending() pending { return pending{map[Key]*Counts{}, map[QuotaKey]int64{}} }

func (p *pending) len() int { return len(p.sums) + len(p.quotas) }

// add counts calls.
func (p *pending) add(key Key, c Counts) {
	sums := p.sums[key]
	if sums == nil && len(p.sums) >= mostKept {
		key.Model = ""
		if sums = p.sums[key]; sums == nil && len(p.sums) >= mostKept+mostKept/10 {
			key.Tenant = Others
			sums = p.sums[key]
		}
	}
	if sums == nil {
		sums = &Counts{}
		p.sums[key] = sums
	}
	sums.Add(c)
}

// addQuota counts n of a quota, and is false where there is no room for it.
func (p *pending) addQuota(key QuotaKey, n int64) bool {
	counted, ok := p.quotas[key]
	if !ok && len(p.quotas) >= mostKept {
		return false
	}
	if n > 0 {
		p.quotas[key] = sum(counted, n)
	}
	return true
}

// take takes all that there is, in flushes that have no number yet.
func (p *pending) take() []*Flush {
	rows, quotas := make([]Row, 0, len(p.sums)), make([]Quota, 0, len(p.quotas))
	for key, sums := range p.sums {
		rows = append(rows, Row{key, *sums})
	}
	for key, n := range p.quotas {
		quotas = append(quotas, Quota{key, n})
	}
	*p = newPending()
	slices.SortFunc(quotas, func(a, b Quota) int { return a.Compare(b.QuotaKey) })
	slices.SortFunc(rows, func(a, b Row) int { return a.Compare(b.Key) })
	var flushes []*Flush
	for len(rows)+len(quotas) > 0 {
		r, q := min(len(rows), mostAtOnce), min(len(quotas), mostAtOnce)
		flushes = append(flushes, &Flush{Sums: rows[:r:r], Quotas: quotas[:q:q]})
		rows, quotas = rows[r:], quotas[q:]
	}
	return flushes
}
