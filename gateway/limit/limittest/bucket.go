package limittest

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/limit"
)

// bucket asks for a token of one that hardly fills meanwhile.
func bucket(key string, burst float64) limit.Ask {
	return limit.Ask{Kind: limit.Bucket, Key: key, Take: 1, Rate: 1e-6, Burst: burst}
}

func burst(b *bench) {
	for n := range 5 {
		if d := b.admits(true, bucket("a", 5)); math.Round(d.Answers[0].Left) != float64(4-n) {
			b.Errorf("left %v behind call %d", d.Answers[0].Left, n)
		}
	}
	d := b.admits(false, bucket("a", 5))
	if a := d.Answers[0]; a.Admits || a.Left < 0 || a.Left >= 1 || a.Retry < 11*24*time.Hour || a.Reset < a.Retry {
		b.Errorf("refused with %+v", a)
	}
	b.admits(true, bucket("b", 5))
}

// powers holds that numbers whose shortest form has no point are read.
func powers(b *bench) {
	for n := -12; n <= 9; n++ {
		key := fmt.Sprintf("power %d", n+12)
		ask := limit.Ask{Kind: limit.Bucket, Key: strings.ReplaceAll(key, " ", "."), Take: 1, Rate: math.Pow(10, float64(n)), Burst: 2, Known: &limit.Known{Left: 2, At: 1}}
		b.admits(true, ask)
		b.apply(limit.Change{Kind: limit.Charge, Key: ask.Key, Rate: ask.Rate, Burst: ask.Burst, Amount: 1e-5})
		b.decide(ask)
	}
}

func fills(b *bench) {
	ask := limit.Ask{Kind: limit.Bucket, Key: "a", Take: 1, Rate: 1000, Burst: 100}
	began := time.Now()
	admitted := 0
	for time.Since(began) < 200*time.Millisecond {
		if b.decide(ask).Admitted {
			admitted++
		}
	}
	if most := 100 + 1000*time.Since(began).Seconds() + 1; float64(admitted) > most {
		b.Errorf("%d calls in %v, want at most %v", admitted, time.Since(began), most)
	}
}

func comeAgain(b *bench) {
	ask := limit.Ask{Kind: limit.Bucket, Key: "a", Take: 1, Rate: 20, Burst: 1}
	b.admits(true, ask)
	for range 5 {
		d := b.decide(ask)
		if d.Admitted {
			continue
		}
		time.Sleep(d.Answers[0].Retry) // what a caller does who follows it
		b.admits(true, ask)
	}
}

func owed(b *bench) {
	ask := bucket("a", 10)
	ask.Take = 0
	b.admits(true, ask)
	b.apply(limit.Change{Kind: limit.Charge, Key: "a", Rate: ask.Rate, Burst: ask.Burst, Amount: 25})
	d := b.admits(false, ask)
	if left := d.Answers[0].Left; math.Round(left) != -15 {
		b.Errorf("left %v, want -15", left)
	}
}

func moreThanNone(b *bench) {
	ask := limit.Ask{Kind: limit.Bucket, Key: "a", Rate: 100, Burst: 10}
	b.admits(true, ask)
	b.apply(limit.Change{Kind: limit.Charge, Key: "a", Rate: ask.Rate, Burst: ask.Burst, Amount: 15})
	for {
		d := b.decide(ask)
		if d.Admitted {
			break
		}
		if retry := d.Answers[0].Retry; retry <= 0 || retry > 60*time.Millisecond {
			b.Fatalf("come again in %v", retry)
		}
		time.Sleep(d.Answers[0].Retry)
		b.admits(true, ask)
	}
}

// known holds that a bucket which Redis lost begins with what a replica knows that it
// had, and what came since; and that nothing else is less by it.
func known(b *bench) {
	ask := bucket("a", 10)
	ask.Known = &limit.Known{Left: 3, At: b.admits(true, bucket("a", 10)).At}
	if left := b.admits(true, ask).Answers[0].Left; math.Round(left) != 2 {
		b.Errorf("left %v of 3 behind one call", left)
	}
	const aSecond = 1_000_000
	now := b.decide(bucket("b", 10)).At
	lost := bucket("began anew", 10)
	lost.Rate, lost.Known = 1e-4, &limit.Known{Left: 3, At: now - 40_000*aSecond}
	if left := b.admits(true, lost).Answers[0].Left; math.Round(left) != 3+4-1 {
		b.Errorf("left %v of 3 and what came since behind one call", left)
	}
	lost.Key, lost.Known = "of a clock ahead", &limit.Known{Left: 3, At: now + 40_000*aSecond}
	if left := b.admits(true, lost).Answers[0].Left; math.Round(left) != 2 {
		b.Errorf("left %v of 3 behind one call", left)
	}
}

// owedOnce holds that what is owed is taken before the call it comes with, once, also of
// a call that is refused, by it or by another limit.
func owedOnce(b *bench) {
	ask := bucket("a", 10)
	ask.Take, ask.Owed = 0, 4
	if left := b.admits(true, ask).Answers[0].Left; math.Round(left) != 6 {
		b.Errorf("left %v of 10 that owed 4", left)
	}
	b.admits(true, bucket("narrow", 1))
	if left := b.admits(false, ask, bucket("narrow", 1)).Answers[0].Left; math.Round(left) != 2 {
		b.Errorf("left %v of 6 that owed 4", left)
	}
	ask.Owed = 5
	a := b.admits(false, ask).Answers[0]
	if math.Round(a.Left) != -3 || a.Retry < 30*24*time.Hour || a.Reset < a.Retry {
		b.Errorf("2 that owed 5 are refused with %+v", a)
	}
	ask.Owed = 0
	if left := b.admits(false, ask).Answers[0].Left; math.Round(left) != -3 {
		b.Errorf("left %v, want what was left before", left)
	}
}

// owedOfALease holds that leases outlive what is owed.
func owedOfALease(b *bench) {
	ask := bucket("a", 1000)
	ask.Want = 10
	b.admits(true, ask)
	b.admits(true, bucket("narrow", 1))
	other := &bench{b.T, b.Store, b.Replica(b.T)}
	owes := bucket("a", 1000)
	owes.Owed, owes.Want = 5, 10
	other.admits(false, owes, bucket("narrow", 1))
	ask.Lease, ask.Back = 1, 10
	if a := b.admits(true, ask).Answers[0]; a.Leased != 10 || math.Round(a.Left) != 1000-11-5+10-11 {
		b.Errorf("behind the next lease %+v", a)
	}
}

// chargedKnown holds that a charge says what the bucket has, and begins with what the
// replica knows where the bucket was lost.
func chargedKnown(b *bench) {
	ask := bucket("a", 10)
	d := b.admits(true, ask)
	charge := limit.Change{Kind: limit.Charge, Key: "a", Rate: ask.Rate, Burst: ask.Burst, Amount: 25}
	got := b.apply(charge, limit.Change{Kind: limit.Free, Key: "p", Place: "p1"}, charge)
	if math.Round(got[0].Left) != -16 || got[0].At < d.At || got[1] != (limit.Known{}) || math.Round(got[2].Left) != -41 {
		b.Errorf("charged twice 25 of 9, %+v", got)
	}
	charge.Key, charge.Known = "lost", &got[2]
	if got := b.apply(charge); math.Round(got[0].Left) != -66 {
		b.Errorf("a bucket of -41 that was lost has %+v behind a charge of 25", got)
	}
	lost := bucket("lost with a call", 10)
	lost.Key, lost.Known, lost.Owed = "lost.2", &got[2], 3
	if left := b.admits(false, lost).Answers[0].Left; math.Round(left) != -44 {
		b.Errorf("left %v of -41 that owed 3", left)
	}
	lost.Known, lost.Owed = nil, 0
	if left := b.admits(false, lost).Answers[0].Left; math.Round(left) != -44 {
		b.Errorf("left %v, for others, want -44", left)
	}
}

// knownTakesNothing holds that a bucket has the same whether or not its replica knows
// what it had: they fill side by side, in one script.
func knownTakesNothing(b *bench) {
	plain, knowing := bucket("plain", 99), bucket("knowing", 99)
	plain.Rate, knowing.Rate = 10, 10
	b.admits(true, plain, knowing)
	owes := limit.Change{Kind: limit.Charge, Key: "plain", Rate: 10, Burst: 99, Amount: 60}
	also := owes
	also.Key = "knowing"
	b.apply(owes, also)
	for range 20 {
		d := b.admits(true, plain, knowing)
		if d.Answers[0] != d.Answers[1] {
			b.Fatalf("%+v and %+v", d.Answers[0], d.Answers[1])
		}
		knowing.Known = &limit.Known{Left: d.Answers[1].Left, At: d.At}
	}
}

// leasedKnown holds that a lease which comes back is there for replicas that knew what
// the bucket had without it.
func leasedKnown(b *bench) {
	ask := bucket("a", 1000)
	ask.Want = 10
	b.admits(true, ask)
	other := &bench{b.T, b.Store, b.Replica(b.T)}
	seen := other.admits(true, bucket("a", 1000))
	ask.Lease, ask.Back, ask.Want = 1, 10, 1
	b.admits(true, ask)
	now := bucket("a", 1000)
	now.Known = &limit.Known{Left: seen.Answers[0].Left, At: seen.At}
	if left := other.admits(true, now).Answers[0].Left; math.Round(left) != 1000-11-1+10-2-1 {
		b.Errorf("left %v", left)
	}
}

func leases(b *bench) {
	total := int64(0)
	for n := range 5 {
		replica := &bench{b.T, b.Store, b.Replica(b.T)}
		ask := bucket("a", 1000)
		ask.Want = 4
		a := replica.admits(true, ask).Answers[0]
		total += a.Leased
		if n == 0 && (a.Leased != 4 || math.Round(a.Left) != 1000-5) {
			b.Errorf("leased %d, left %v", a.Leased, a.Left)
		}
	}
	if total != 10 {
		b.Errorf("five replicas lease %d of a burst of 1000", total)
	}
}

func leaseBack(b *bench) {
	ask := bucket("a", 1000)
	ask.Want = 10
	if a := b.admits(true, ask).Answers[0]; a.Leased != 10 || math.Round(a.Left) != 989 {
		b.Fatalf("%+v", a)
	}
	ask.Lease, ask.Back = 1, 7
	if a := b.admits(true, ask).Answers[0]; a.Leased != 10 || math.Round(a.Left) != 989+7-11 {
		b.Errorf("behind the next lease %+v", a)
	}
	if a := b.admits(true, ask).Answers[0]; a.Leased != 10 || math.Round(a.Left) != 985-11 {
		b.Errorf("a lease came back twice: %+v", a)
	}
}

func noLease(b *bench) {
	b.apply(limit.Change{Kind: limit.Charge, Key: "a", Rate: 1e-6, Burst: 1000, Amount: 600})
	ask := bucket("a", 1000)
	ask.Want = 5
	if a := b.admits(true, ask).Answers[0]; a.Leased != 0 {
		b.Errorf("leased %d of %v", a.Leased, a.Left)
	}
}
