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
	c, err := redislimit.OpenPatient("redis://"+m.Addr(), "test", "r1")
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

// bucketModel is a bucket as it is meant, and what its gateway knows and has not sent.
type bucketModel struct {
	key                 string
	rate, burst, tokens float64
	at                  time.Time

	known *limit.Known
	owed  float64
	shown float64 // what a call was to see of it
}

// now fills the bucket. A clock that is set back within a second gives nothing twice;
// one that is set back further lets it fill from then on.
func (b *bucketModel) now(at time.Time) {
	switch {
	case b.at.IsZero():
		b.tokens, b.at = b.burst, at
	case at.After(b.at) || b.at.Sub(at) > time.Second:
		b.tokens = min(b.burst, b.tokens+max(0, at.Sub(b.at).Seconds())*b.rate)
		b.at = at
	}
}

func (b *bucketModel) charge(at time.Time, n float64) {
	b.now(at)
	b.tokens -= n
}

// answered notes what the counts said, as a gateway does.
func (b *bucketModel) answered(k limit.Known) {
	if b.known == nil || k.At >= b.known.At || k.At < b.known.At-1_000_000 {
		b.known = &k
	}
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-3*max(1, math.Abs(want)) }

// TestAnyCallsCostWhatTheyShould plays random calls of several limits against a plain
// model, as a gateway asks that knows what buckets had: with costs before the run, and
// after it with the next call or by themselves, a clock that also goes backwards, and
// months that end.
func TestAnyCallsCostWhatTheyShould(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 7))
			c, m := clocked(t)
			g := &game{
				T: t, Counters: c, random: random, quota: int64(1 + random.IntN(200)),
				buckets: []*bucketModel{
					{key: "b0", rate: math.Pow(10, random.Float64()*6-3), burst: 1 + math.Floor(random.Float64()*20)},
					{key: "b1", rate: math.Pow(10, random.Float64()*6-3), burst: 1 + math.Floor(random.Float64()*2000)},
				},
			}
			at := time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)
			for step := range 300 {
				at = at.Add(time.Duration(random.ExpFloat64() * float64([]time.Duration{time.Millisecond, time.Second, time.Hour, 24 * time.Hour}[random.IntN(4)])))
				now := at
				switch random.IntN(40) {
				case 0:
					now = at.Add(-time.Second) // a clock that was set back
				case 1:
					at = at.Add(-time.Hour) // and stays
					now = at
				}
				m.SetTime(now)
				g.step = step
				if !g.play(now) {
					return
				}
			}
		})
	}
}

// game is calls of three limits, and what they should come to.
type game struct {
	*testing.T
	*redislimit.Counters

	random  *rand.Rand
	step    int
	buckets []*bucketModel // a token for each call; what calls turn out to cost
	counted int64
	period  string
	quota   int64
}

// play plays one step, and is false where a hair's breadth would decide.
func (g *game) play(now time.Time) bool {
	g.Helper()
	if name := now.Format("2006-01"); name > g.period {
		g.period, g.counted = name, 0
	}
	switch g.random.IntN(4) {
	case 0:
		g.charge(now, math.Floor(g.random.Float64()*10))
	case 1: // with the next call
		g.buckets[1].owed += math.Floor(g.random.Float64() * 10)
	default:
		return g.call(now)
	}
	return true
}

// charge sends what a call that ran turned out to cost.
func (g *game) charge(now time.Time, n float64) {
	g.Helper()
	b := g.buckets[1]
	b.charge(now, n)
	g.counted += int64(n)
	got, err := g.Apply(g.Context(), []limit.Change{
		{Kind: limit.Charge, Key: b.key, Rate: b.rate, Burst: b.burst, Amount: n, Known: b.known},
		{Kind: limit.Count, Key: "q", Period: g.period, Amount: n},
		{Kind: limit.Raise, Key: "q", Period: g.period, Amount: float64(g.counted)},
	})
	if err != nil {
		g.Fatal(err)
	}
	if !near(got[0].Left, b.tokens) || got[0].At != now.UnixMicro() {
		g.Fatalf("step %d: charged, the bucket has %+v, want %v", g.step, got[0], b.tokens)
	}
	b.answered(got[0])
}

// call asks for a call.
func (g *game) call(now time.Time) bool {
	g.Helper()
	want := g.counted < g.quota
	asks := []limit.Ask{{Kind: limit.Quota, Key: "q", Quota: g.quota, Period: limit.Month, Take: 1, Seed: &limit.Total{Period: g.period, Count: g.counted}}}
	for i, b := range g.buckets {
		take := float64(1 - i) // of the second the cost is known later
		asks = append(asks, limit.Ask{Kind: limit.Bucket, Key: b.key, Take: take, Rate: b.rate, Burst: b.burst, Known: b.known, Owed: b.owed})
		peek := *b
		peek.charge(now, b.owed)
		if b.owed > 0 || b.at.Sub(now) > time.Second { // which a call that is refused changes, too
			*b = peek
		}
		b.owed, b.shown = 0, peek.tokens
		if off := math.Abs(peek.tokens - take); off > 0 && off < 1e-6 {
			return false
		}
		want = want && peek.tokens >= take && peek.tokens > 0
	}
	got, err := g.Decide(g.Context(), asks)
	if err != nil {
		g.Fatal(err)
	}
	if got.Admitted != want {
		g.Fatalf("step %d: admitted %v, want %v: %+v; %d of %d in %s", g.step, got.Admitted, want, got.Answers, g.counted, g.quota, g.period)
	}
	if want {
		g.counted++
		for i, b := range g.buckets {
			b.charge(now, float64(1-i))
			b.shown = b.tokens
		}
		if left := got.Answers[0].Left; left != float64(g.quota-g.counted) {
			g.Fatalf("step %d: %v of the quota left, want %d", g.step, left, g.quota-g.counted)
		}
	}
	for i, b := range g.buckets {
		left := got.Answers[1+i].Left
		if !near(left, b.shown) {
			g.Fatalf("step %d: bucket %d has %v, want %v", g.step, i, left, b.shown)
		}
		b.answered(limit.Known{Left: left, At: got.At})
	}
	return true
}
