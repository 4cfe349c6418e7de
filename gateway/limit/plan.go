package limit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"
)

// Down is what limits do while their counts cannot be reached.
type Down string

// What they may do.
const (
	Closed Down = "closed" // calls that a limit is for are refused
	Open   Down = "open"   // they are admitted
)

// plan is rules in force, and what is remembered of their counts.
type plan struct {
	rules []*rule
	down  Down
	known entries
}

// rule is a Rule as it is decided on.
type rule struct {
	Rule

	kind   Kind
	prefix string // of its counts' keys
	counts string // what they are of: another cost under the same name is another count
	policy string // its item of RateLimit-Policy
	says   string // what it allows, in words
}

func newPlan(rules []Rule, down Down) *plan {
	p := &plan{down: down, known: entries{by: map[string]*entry{}}}
	for i := range rules {
		r := &rule{Rule: rules[i]}
		name := strconv.Quote(r.Name)
		switch {
		case r.Concurrency > 0:
			r.kind, r.prefix = Places, "c:"
			r.policy = name + ";q=" + strconv.Itoa(r.Concurrency)
			r.says = fmt.Sprintf("%d calls at once", r.Concurrency)
		case r.Quota > 0:
			r.kind, r.prefix = Quota, "q:"
			r.policy = name + ";q=" + strconv.FormatInt(r.Quota, 10)
			if r.Period == Day {
				r.policy += ";w=86400"
			}
			r.says = fmt.Sprintf("%d %s a %s", r.Quota, r.Cost, r.Period)
		default:
			r.kind, r.prefix = Bucket, "b:"
			r.policy = name + ";q=" + whole(math.Floor(r.Burst)) + ";w=" + seconds(r.Burst/r.Rate)
			r.says = fmt.Sprintf("%s, %g at once", r.pace(), r.Burst)
		}
		r.prefix += r.Name + ":"
		r.counts = string(r.Cost) + " " + string(r.Period) + " "
		p.rules = append(p.rules, r)
	}
	return p
}

// pace is a rate in words, in the unit in which it is one or more.
func (r *rule) pace() string {
	n, unit := r.Rate, "second"
	for _, larger := range []string{"minute", "hour"} {
		if n < 1 {
			n, unit = n*60, larger
		}
	}
	return fmt.Sprintf("%.3g %s each %s", n, r.Cost, unit)
}

// seconds are whole seconds, rounded up, and bounded as integers of headers are.
func seconds(n float64) string { return whole(math.Ceil(n)) }

// whole is a number that is not negative, as headers may have it (RFC 9651, 3.3.1).
func whole(n float64) string {
	return strconv.FormatFloat(min(max(n, 0), mostWhole), 'f', 0, 64)
}

const mostWhole = 999_999_999_999_999

// use is a rule that is for a call, and the call's count of it.
type use struct {
	*rule
	*entry
}

// uses are the counts that a call is decided on by.
func (p *plan) uses(s *Subject) []use {
	var out []use
	for _, r := range p.rules {
		if !r.Match.matches(s) {
			continue
		}
		if combination, ok := r.combination(s); ok {
			out = append(out, use{r, p.known.of(r, combination)})
		}
	}
	return out
}

// mostEntries bounds what is remembered.
const mostEntries = 10_000

// entries are what is remembered of counts, of the latest ones.
type entries struct {
	mu sync.Mutex
	by map[string]*entry
}

// entry is what is remembered of one count. It may be forgotten at any time: it only
// saves asking, or keeps a failover from giving what was used already.
type entry struct {
	key         string // in Counters
	combination string // as the ledger has it

	mu      sync.Mutex
	last    Answer
	knows   bool      // last is one
	at      time.Time // of the call that it is of
	decided int64     // when it was, by the counts' clock
	known   *Known    // of a bucket

	lease  lease
	asking bool    // a call that replaces the lease is under way
	recent counter // of calls

	refused time.Time // no call can be admitted before that
	held    int       // places of calls under way
	ended   []string  // places that ended, and may not have been freed yet
}

// of finds the entry of a combination.
func (e *entries) of(r *rule, combination string) *entry {
	name := r.prefix + combination
	e.mu.Lock()
	defer e.mu.Unlock()
	if found := e.by[name]; found != nil {
		return found
	}
	if len(e.by) >= mostEntries {
		for other := range e.by { // any; maps have no order
			delete(e.by, other)
			if len(e.by) < mostEntries*9/10 {
				break
			}
		}
	}
	sum := sha256.Sum256([]byte(r.counts + combination))
	hashed := hex.EncodeToString(sum[:16])
	found := &entry{key: r.prefix + hashed, combination: hashed}
	e.by[name] = found
	return found
}
