package batch

import (
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// class is the requests of one queue that may share runs. Its fields are under
// Scheduler.mu, but for those that never change.
type class struct {
	q      *Queue
	wanted []string
	joins  bool
	most   int // rows of one run
	costs  *costs

	lines  map[string]*line // by tenant
	items  int              // waiting
	rows   int              // waiting
	runs   int              // under way
	inRuns int              // rows under way
	used   time.Time
	linger linger
	light  time.Time // until when small batches are kept for a tenant with little
}

// costs are the curves of runs of one shape: with nothing else running, and with
// every slot in use.
type costs struct {
	alone, busy curve
	low, high   int // what pays of busy, as of a few runs ago
	runs        int
	warm        [maxRows + 1]bool // sizes that have run
	rowBytes    int64             // of the outputs, the most seen
}

// Bounds on what a queue remembers.
const (
	maxClasses = 256
	maxCosts   = 64
)

// class finds or makes the class of a form.
func (q *Queue) class(f *form, wanted []string, inputs []infer.Tensor) *class {
	c := q.classes[string(f.key)]
	if c == nil {
		if len(q.classes) >= maxClasses {
			q.forgetClass()
		}
		c = &class{
			q: q, wanted: wanted, joins: f.joins, most: q.most(f, inputs),
			costs: q.costsOf(f), lines: map[string]*line{},
		}
		q.classes[string(f.key)] = c
	}
	return c
}

// forgetClass drops the idle class that was used longest ago. What its runs cost
// is kept apart.
func (q *Queue) forgetClass() {
	var oldest string
	var found *class
	for key, c := range q.classes {
		if c.items == 0 && c.runs == 0 && (found == nil || c.used.Before(found.used)) {
			oldest, found = key, c
		}
	}
	delete(q.classes, oldest)
}

// costsOf finds or makes the costs of a shape. The first are the example's, and
// others are scaled from it until they are seen.
func (q *Queue) costsOf(f *form) *costs {
	key := string(f.key[:f.shape])
	if c := q.costs[key]; c != nil {
		return c
	}
	if len(q.costs) >= maxCosts {
		clear(q.costs) // each is learned again in a few runs
	}
	scale := 1.0
	if q.example > 0 && f.elements > 0 {
		scale = float64(f.elements) / float64(q.example)
	}
	c := &costs{alone: newCurve(q.m.Points, scale, false), busy: newCurve(q.m.Points, scale, true)}
	q.costs[key] = c
	return c
}

// exampleElements counts the elements of one row of the example inputs; 0 when
// they are not known.
func exampleElements(sig *infer.Signature) int64 {
	var sum int64
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		if spec.Optional {
			continue
		}
		t := infer.Tensor{Shape: spec.Example}
		if spec.Example == nil {
			t.Shape = spec.Shape
		}
		n := t.Elements()
		if n < 0 {
			return 0
		}
		if sig.BatchAxis != nil && !spec.Unbatched && len(t.Shape) > batchAxis && t.Shape[batchAxis] > 0 {
			n /= t.Shape[batchAxis]
		}
		sum += n
	}
	return sum
}

// cost is the curve for a run beside others that use so many slots in all.
func (c *costs) cost(slots int) *curve {
	if slots > 1 && c.busy.known || !c.alone.known {
		return &c.busy
	}
	return &c.alone
}

// run is the time of a run of so many rows beside others that use so many slots
// in all. A size that was only ever seen beside others is taken to be as much
// quicker alone as one row is; when none was ever seen alone it is hoped to be
// quicker, or it would never be tried.
func (c *costs) run(slots, rows int) float64 {
	if slots == 1 && !c.alone.known {
		return hope * c.busy.run(rows)
	}
	if i, _ := knot(rows); slots == 1 && c.alone.known && c.busy.known && c.alone.seen[i] == 0 && c.busy.seen[i] > 0 {
		return c.busy.run(rows) * c.alone.run(1) / c.busy.run(1)
	}
	return c.cost(slots).run(rows)
}

const hope = 0.6

// cold reports whether a run of so many rows that starts now prepares for its
// shape, or waits for one that does. On a GPU that takes a hundred times the run.
func (c *costs) cold(rows int) bool { return !c.warm[min(rows, maxRows)] }

// waited is how many times what was expected a run takes that started cold and
// waited for its shape, at least.
const waited = 4

// observe learns from a run that went well, beside which so much of the other
// slots was in use, 0 to 1. The first of its size, and those that waited for it,
// tell nothing of others.
func (c *costs) observe(rows int, took time.Duration, others float64, outputs int64, cold bool) {
	c.rowBytes = max(c.rowBytes, outputs/int64(max(rows, 1)))
	first := c.cold(rows)
	c.warm[min(rows, maxRows)] = true
	if first || cold && float64(took) > waited*c.cost(2).run(rows) { // where nothing is known, any
		return
	}
	c.runs++
	t := float64(took)
	if c.alone.known && c.busy.known {
		times := t / ((1-others)*c.alone.run(rows) + others*c.busy.run(rows))
		c.alone.correct(rows, times, 1-others)
		c.busy.correct(rows, times, others)
		return
	}
	switch {
	case others >= 0.5 && c.busy.known:
		c.busy.correct(rows, t/c.busy.run(rows), 1)
	case others >= 0.5:
		c.busy.begin(rows, t)
	case others < 0.2 && c.alone.known:
		c.alone.correct(rows, t/c.alone.run(rows), 1)
	case others < 0.2:
		c.alone.begin(rows, t)
	}
}

// settle is how many runs pass before what pays is looked at again, so that
// noise does not turn it about.
const settle = 16

// pays is which sizes pay under load, of at most most rows.
func (c *costs) pays(most int) (low, high int) {
	if c.runs%settle == 0 || c.low == 0 {
		curve := c.cost(2)
		c.low, c.high = curve.pays(min(most, curve.reach()))
	}
	return min(c.low, most), min(c.high, most)
}

// join puts an item into its tenant's line.
func (c *class) join(it *item) {
	l := c.lineOf(it.tenant)
	if len(l.items) == 0 {
		it.tenant.lines = append(it.tenant.lines, l)
		if c.rows+c.inRuns >= c.low() && it.tenant.waiting == 0 && it.tenant.running == 0 {
			c.light = it.arrived.Add(lightTime)
		}
	}
	l.insert(it)
	it.line = l
	c.items++
	c.rows += it.rows
	c.used = it.arrived
	c.q.waiting++
	c.q.metrics.waiting(1)
	c.linger.arrived()
	c.q.s.fair.entered(it.tenant)
}

// leave takes a waiting item out of its line.
func (c *class) leave(it *item) {
	l := it.line
	if !l.remove(it) {
		return
	}
	it.line = nil
	if len(l.items) == 0 {
		l.tenant.dropLine(l)
		c.forgetLine(l)
	}
	c.items--
	c.rows -= it.rows
	c.q.waiting--
	c.q.metrics.waiting(-1)
	c.q.s.fair.left(it.tenant)
	c.q.s.fair.forget(it.tenant)
}

// lineOf finds or makes a tenant's line. A tenant that was forgotten meanwhile
// finds what is known of it.
func (c *class) lineOf(t *tenant) *line {
	l := c.lines[t.name]
	if l == nil {
		l = &line{class: c}
		c.lines[t.name] = l
	}
	l.tenant = t
	return l
}

// keptLines are kept when they are empty, for the next request.
const keptLines = 16

// forgetLine drops an empty line that says nothing of its tenant.
func (c *class) forgetLine(l *line) {
	if len(l.items) == 0 && l.alone == 0 && len(c.lines) > keptLines {
		delete(c.lines, l.tenant.name)
	}
}

func (t *tenant) dropLine(l *line) {
	for i := range t.lines {
		if t.lines[i] == l {
			last := len(t.lines) - 1
			t.lines[i] = t.lines[last]
			t.lines[last] = nil
			t.lines = t.lines[:last]
			return
		}
	}
}

// low is the least size that pays.
func (c *class) low() int {
	if c.q.m.MaxRows > 0 {
		return c.most
	}
	low, _ := c.costs.pays(c.most)
	return low
}

// lightTime is how long after a tenant with little called beside a backlog of
// others batches are kept short for it, and lightCost how long they may take, by
// a run of one row: with the run before it and its own, the light tenant's
// answer takes about twice as long.
const (
	lightTime = 10 * time.Second
	lightCost = 1.25
)

// limit is how many rows a batch is made of at most.
func (c *class) limit(now time.Time) int {
	limit := c.low()
	if c.q.m.MaxRows == 0 {
		if c.costs.runs%probe == probe-1 {
			limit = min(2*limit, c.most, c.costs.cost(2).reach())
		}
		if now.Before(c.light) {
			limit = min(limit, c.costs.cost(2).within(lightCost, c.most))
		}
	}
	if bytes := c.q.m.MaxOutput; bytes > 0 && c.costs.rowBytes > 0 {
		limit = min(limit, int(max(bytes/c.costs.rowBytes, 1)))
	}
	return limit
}

// probe is how often a batch is made larger than what is known to pay, to see
// whether that still holds.
const probe = 64

// part is the size of the parts that a request of so many rows is run in; the
// rows themselves when it is run whole. Rows past what pays gain nothing by one
// long run, and in parts they use every slot.
func (c *class) part(rows int) int {
	switch {
	case !c.joins || rows < 2 || c.q.whole || c.q.m.MaxRows == 1:
		return rows
	case c.q.m.MaxRows > 0:
		return min(rows, c.most)
	}
	low, high := c.costs.pays(c.most)
	curve := c.costs.cost(1)
	if rows <= c.most && (!curve.known || curve.run(rows) < float64(worthSplitting)) {
		return rows
	}
	per := max(low, min(high, ceilDiv(rows, c.q.s.cfg.Slots)), ceilDiv(rows, maxParts))
	return min(rows, per)
}

// maxParts bounds the parts of one request.
const maxParts = 1024

// worthSplitting is the time of a run below which its parts would cost more than
// they save.
const worthSplitting = 2 * time.Millisecond
