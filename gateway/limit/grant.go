package limit

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// The headers of draft-ietf-httpapi-ratelimit-headers-10.
const (
	header       = "Ratelimit"
	policyHeader = "Ratelimit-Policy"
)

// Grant is what a call has of the limits that are for it, until Done. A nil one is of
// a call that no limit is for.
type Grant struct {
	of      *Limiter
	uses    []use
	answers []Answer // one for each use; nil while the counts cannot be reached
	seeds   []seed   // one for each use, where one was missing
	place   string   // of concurrency; "" where none is held
	once    sync.Once
	open    bool // the call was admitted
}

// seed is a quota's count that was missing, as the ledger has it.
type seed struct {
	Total

	unread    bool // it could not be read: what is decided, is without it
	uncounted bool // nor is it counted: there is no room for it
}

// Header is what the call's answer has of its limits.
func (g *Grant) Header() http.Header {
	if g == nil {
		return nil
	}
	var left, policy strings.Builder
	for i := range g.uses {
		u := g.uses[i]
		if i > 0 {
			policy.WriteString(", ")
		}
		policy.WriteString(u.policy)
		if g.answers == nil || g.answers[i].Missing {
			continue
		}
		a := &g.answers[i]
		if left.Len() > 0 {
			left.WriteString(", ")
		}
		left.WriteString(strconv.Quote(u.Name))
		left.WriteString(";r=")
		left.WriteString(whole(math.Floor(a.Left)))
		if u.kind != Places {
			left.WriteString(";t=")
			left.WriteString(seconds(a.Reset.Seconds()))
		}
	}
	h := http.Header{policyHeader: {policy.String()}}
	if left.Len() > 0 {
		h[header] = []string{left.String()}
	}
	return h
}

// lease admits a call by leases alone, where each of its limits has one.
func (g *Grant) lease(now time.Time) bool {
	for i, u := range g.uses {
		if u.kind == Bucket && u.Cost == Requests && u.take(now) {
			continue
		}
		for _, taken := range g.uses[:i] {
			taken.putBack()
		}
		return false
	}
	g.answers = make([]Answer, len(g.uses))
	for i, u := range g.uses {
		g.answers[i] = u.shown(u.rule, now)
	}
	g.admit(now)
	return true
}

// remembered refuses a call that cannot be admitted yet, as was found out before.
func (g *Grant) remembered(now time.Time) error {
	var last []Answer
	for i, u := range g.uses {
		u.mu.Lock()
		if now.Before(u.refused) {
			if last == nil {
				last = make([]Answer, len(g.uses))
				for j := range last {
					last[j].Admits, last[j].Left = true, g.uses[j].most()
				}
			}
			last[i] = u.last
			last[i].Admits, last[i].Retry = false, u.last.Retry-now.Sub(u.at)
		}
		u.mu.Unlock()
	}
	if last == nil {
		return nil
	}
	for j, u := range g.uses {
		if last[j].Admits {
			u.mu.Lock()
			if u.knows {
				last[j].Left, last[j].Reset = u.last.Left, u.last.Reset
			}
			u.mu.Unlock()
		}
	}
	g.answers = last
	return g.refusal(g.of.metrics)
}

// most is what a count has where nothing was used.
func (r *rule) most() float64 {
	switch r.kind {
	case Bucket:
		return r.Burst
	case Quota:
		return float64(r.Quota)
	default:
		return float64(r.Concurrency)
	}
}

// asks are what the counts are asked, with a place for the call.
func (g *Grant) asks(place string) []Ask {
	now := time.Now()
	asks := make([]Ask, len(g.uses))
	for i, u := range g.uses {
		a := &asks[i]
		a.Kind, a.Key = u.kind, u.key
		if u.Cost == Requests {
			a.Take = 1
		}
		switch u.kind {
		case Bucket:
			a.Rate, a.Burst = u.Rate, u.Burst
			if u.Cost == Requests {
				a.Want, a.Lease, a.Back = u.want(u.rule, now)
			}
			a.Owed, a.Known = g.of.sender.owed(u.key), u.has()
		case Quota:
			a.Quota, a.Report, a.Period = u.Quota, u.Report, u.Period
			if g.seeds != nil && g.seeds[i].Period != "" {
				a.Seed = &g.seeds[i].Total
			}
		case Places:
			a.Limit, a.Place, a.Lifetime = u.Concurrency, place, lifetime
			u.mu.Lock()
			a.Ended, a.Held = append([]string(nil), u.ended...), u.held
			u.mu.Unlock()
		}
	}
	return asks
}

// read are the asks that can be decided on: quotas' counts that could not be read are
// left out.
func (g *Grant) read(asks []Ask) []Ask {
	if g.seeds == nil {
		return asks
	}
	some := make([]Ask, 0, len(asks))
	for i := range asks {
		if !g.seeds[i].unread {
			some = append(some, asks[i])
		}
	}
	return some
}

// fill answers for what read left out: it admits.
func (g *Grant) fill(d *Decision) {
	for i := range g.seeds {
		if s := &g.seeds[i]; s.unread {
			d.Answers = slices.Insert(d.Answers, i, Answer{Admits: true, Missing: true, Period: s.Period})
		}
	}
}

// isRefused reports whether a limit refuses, whatever those say whose count is missing.
func (g *Grant) isRefused() bool {
	return slices.ContainsFunc(g.answers, func(a Answer) bool { return !a.Admits && !a.Missing })
}

// note remembers what the counts said; d is nil where they did not.
func (g *Grant) note(asks []Ask, d *Decision, sent time.Time) {
	for i, u := range g.uses {
		if asks[i].Want > 0 {
			var a Answer
			if d != nil {
				a = d.Answers[i]
			}
			if over := u.leased(&a, asks[i].Back, d != nil, d != nil && d.Admitted, sent); over > 0 {
				g.of.sender.charge(u, float64(over))
			}
		}
		if d == nil {
			continue
		}
		u.said(u.kind, d.Answers[i], d.At, sent)
		if d.Admitted && u.kind == Places {
			g.place = asks[i].Place
			u.freed(asks[i].Ended...)
		}
	}
}

// admit notes that the call was admitted.
func (g *Grant) admit(now time.Time) {
	g.open = true
	for i, u := range g.uses {
		switch {
		case u.kind == Quota && u.Cost == Requests && g.counts(i):
			g.of.ledger.Add(u.Name, u.combination, g.period(i, now), 1)
		case u.kind == Places && g.place != "":
			u.holds()
			g.of.sender.hold(u.key, g.place)
		}
		if u.Report && g.answers != nil && g.answers[i].Left < 0 {
			g.of.metrics.over.WithLabelValues(u.Name).Inc()
		}
	}
}

// counts reports whether a limit counts the call.
func (g *Grant) counts(i int) bool { return g.seeds == nil || !g.seeds[i].uncounted }

// period is the one that a quota's call is counted in.
func (g *Grant) period(i int, now time.Time) string {
	if g.answers != nil {
		return g.answers[i].Period
	}
	if g.uses[i].Period == Day {
		return now.UTC().Format("2006-01-02")
	}
	return now.UTC().Format("2006-01")
}

// refusal is the error of a call that was refused: that of the limit that lasts
// longest.
func (g *Grant) refusal(m *metrics) error {
	refusing := -1
	for i := range g.answers {
		if !g.answers[i].Admits && !g.answers[i].Missing && (refusing < 0 || g.answers[i].Retry > g.answers[refusing].Retry) {
			refusing = i
		}
	}
	if refusing < 0 { // the counts contradict themselves
		return unknown()
	}
	u, retry := g.uses[refusing], g.answers[refusing].Retry
	m.refused.WithLabelValues(u.Name).Inc()
	code := problem.RateLimited
	if u.kind == Quota {
		code = problem.QuotaExceeded
	}
	wait := time.Duration(math.Ceil(max(retry.Seconds(), 1))) * time.Second
	err := problem.New(code, "the limit %q allows %s%s; come again in %v", u.Name, u.says, u.apart(), wait)
	err.Limit = u.Name
	return err.WithRetryAfter(wait)
}

// apart is what a rule's counts are apart by, in words.
func (r *rule) apart() string {
	if len(r.Per) == 0 {
		return ""
	}
	names := make([]string, len(r.Per))
	for i, by := range r.Per {
		names[i] = string(by)
	}
	return " for each " + strings.Join(names, ", ")
}

// Measures reports whether what the call takes is charged.
func (g *Grant) Measures() bool {
	return g != nil && slices.ContainsFunc(g.uses, func(u use) bool { return u.kind != Places && u.Cost != Requests })
}

// Done ends the call, and is charged with what it took. Only the first call counts.
func (g *Grant) Done(used infer.Usage) {
	if g == nil {
		return
	}
	g.once.Do(func() {
		if g.open {
			g.charge(used)
		}
	})
}

func (g *Grant) charge(used infer.Usage) {
	s := g.of.sender
	for i, u := range g.uses {
		if u.kind == Places {
			if g.place != "" {
				u.left()
				s.free(u.key, g.place, u.entry)
			}
			continue
		}
		n := u.Cost.of(used)
		if n == 0 || !g.counts(i) {
			continue
		}
		if u.kind == Bucket {
			s.charge(u, n)
			continue
		}
		period := g.period(i, time.Now())
		n = math.Ceil(n)
		s.count(u.key, period, n) // before it is in the ledger: what is read there is not added again
		g.of.ledger.Add(u.Name, u.combination, period, int64(n))
	}
}

// left notes that a place is free.
func (e *entry) left() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refused = time.Time{}
	e.held--
}

// holds notes that a call under way has a place.
func (e *entry) holds() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held++
}

// of is a cost that is known after the run; of another one 0.
func (c Cost) of(u infer.Usage) float64 {
	switch c {
	case Rows:
		return float64(u.Rows)
	case Elements:
		return float64(u.Elements)
	case Compute:
		return float64(u.Compute) / float64(time.Millisecond)
	default:
		return 0
	}
}
