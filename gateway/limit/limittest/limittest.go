// Package limittest holds what the counts of package limit must do, for the tests of
// whoever keeps them to run against their own.
package limittest

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/limit"
)

// Store is where counts are kept that a case has for itself.
type Store interface {
	// Replica opens the counts as another process.
	Replica(t *testing.T) limit.Counters

	// Lifetimes are the keys that there are, and when each ends; 0 is never.
	Lifetimes(t *testing.T) map[string]time.Duration

	// Spoil puts something else in the place of a count: a text, or a list.
	Spoil(t *testing.T, key string, list bool)

	// Forget forgets the scripts that were loaded.
	Forget(t *testing.T)
}

// bench is what a case works with.
type bench struct {
	*testing.T
	Store
	limit.Counters
}

// Run runs the conformance suite; open is called once for each case.
func Run(t *testing.T, open func(t *testing.T) Store) {
	t.Helper()
	for name, check := range map[string]func(*bench){
		"a bucket holds its burst":                            burst,
		"rates from tiny to large":                            powers,
		"a bucket fills at its rate":                          fills,
		"when to come again holds":                            comeAgain,
		"a call that one limit refuses takes of none":         allOrNone,
		"what is charged afterwards is owed":                  owed,
		"an unknown cost needs more than none":                moreThanNone,
		"no bucket has more than a replica knows that it has": known,
		"what a replica knows takes nothing":                  knownTakesNothing,
		"what is owed is taken once, of each call":            owedOnce,
		"what is owed leaves leases":                          owedOfALease,
		"a charge says what a bucket has":                     chargedKnown,
		"a lease comes back to all":                           leasedKnown,
		"leases of all replicas are a hundredth of a burst":   leases,
		"a lease that is replaced comes back once":            leaseBack,
		"an emptying bucket leases nothing":                   noLease,
		"places are as many as their limit":                   places,
		"a place ends when nobody holds it":                   placeEnds,
		"a place that is held lasts":                          placeHeld,
		"the next call frees what ended":                      endedPlaces,
		"a quota's count begins with its seed":                seeds,
		"a quota counts up to its end":                        quota,
		"a quota that reports refuses nothing":                report,
		"a count is raised, and never lowered":                raised,
		"another period's count stays out":                    otherPeriod,
		"calls at once take what there is":                    atOnce,
		"what is none of ours ends no call":                   nonsense,
		"each key ends":                                       lifetimes,
		"scripts that were forgotten are sent again":          forgotten,
		"large numbers stay exact":                            large,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			check(&bench{t, s, s.Replica(t)})
		})
	}
}

func (b *bench) decide(asks ...limit.Ask) *limit.Decision {
	b.Helper()
	d, err := b.Decide(b.Context(), asks)
	if err != nil {
		b.Fatal(err)
	}
	if len(d.Answers) != len(asks) {
		b.Fatalf("%d answers to %d", len(d.Answers), len(asks))
	}
	return d
}

func (b *bench) apply(changes ...limit.Change) []limit.Known {
	b.Helper()
	charged, err := b.Apply(b.Context(), changes)
	if err != nil {
		b.Fatal(err)
	}
	if len(charged) != len(changes) {
		b.Fatalf("%d answers to %d", len(charged), len(changes))
	}
	return charged
}

func (b *bench) admits(want bool, asks ...limit.Ask) *limit.Decision {
	b.Helper()
	d := b.decide(asks...)
	if d.Admitted != want {
		b.Fatalf("admitted %v, want %v: %+v", d.Admitted, want, d.Answers)
	}
	return d
}

func allOrNone(b *bench) {
	b.admits(true, bucket("narrow", 1))
	place := limit.Ask{Kind: limit.Places, Key: "places", Limit: 1, Place: "one", Lifetime: time.Minute}
	count := limit.Ask{Kind: limit.Quota, Key: "quota", Quota: 10, Period: limit.Day, Take: 1}
	d := b.admits(false, count)
	count.Seed = &limit.Total{Period: d.Answers[0].Period}
	d = b.admits(false, bucket("wide", 9), place, count, bucket("narrow", 1))
	for i, want := range []limit.Answer{{Admits: true, Left: 9}, {Admits: true, Left: 1}, {Admits: true, Left: 10}, {Left: 0}} {
		if a := d.Answers[i]; a.Admits != want.Admits || math.Round(a.Left) != want.Left || want.Admits && i == 0 && a.Reset != 0 {
			b.Errorf("answer %d: %+v", i, a)
		}
	}
	if left := b.admits(true, bucket("wide", 9)).Answers[0].Left; math.Round(left) != 8 {
		b.Errorf("left %v of 9 behind one call", left)
	}
	place.Place = "two"
	b.admits(true, place)
	if left := b.admits(true, count).Answers[0].Left; left != 9 {
		b.Errorf("left %v of 10 behind one call", left)
	}
}

func place(n int, lifetime time.Duration) limit.Ask {
	return limit.Ask{Kind: limit.Places, Key: "a", Limit: 2, Place: "p" + strconv.Itoa(n), Lifetime: lifetime}
}

func places(b *bench) {
	if left := b.admits(true, place(1, time.Minute)).Answers[0].Left; left != 1 {
		b.Errorf("left %v", left)
	}
	other := &bench{b.T, b.Store, b.Replica(b.T)}
	other.admits(true, place(2, time.Minute))
	if a := b.admits(false, place(3, time.Minute)).Answers[0]; a.Left != 0 || a.Retry != time.Second {
		b.Errorf("refused with %+v", a)
	}
	other.apply(limit.Change{Kind: limit.Free, Key: "a", Place: "p2"}, limit.Change{Kind: limit.Free, Key: "a", Place: "p2"})
	b.admits(true, place(3, time.Minute))
	b.admits(false, place(4, time.Minute))
}

// until asks until it is admitted; the test's own end bounds it.
func (b *bench) until(ask limit.Ask) {
	b.Helper()
	for !b.decide(ask).Admitted {
		if b.Context().Err() != nil {
			b.Fatal("never")
		}
	}
}

func placeEnds(b *bench) {
	b.admits(true, place(1, 20*time.Millisecond))
	b.admits(true, place(2, time.Minute))
	b.until(place(3, time.Minute))
	b.admits(false, place(4, time.Minute))
}

func placeHeld(b *bench) {
	b.admits(true, place(1, time.Millisecond))
	b.apply(limit.Change{Kind: limit.Hold, Key: "a", Place: "p1", Lifetime: time.Minute})
	b.admits(true, place(2, time.Minute))
	b.admits(false, place(3, time.Minute))
}

func endedPlaces(b *bench) {
	b.admits(true, place(1, time.Minute))
	b.admits(true, place(2, time.Minute))
	next := place(3, time.Minute)
	next.Ended = []string{"p1", "nobody's"}
	b.admits(true, next)
	next = place(4, time.Minute)
	next.Ended = []string{"p1"}
	b.admits(false, next)
}

// seeded is a quota's ask with a seed for the period that it is.
func (b *bench) seeded(key string, count int64) (limit.Ask, string) {
	b.Helper()
	ask := limit.Ask{Kind: limit.Quota, Key: key, Quota: 10, Period: limit.Month, Take: 1}
	a := b.admits(false, ask).Answers[0]
	if !a.Missing || len(a.Period) != len("2026-11") {
		b.Fatalf("%+v, want one that is missing, of a month", a)
	}
	ask.Seed = &limit.Total{Period: a.Period, Count: count}
	return ask, a.Period
}

func seeds(b *bench) {
	ask, _ := b.seeded("a", 7)
	if left := b.admits(true, ask).Answers[0].Left; left != 2 {
		b.Errorf("left %v behind one of three", left)
	}
	ask.Seed.Count = 0
	if left := b.admits(true, ask).Answers[0].Left; left != 1 {
		b.Errorf("left %v: another seed counted", left)
	}
	other, _ := b.seeded("b", 0)
	other.Seed.Period = "1999-01"
	if a := b.admits(false, other).Answers[0]; !a.Missing {
		b.Errorf("another period's seed counted: %+v", a)
	}
}

func quota(b *bench) {
	ask, period := b.seeded("a", 8)
	b.admits(true, ask)
	a := b.admits(true, ask).Answers[0]
	if a.Left != 0 {
		b.Errorf("left %v", a.Left)
	}
	a = b.admits(false, ask).Answers[0]
	ends, err := time.Parse("2006-01", period)
	if err != nil {
		b.Fatal(err)
	}
	if wait := time.Until(ends.AddDate(0, 1, 0)); a.Missing || (a.Retry-wait).Abs() > time.Hour || a.Reset != a.Retry {
		b.Errorf("refused with %+v; the month ends in %v", a, wait)
	}
	day := limit.Ask{Kind: limit.Quota, Key: "day", Quota: 1, Period: limit.Day, Take: 1}
	a = b.admits(false, day).Answers[0]
	if _, err := time.Parse(time.DateOnly, a.Period); err != nil || !a.Missing || a.Retry > 24*time.Hour {
		b.Errorf("%+v: %v", a, err)
	}
}

func report(b *bench) {
	ask, _ := b.seeded("a", 10)
	ask.Report = true
	for n := range 3 {
		if left := b.admits(true, ask).Answers[0].Left; left != float64(-1-n) {
			b.Errorf("left %v of 10 behind %d", left, 11+n)
		}
	}
	ask.Report, ask.Quota = false, 14
	if left := b.admits(true, ask).Answers[0].Left; left != 0 {
		b.Errorf("left %v of 14 behind 14", left)
	}
}

func raised(b *bench) {
	ask, period := b.seeded("a", 1)
	b.admits(true, ask)
	b.apply(
		limit.Change{Kind: limit.Raise, Key: "a", Period: period, Amount: 8},
		limit.Change{Kind: limit.Raise, Key: "a", Period: period, Amount: 3},
		limit.Change{Kind: limit.Raise, Key: "missing", Period: period, Amount: 3},
	)
	if left := b.admits(true, ask).Answers[0].Left; left != 1 {
		b.Errorf("left %v, want 1", left)
	}
	b.seeded("missing", 0)
}

func otherPeriod(b *bench) {
	ask, _ := b.seeded("a", 1)
	b.admits(true, ask)
	b.apply(
		limit.Change{Kind: limit.Raise, Key: "a", Period: "2001-01", Amount: 9},
		limit.Change{Kind: limit.Count, Key: "a", Period: "2001-01", Amount: 9},
		limit.Change{Kind: limit.Count, Key: "a", Period: ask.Seed.Period, Amount: 2},
	)
	if left := b.admits(true, ask).Answers[0].Left; left != 5 {
		b.Errorf("left %v, want 5", left)
	}
}

func atOnce(b *bench) {
	var admitted atomic.Int64
	var calls sync.WaitGroup
	for n := range 8 {
		replica := b.Replica(b.T)
		calls.Go(func() {
			for m := range 25 {
				d, err := replica.Decide(b.Context(), []limit.Ask{
					bucket("a", 50),
					{Kind: limit.Places, Key: "p", Limit: 60, Place: fmt.Sprintf("%d.%d", n, m), Lifetime: time.Minute},
				})
				if err != nil {
					b.Error(err)
					return
				}
				if d.Admitted {
					admitted.Add(1)
				}
			}
		})
	}
	calls.Wait()
	if admitted.Load() != 50 {
		b.Errorf("%d of 200 calls were admitted, want 50", admitted.Load())
	}
}

// nonsense holds that what somebody else wrote where a count is costs that count alone.
func nonsense(b *bench) {
	for _, list := range []bool{false, true} {
		for _, ask := range []limit.Ask{bucket("n.bucket", 5), {Kind: limit.Places, Key: "n.places", Limit: 1, Place: "p", Lifetime: time.Minute}} {
			b.Spoil(b.T, ask.Key, list)
			b.admits(true, ask)
		}
		ask := limit.Ask{Kind: limit.Quota, Key: "n.quota", Quota: 3, Period: limit.Day, Take: 1}
		b.Spoil(b.T, ask.Key, list)
		a := b.admits(false, ask).Answers[0]
		if !a.Missing {
			b.Errorf("%+v", a)
		}
		ask.Seed = &limit.Total{Period: a.Period}
		b.admits(true, ask)
		for _, key := range []string{"n.bucket", "n.places", "n.quota"} {
			b.Spoil(b.T, key, list)
			b.apply(
				limit.Change{Kind: limit.Charge, Key: key, Rate: 1, Burst: 5, Amount: 1}, limit.Change{Kind: limit.Count, Key: key, Period: a.Period, Amount: 1},
				limit.Change{Kind: limit.Raise, Key: key, Period: a.Period, Amount: 1}, limit.Change{Kind: limit.Hold, Key: key, Place: "p", Lifetime: time.Second},
				limit.Change{Kind: limit.Free, Key: key, Place: "p"},
			)
			b.Spoil(b.T, key, list)
		}
	}
}

func lifetimes(b *bench) {
	ask, _ := b.seeded("q", 0)
	slow := limit.Ask{Kind: limit.Bucket, Key: "slow", Rate: 1e-9, Burst: 1e12}
	b.admits(true, ask, bucket("b", 5), place(1, time.Second), slow)
	b.apply(
		limit.Change{Kind: limit.Charge, Key: "new", Rate: 1, Burst: 5, Amount: 1},
		limit.Change{Kind: limit.Charge, Key: "slow", Rate: 1e-9, Burst: 1e12, Amount: 1e12},
		limit.Change{Kind: limit.Hold, Key: "held", Place: "p", Lifetime: time.Second},
		limit.Change{Kind: limit.Count, Key: "q", Period: ask.Seed.Period, Amount: 1},
	)
	found := b.Lifetimes(b.T)
	if len(found) != 6 {
		b.Errorf("%d keys: %v", len(found), found)
	}
	for key, lifetime := range found {
		if lifetime <= 0 {
			b.Errorf("%s never ends", key)
		}
	}
}

func forgotten(b *bench) {
	b.admits(true, bucket("a", 2))
	b.Forget(b.T)
	b.admits(true, bucket("a", 2))
	b.Forget(b.T)
	b.apply(limit.Change{Kind: limit.Charge, Key: "a", Rate: 1, Burst: 2, Amount: 1})
}

func large(b *bench) {
	ask := limit.Ask{Kind: limit.Quota, Key: "q", Quota: 999_999_999_999_999, Period: limit.Day, Take: 1}
	a := b.admits(false, ask).Answers[0]
	ask.Seed = &limit.Total{Period: a.Period, Count: 999_999_999_999_997}
	b.admits(true, ask)
	if a := b.admits(true, ask).Answers[0]; a.Left != 0 {
		b.Errorf("left %v", a.Left)
	}
	b.admits(false, ask)
	if left := b.admits(true, bucket("b", 1e12)).Answers[0].Left; left != 1e12-1 {
		b.Errorf("left %v of 1e12", left)
	}
}
