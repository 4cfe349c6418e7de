package redislimit_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
)

// clocked are counts on a clock of the test's own.
func clocked(t *testing.T) (*redislimit.Counters, *miniredis.Miniredis) {
	t.Helper()
	m := miniredis.RunT(t)
	c, err := redislimit.Open("redis://"+m.Addr(), "test", "r1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, m
}

// TestPeriodsAreThoseOfTheCalendar holds the script's days and months to Go's: at their
// ends, in leap years, and at any time.
func TestPeriodsAreThoseOfTheCalendar(t *testing.T) {
	t.Parallel()
	c, m := clocked(t)
	var times []time.Time
	for _, text := range []string{
		"1970-01-01T00:00:00Z", "1999-12-31T23:59:59.999999Z", "2000-02-29T12:00:00Z", "2024-02-28T23:59:59Z", "2024-02-29T23:59:59.999999Z",
		"2026-02-28T23:59:59.999999Z", "2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", "2100-02-28T00:00:00Z", "2100-03-01T00:00:00Z",
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, at)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		times = append(times, time.UnixMicro(random.Int64N(200*365*24*3600*1e6)).UTC())
	}
	for _, at := range times {
		m.SetTime(at)
		y, month, d := at.Date()
		for period, want := range map[limit.Period]struct {
			name string
			ends time.Time
		}{
			limit.Day:   {at.Format(time.DateOnly), time.Date(y, month, d+1, 0, 0, 0, 0, time.UTC)},
			limit.Month: {at.Format("2006-01"), time.Date(y, month+1, 1, 0, 0, 0, 0, time.UTC)},
		} {
			got, err := c.Decide(t.Context(), []limit.Ask{{Kind: limit.Quota, Key: "q", Quota: 1, Period: period, Take: 1}})
			if err != nil {
				t.Fatal(err)
			}
			a := got.Answers[0]
			if !a.Missing || a.Period != want.name || (a.Retry-want.ends.Sub(at)).Abs() > time.Millisecond {
				t.Fatalf("at %v: %+v, want %s to %v", at, a, want.name, want.ends)
			}
		}
	}
}

// bucketModel is a bucket as it is meant.
type bucketModel struct {
	rate, burst, tokens float64
	at                  time.Time
}

func (b *bucketModel) now(at time.Time) {
	if b.at.IsZero() {
		b.tokens, b.at = b.burst, at
	}
	b.tokens = min(b.burst, b.tokens+max(0, at.Sub(b.at).Seconds())*b.rate)
	b.at = at
}

// TestAnyCallsCostWhatTheyShould plays random calls of several limits against a plain
// model, with costs before and after the run, a clock that also goes backwards, and
// months that end.
func TestAnyCallsCostWhatTheyShould(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			play(t, rand.New(rand.NewPCG(seed, 7)))
		})
	}
}

func play(t *testing.T, random *rand.Rand) {
	t.Helper()
	c, m := clocked(t)
	at := time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)
	buckets := []*bucketModel{
		{rate: math.Pow(10, random.Float64()*6-3), burst: 1 + math.Floor(random.Float64()*20)},
		{rate: math.Pow(10, random.Float64()*6-3), burst: 1 + math.Floor(random.Float64()*2000)},
	}
	counted, period, quota := int64(0), "", int64(1+random.IntN(200))
	for step := range 300 {
		at = at.Add(time.Duration(random.ExpFloat64() * float64([]time.Duration{time.Millisecond, time.Second, time.Hour, 24 * time.Hour}[random.IntN(4)])))
		now := at
		if random.IntN(20) == 0 {
			now = at.Add(-time.Second) // a clock that was set back
		}
		m.SetTime(now)
		if name := now.Format("2006-01"); name > period {
			period, counted = name, 0
		}
		if random.IntN(3) == 0 { // what a call that ran turned out to cost
			n := math.Floor(random.Float64() * 10)
			buckets[1].charge(now, n)
			counted += int64(n)
			if err := c.Apply(t.Context(), []limit.Change{
				{Kind: limit.Charge, Key: "b1", Rate: buckets[1].rate, Burst: buckets[1].burst, Amount: n},
				{Kind: limit.Count, Key: "q", Period: period, Amount: n},
				{Kind: limit.Raise, Key: "q", Period: period, Amount: float64(counted)},
			}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want := counted < quota
		asks := []limit.Ask{{Kind: limit.Quota, Key: "q", Quota: quota, Period: limit.Month, Take: 1, Seed: &limit.Total{Period: period, Count: counted}}}
		for i, b := range buckets {
			take := float64(1 - i) // of the second the cost is known later
			asks = append(asks, limit.Ask{Kind: limit.Bucket, Key: fmt.Sprintf("b%d", i), Take: take, Rate: b.rate, Burst: b.burst})
			peek := *b
			peek.now(now)
			if off := math.Abs(peek.tokens - take); off > 0 && off < 1e-6 { // a hair's breadth decides
				return
			}
			want = want && peek.tokens >= take && peek.tokens > 0
		}
		got, err := c.Decide(t.Context(), asks)
		if err != nil {
			t.Fatal(err)
		}
		if got.Admitted != want {
			t.Fatalf("step %d: admitted %v, want %v: %+v; %d of %d in %s", step, got.Admitted, want, got.Answers, counted, quota, period)
		}
		if !want {
			continue
		}
		counted++
		buckets[0].charge(now, 1)
		buckets[1].charge(now, 0)
		if left := got.Answers[0].Left; left != float64(quota-counted) {
			t.Fatalf("step %d: %v of the quota left, want %d", step, left, quota-counted)
		}
		for i, b := range buckets {
			if left := got.Answers[1+i].Left; math.Abs(left-b.tokens) > 1e-3*max(1, b.tokens) {
				t.Fatalf("step %d: bucket %d has %v, want %v", step, i, left, b.tokens)
			}
		}
	}
}

func (b *bucketModel) charge(at time.Time, n float64) {
	b.now(at)
	b.tokens -= n
}
