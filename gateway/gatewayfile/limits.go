package gatewayfile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/gateway/limit"
)

// limitForm is a limit as the file has it.
type limitForm struct {
	Name  string `json:"name"`
	Match struct {
		Tenant string `json:"tenant"`
		Key    string `json:"key"`
		Route  string `json:"route"`
		Model  string `json:"model"`
		Path   string `json:"path"`
	} `json:"match"`
	Per         []limit.By `json:"per"`
	Rate        string     `json:"rate"`
	Burst       int64      `json:"burst"`
	Quota       string     `json:"quota"`
	Concurrency int        `json:"concurrency"`
	Cost        limit.Cost `json:"cost"`
	AtQuota     string     `json:"at_quota"`
}

// Bounds of limits.
const (
	mostRate  = 1_000_000_000       // in the unit that it is written in
	mostQuota = 999_999_999_999_999 // what an integer of a header may be (RFC 9651, 3.3.1)
)

// rule is a limit as it is decided on; report reports what is wrong with a field of it.
func (f *limitForm) rule(report func(field, detail string)) limit.Rule {
	r := limit.Rule{Name: f.Name, Match: limit.Match(f.Match), Per: f.Per, Concurrency: f.Concurrency, Cost: f.Cost}
	if r.Cost == "" {
		r.Cost = limit.Requests
	}
	f.match(report)
	kinds := 0
	if f.Rate != "" {
		kinds++
		f.bucket(&r, report)
	} else if f.Burst != 0 {
		report("burst", "expected none without a rate")
	}
	if f.Quota != "" {
		kinds++
		f.quota(&r, report)
	} else if f.AtQuota != "" {
		report("at_quota", "expected none without a quota")
	}
	if f.Concurrency != 0 {
		kinds++
		if r.Cost != limit.Requests {
			report("cost", "expected requests, or nothing: concurrency counts calls")
		}
	}
	if kinds != 1 {
		report("", "expected one of rate, quota and concurrency")
	}
	return r
}

// number reads the number before a slash.
func number(text string, most int64) (n int64, unit string, ok bool) {
	digits, unit, _ := strings.Cut(text, "/")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, unit, err == nil && n >= 1 && n <= most
}

func (f *limitForm) bucket(r *limit.Rule, report func(field, detail string)) {
	n, unit, ok := number(f.Rate, mostRate)
	seconds, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	if !ok || !known {
		report("rate", fmt.Sprintf("expected 1 to %d a second, minute or hour, as 100/s", mostRate))
		return
	}
	r.Rate, r.Burst = float64(n)/seconds, float64(n)
	if f.Burst != 0 {
		r.Burst = float64(f.Burst)
	}
}

func (f *limitForm) quota(r *limit.Rule, report func(field, detail string)) {
	n, unit, ok := number(f.Quota, mostQuota)
	if !ok || unit != string(limit.Day) && unit != string(limit.Month) {
		report("quota", fmt.Sprintf("expected 1 to %d a day or month, as 1000000/month", mostQuota))
		return
	}
	r.Quota, r.Period, r.Report = n, limit.Period(unit), f.AtQuota == "report"
	if slices.Contains(f.Per, limit.ByAddress) {
		report("per", "expected no address: a quota is kept for each, and callers may have any number")
	}
}

// limits are the file's limits.
func (f *form) limits(report func(path, detail string)) []limit.Rule {
	var rules []limit.Rule
	names := map[string]bool{}
	for i := range f.Limits {
		at := fmt.Sprintf("limits[%d]", i)
		rules = append(rules, f.Limits[i].rule(func(field, detail string) {
			path := at
			if field != "" {
				path += "." + field
			}
			report(path, detail)
		}))
		if name := f.Limits[i].Name; names[name] && name != "" {
			report(at+".name", "expected a name that no other limit has")
		} else {
			names[name] = true
		}
	}
	return rules
}
