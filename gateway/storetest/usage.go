package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/gateway/usage/usagetest"
)

// RunUsage runs the part of the suite that is of usage and quotas. open returns what
// opens another Store on one database, which is empty at first.
func RunUsage(t *testing.T, open func(t *testing.T) func(t *testing.T) usage.Store) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, *metered){
		"an empty database has none":                                 noUsage,
		"counts add up":                                              addsUp,
		"a flush that comes again changes nothing":                   flushedAgain,
		"replicas count for themselves":                              replicasCount,
		"flushes of several at once lose nothing, and come once":     flushedAtOnce,
		"a flush that broke off comes once when it comes again":      flushBrokenOff,
		"what is more than can be counted is the most that can":      mostCounted,
		"text is only text":                                          hostileUsage,
		"days, tenants and sums are those that are asked for":        asked,
		"old usage, quotas and replicas go in steps, and others not": trimmedUsage,
		"a cancelled caller of usage is an error":                    cancelledUsage,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			again := open(t)
			check(t, &metered{again(t), again})
		})
	}
}

// metered is what a case works with.
type metered struct {
	usage.Store
	open func(t *testing.T) usage.Store
}

const today = usage.Day(20_000)

func calls(tenant, model string, day usage.Day, n int64) usage.Row {
	return usage.Row{
		Key:    usage.Key{Tenant: tenant, Model: model, Day: day},
		Counts: usage.Counts{Requests: n, Errors: n / 2, Rows: 8 * n, Compute: 1500 * n, BytesIn: 100 * n, BytesOut: 10 * n},
	}
}

func quota(limit, combination string, n int64) usage.Quota {
	return usage.Quota{QuotaKey: usage.QuotaKey{Limit: limit, Combination: combination, Period: "2024-10"}, Count: n}
}

// flushOf is a replica's, of noon of the day.
func flushOf(replica string, sequence int64, sums []usage.Row, quotas ...usage.Quota) *usage.Flush {
	return &usage.Flush{Replica: replica, Sequence: sequence, At: today.Start().Add(12 * time.Hour), Sums: sums, Quotas: quotas}
}

func (m *metered) add(t *testing.T, f *usage.Flush) []usage.Quota {
	t.Helper()
	totals, err := m.AddUsage(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(totals, func(a, b usage.Quota) int { return a.Compare(b.QuotaKey) })
	return totals
}

func (m *metered) usage(t *testing.T, q usage.Query) []usage.Row {
	t.Helper()
	rows, err := m.Usage(t.Context(), &q)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// all is everything that is stored of usage.
func (m *metered) all(t *testing.T) []usage.Row {
	t.Helper()
	return m.usage(t, usage.Query{From: math.MinInt64, To: math.MaxInt64, By: usage.By{Tenant: true, Model: true, Day: true}, Limit: math.MaxInt32})
}

func (m *metered) quotas(t *testing.T, keys ...usage.QuotaKey) []usage.Quota {
	t.Helper()
	found, err := m.Quotas(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(found, func(a, b usage.Quota) int { return a.Compare(b.QuotaKey) })
	return found
}

func noUsage(t *testing.T, m *metered) {
	same(t, "usage", []usage.Row{}, m.all(t))
	same(t, "no quotas", []usage.Quota{}, m.quotas(t))
	same(t, "quotas", []usage.Quota{}, m.quotas(t, quota("l", "c", 1).QuotaKey))
	same(t, "totals of nothing", []usage.Quota{}, m.add(t, flushOf("r", 1, nil)))
	if n, err := m.TrimUsage(t.Context(), usage.Old{Usage: math.MaxInt32, Quotas: math.MaxInt32}); n != 0 || err != nil {
		t.Errorf("%d are removed, %v", n, err)
	}
}

func addsUp(t *testing.T, m *metered) {
	same(t, "totals", []usage.Quota{quota("l", "c", 3), quota("l", "d", 4)},
		m.add(t, flushOf("r", 1, []usage.Row{calls("b", "m", today, 1), calls("a", "", today, 2)}, quota("l", "d", 4), quota("l", "c", 3))))
	same(t, "totals after more", []usage.Quota{quota("l", "c", 10), quota("m", "c", 1)},
		m.add(t, flushOf("r", 2, []usage.Row{calls("a", "", today, 3), calls("a", "m", today-1, 1)}, quota("l", "c", 7), quota("m", "c", 1))))
	m.add(t, flushOf("r", 3, []usage.Row{calls("a", "m", today-1, 2), calls("a", "m", today-1, 4)}, quota("l", "e", 1), quota("l", "e", 2))) // twice in one
	for _, s := range []usage.Store{m, m.open(t)} {
		of := &metered{s, m.open}
		// 2 and 3 calls with an error in two each are not those of 5.
		a := calls("a", "", today, 5)
		b := calls("a", "m", today-1, 7)
		a.Errors, b.Errors = 2, 3
		same(t, "usage", []usage.Row{a, calls("b", "m", today, 1), b}, of.all(t))
		same(t, "quotas", []usage.Quota{quota("l", "d", 4), quota("l", "e", 3)},
			of.quotas(t, quota("l", "e", 0).QuotaKey, quota("none", "c", 0).QuotaKey, quota("l", "d", 0).QuotaKey))
	}
}

func flushedAgain(t *testing.T, m *metered) {
	first := flushOf("r", 1, []usage.Row{calls("a", "m", today, 1)}, quota("l", "c", 3))
	m.add(t, first)
	same(t, "totals when it comes again", []usage.Quota{quota("l", "c", 3)}, m.add(t, first))
	m.add(t, flushOf("r", 4, []usage.Row{calls("a", "m", today, 4)}, quota("l", "c", 4)))
	for _, sequence := range []int64{4, 1, 3, 0, -1} {
		late := flushOf("r", sequence, []usage.Row{calls("a", "m", today, 100), calls("other", "m", today, 1)}, quota("l", "c", 100), quota("l", "new", 1))
		same(t, fmt.Sprintf("totals when %d comes late", sequence), []usage.Quota{quota("l", "c", 7)}, (&metered{m.open(t), m.open}).add(t, late))
	}
	want := calls("a", "m", today, 5)
	want.Errors = 2
	same(t, "usage", []usage.Row{want}, m.all(t))
	same(t, "quotas", []usage.Quota{quota("l", "c", 7)}, m.quotas(t, quota("l", "c", 0).QuotaKey, quota("l", "new", 0).QuotaKey))
}

func replicasCount(t *testing.T, m *metered) {
	for n, replica := range []string{"r1", "r2", "R1", "", "r1 "} {
		same(t, replica, []usage.Quota{quota("l", "c", 2*int64(n+1))}, m.add(t, flushOf(replica, 7, []usage.Row{calls("a", "m", today, 2)}, quota("l", "c", 2))))
	}
	same(t, "usage", []usage.Row{calls("a", "m", today, 10)}, m.all(t))
}

// flushedAtOnce has replicas flush the same rows, each in another order, and come again
// where another took too long, or where they did not hear that it was done.
func flushedAtOnce(t *testing.T, m *metered) {
	const replicas, flushes, rows = 3, 12, 20
	var work sync.WaitGroup
	for i := range replicas {
		s := m.open(t)
		var sums []usage.Row
		var quotas []usage.Quota
		for n := range rows {
			sums = append(sums, calls(fmt.Sprint("t", n%4), fmt.Sprint("m", n), today, 2))
			quotas = append(quotas, quota("l", fmt.Sprint(n), 1))
		}
		slices.Reverse(sums[:i*rows/replicas])
		slices.Reverse(quotas[i*rows/replicas:])
		work.Go(func() {
			for sequence := int64(1); sequence <= flushes && t.Context().Err() == nil; {
				f := flushOf(fmt.Sprint("r", i), sequence, sums, quotas...)
				_, err := s.AddUsage(t.Context(), f)
				if err == nil && sequence%3 == 0 {
					_, err = s.AddUsage(t.Context(), f)
				}
				if err == nil {
					sequence++
				}
			}
		})
	}
	work.Wait()
	all := m.all(t)
	if len(all) != rows {
		t.Fatalf("%d rows", len(all))
	}
	for _, row := range all {
		same(t, "a row", calls(row.Tenant, row.Model, today, 2*replicas*flushes).Counts, row.Counts)
	}
	for n := range rows {
		want := quota("l", fmt.Sprint(n), replicas*flushes)
		same(t, "a quota", []usage.Quota{want}, m.quotas(t, want.QuotaKey))
	}
}

// flushBrokenOff has callers go while a flush is being added, wherever it is.
func flushBrokenOff(t *testing.T, m *metered) {
	const flushes = 20
	s, broken, took := m.open(t), 0, time.Millisecond
	for sequence := int64(1); sequence <= flushes; {
		f := flushOf("r", sequence, []usage.Row{calls("a", "m", today, 2), calls("a", "n", today, 2)}, quota("l", "c", 1), quota("l", "d", 1))
		ctx, cancel := context.WithTimeout(t.Context(), rand.N(took)) //nolint:gosec // when it breaks off
		began := time.Now()
		_, err := s.AddUsage(ctx, f)
		cancel()
		if err == nil {
			took = time.Since(began) // as long as one takes
		} else {
			broken++
			if _, err = s.AddUsage(t.Context(), f); err != nil {
				continue // its connection is not free yet
			}
		}
		sequence++
	}
	t.Logf("%d of %d broke off", broken, flushes)
	same(t, "usage", []usage.Row{calls("a", "m", today, 2*flushes), calls("a", "n", today, 2*flushes)}, m.all(t))
	same(t, "quotas", []usage.Quota{quota("l", "c", flushes), quota("l", "d", flushes)}, m.quotas(t, quota("l", "c", 0).QuotaKey, quota("l", "d", 0).QuotaKey))
}

func mostCounted(t *testing.T, m *metered) {
	const most = math.MaxInt64
	full := usage.Counts{Requests: most, Errors: most, Rows: most, Compute: most, BytesIn: most, BytesOut: most}
	key := func(model string) usage.Key { return usage.Key{Tenant: "a", Model: model, Day: today} }
	m.add(t, flushOf("r", 1, []usage.Row{{Key: key("m"), Counts: full}, {Key: key("n"), Counts: usage.Counts{Requests: most - 1, Rows: 1 << 40, Errors: -1}}}, quota("l", "c", most), quota("l", "n", -5)))
	same(t, "totals", []usage.Quota{quota("l", "c", most)}, m.add(t, flushOf("r", 2, []usage.Row{calls("a", "m", today, 1), {Key: key("n"), Counts: usage.Counts{Requests: 1, Rows: 1 << 40}}}, quota("l", "c", 1))))
	n := usage.Row{Key: key("n"), Counts: usage.Counts{Requests: most, Rows: 1 << 41}}
	same(t, "rows", []usage.Row{{Key: key("m"), Counts: full}, n}, m.all(t))
	for _, by := range []usage.By{{Tenant: true}, {Day: true}, {Tenant: true, Day: true}} {
		same(t, fmt.Sprintf("the sum by %+v", by), []usage.Row{{Key: by.Of(key("m")), Counts: full}}, m.usage(t, usage.Query{To: today + 1, By: by, Limit: 10}))
	}
	m.add(t, flushOf("r", 3, []usage.Row{{Key: usage.Key{Tenant: "b", Model: "m", Day: today}, Counts: usage.Counts{Rows: most - 1<<41}}, {Key: usage.Key{Tenant: "b", Model: "n", Day: today}, Counts: usage.Counts{Rows: 1<<41 - 1}}}))
	same(t, "what just can be counted", []usage.Row{{Key: usage.Key{Tenant: "b"}, Counts: usage.Counts{Rows: most - 1}}},
		m.usage(t, usage.Query{Tenant: "b", To: today + 1, By: usage.By{Tenant: true}, Limit: 10}))
}

func hostileUsage(t *testing.T, m *metered) {
	m.add(t, flushOf("r", 1, []usage.Row{calls("a", "m", today, 2)}, quota("l", "c", 1)))
	want := m.all(t)
	for i, text := range []string{
		"' OR ''='", `"; DROP TABLE usage; --`, "%", "_", "\n\r\t\x1b[2J", "ünï ", "a", "A", "é", "\u202e", "🂡", "NULL", "a\x00b", "\xff",
	} {
		f := flushOf("r"+text, 1, []usage.Row{calls(text, text, today, 4)}, usage.Quota{QuotaKey: usage.QuotaKey{Limit: text, Combination: text, Period: text}, Count: 3})
		totals, err := m.AddUsage(t.Context(), f)
		if usage.Plain(text) != text {
			if err != nil {
				same(t, fmt.Sprintf("%q was refused", text), want, m.all(t))
				continue
			}
		} else if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		want = append(want, calls(text, text, today, 4))
		slices.SortFunc(want, func(a, b usage.Row) int { return a.Compare(b.Key) })
		same(t, fmt.Sprintf("%d: usage with %q", i, text), want, m.all(t))
		same(t, fmt.Sprintf("totals of %q", text), f.Quotas, totals)
		same(t, fmt.Sprintf("quotas of %q", text), f.Quotas, m.quotas(t, f.Quotas[0].QuotaKey))
		same(t, fmt.Sprintf("usage of %q", text), []usage.Row{calls(text, text, today, 4)},
			m.usage(t, usage.Query{Tenant: text, To: today + 1, By: usage.By{Tenant: true, Model: true, Day: true}, Limit: 1}))
	}
	for _, text := range []string{"b\x00", "\xfe", "none"} {
		same(t, "usage of nobody", []usage.Row{}, m.usage(t, usage.Query{Tenant: text, To: today + 1, By: usage.By{Day: true}, Limit: 10}))
		same(t, "quotas of nobody", []usage.Quota{quota("l", "c", 1)},
			m.quotas(t, usage.QuotaKey{Limit: text, Combination: text, Period: text}, quota("l", "c", 0).QuotaKey))
		after := usage.Key{Tenant: text, Model: text, Day: 0}
		if _, err := m.Usage(t.Context(), &usage.Query{To: today + 1, By: usage.By{Day: true}, After: &after, Limit: 10}); err != nil {
			t.Errorf("after %q: %v", text, err)
		}
	}
}

// asked holds every query to what the one in memory answers.
func asked(t *testing.T, m *metered) {
	var reference usagetest.Store
	var sums []usage.Row
	for n := range int64(60) {
		sums = append(sums, calls([]string{"a", "a-b", "ab", usage.Others}[n%4], []string{"", "m", "m-2", "m2"}[n/4%4], today-usage.Day(n%7), n))
	}
	f := flushOf("r", 1, sums)
	m.add(t, f)
	if _, err := reference.AddUsage(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	for mask := range 8 {
		by := usage.By{Tenant: mask&1 > 0, Model: mask&2 > 0, Day: mask&4 > 0}
		for _, tenant := range []string{"", "a", "ab", "none"} {
			for _, span := range [][2]usage.Day{{0, today + 1}, {today - 3, today - 1}, {today - 2, today - 1}, {today, today}, {today, today - 3}, {math.MinInt64, math.MaxInt64}} {
				q := usage.Query{Tenant: tenant, From: span[0], To: span[1], By: by, Limit: 1000}
				want, err := reference.Usage(t.Context(), &q)
				if err != nil {
					t.Fatal(err)
				}
				same(t, fmt.Sprintf("%+v", q), want, m.usage(t, q))
				q.Limit = 2 + mask
				same(t, fmt.Sprintf("%+v, page by page", q), want, m.pages(t, q))
			}
		}
	}
}

// pages are all pages of a query.
func (m *metered) pages(t *testing.T, q usage.Query) (all []usage.Row) {
	t.Helper()
	for {
		page := m.usage(t, q)
		if len(page) > q.Limit {
			t.Errorf("a page of %d", len(page))
		}
		all = append(all, page...)
		if len(page) < q.Limit {
			return all
		}
		q.After = &page[len(page)-1].Key
	}
}

func trimmedUsage(t *testing.T, m *metered) {
	const many = usage.TrimPage + 5
	var sums []usage.Row
	var quotas []usage.Quota
	for n := range many {
		sums = append(sums, calls("a", fmt.Sprint("m", n), today-100, 2))
		quotas = append(quotas, quota("l", fmt.Sprint(n), 1))
	}
	old := flushOf("old", 1, sums, quotas...)
	old.At = old.At.AddDate(0, 0, -100)
	m.add(t, old)
	m.add(t, flushOf("new", 1, []usage.Row{calls("a", "m0", today, 2), calls("b", "m0", today-10, 2)}, quotas[0], quota("new", "c", 2)))
	for i, want := range []int64{0, usage.TrimPage + usage.TrimPage + 1, 5 + 4, 0} {
		before := usage.Old{Usage: today - 10, Quotas: today - 35, Flush: today.Start()}
		if i == 0 {
			before = usage.Old{Usage: today - 100, Quotas: today - 100, Flush: old.At}
		}
		if n, err := m.TrimUsage(t.Context(), before); err != nil || n != want {
			t.Errorf("step %d: %d are removed, %v; want %d", i, n, err, want)
		}
	}
	same(t, "usage", []usage.Row{calls("a", "m0", today, 2), calls("b", "m0", today-10, 2)}, m.all(t))
	same(t, "quotas", []usage.Quota{quota("l", "0", 2), quota("new", "c", 2)}, m.quotas(t, quotas[0].QuotaKey, quotas[1].QuotaKey, quota("new", "c", 0).QuotaKey))
	same(t, "a replica that is not old is known", []usage.Quota{quota("new", "c", 2)}, m.add(t, flushOf("new", 1, nil, quota("new", "c", 1))))
}

func cancelledUsage(t *testing.T, m *metered) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"AddUsage": func() error {
			_, err := m.AddUsage(ctx, flushOf("r", 1, []usage.Row{calls("a", "m", today, 2)}, quota("l", "c", 1)))
			return err
		},
		"Usage": func() error {
			_, err := m.Usage(ctx, &usage.Query{To: today + 1, By: usage.By{Day: true}, Limit: 1})
			return err
		},
		"Quotas":    func() error { _, err := m.Quotas(ctx, []usage.QuotaKey{quota("l", "c", 0).QuotaKey}); return err },
		"TrimUsage": func() error { _, err := m.TrimUsage(ctx, usage.Old{Usage: today}); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	same(t, "usage", []usage.Row{}, m.all(t))
}
