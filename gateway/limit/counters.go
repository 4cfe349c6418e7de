package limit

import (
	"context"
	"time"
)

// Counters are the counts that all gateways share, on a clock of their own. An error
// is of Counters that cannot be reached or do not work; whether a call was decided on
// is not known then.
type Counters interface {
	// Decide admits a call by each of what it asks, or changes nothing but that it takes
	// what is owed.
	Decide(ctx context.Context, asks []Ask) (*Decision, error)

	// Apply applies changes in their order, once. It returns what each bucket that was
	// charged has then; of other changes nothing.
	Apply(ctx context.Context, changes []Change) ([]Known, error)
}

// Kind is how a rule counts.
type Kind int

// The kinds.
const (
	Bucket Kind = iota
	Places      // concurrency
	Quota
)

// Ask is what a call wants of one count.
type Ask struct {
	Kind Kind
	Key  string // of the rule and the combination; plain text without white space

	Take float64 // of a bucket or a quota; 0 where the cost is known later

	// Of a bucket:
	Rate, Burst float64 // tokens a second, tokens
	Want        int64   // tokens to lease beside Take
	Lease       int64   // the number of the lease that this one replaces, and what is left of it
	Back        int64
	Known       *Known  // what it had when it answered last; nil where that is not known
	Owed        float64 // what calls turned out to cost, which is taken before: nothing else takes it

	// Of concurrency:
	Limit    int           // calls at once
	Place    string        // the call's, known nowhere else
	Lifetime time.Duration // of the place, unless it is held on
	Ended    []string      // places of this count that ended before
	Held     int           // places of this count that the replica has

	// Of a quota:
	Quota  int64
	Report bool // it is counted, and refuses nothing
	Period Period
	Seed   *Total // where the count is not there
}

// Known is what a bucket had at a time, with all that was taken of it until then and
// nothing else. It has no more later than that, what came since
// and what may be leased of it: counts that were lost give nothing twice.
type Known struct {
	Left float64
	At   int64 // Decision.At
}

// Decision is what became of a call.
type Decision struct {
	Admitted bool
	Answers  []Answer // one for each ask
	At       int64    // by the counts' own clock, in microseconds
}

// Answer is what one count said.
type Answer struct {
	Admits  bool
	Missing bool    // a quota's count is not there: the call is not decided on without a Seed
	Left    float64 // behind the call, where it is admitted; below none of what is owed, and over a quota that reports
	Retry   time.Duration
	Reset   time.Duration // until all is there again
	Leased  int64
	Period  string // a quota's, as 2026-11 or 2026-11-30
}

// Total is what a quota's count has in a period.
type Total struct {
	Period string
	Count  int64
}

// Change is what is applied to a count.
type Change struct {
	Kind ChangeKind
	Key  string

	Rate, Burst float64       // Charge
	Amount      float64       // Charge, Count; of Raise the total
	Known       *Known        // Charge: as in Ask
	Period      string        // Count, Raise
	Place       string        // Hold, Free
	Lifetime    time.Duration // Hold
}

// ChangeKind is what a Change does.
type ChangeKind int

// The changes.
const (
	Charge ChangeKind = iota // takes of a bucket what was not known before
	Count                    // adds to a quota's count, where it is there
	Raise                    // lets a quota's count, where it is there, be at least so much
	Hold                     // lets a place of concurrency last on
	Free                     // ends one
)

// Ledger has the quotas' counts for good.
type Ledger interface {
	// Count is what the count of a rule and a combination has in a period, with what
	// was added here.
	Count(ctx context.Context, rule, combination, period string) (int64, error)

	// Add adds to it, soon.
	Add(rule, combination, period string, n int64)
}
