package batch

import (
	"slices"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// class is the requests of one tenant in one queue that may share runs. Its
// fields are under Scheduler.mu, but for those that never change.
type class struct {
	q      *Queue
	owner  *owner
	tenant *tenant // as of its last request
	wanted []string
	joins  bool
	ragged bool // lengths in it may differ
	most   int  // rows of one run
	costs  *costs

	items   []*item // waiting, the next to run first
	alone   int     // how many more run alone, after one that made a batch fail
	rows    int     // waiting
	runs    int     // under way
	inRuns  int     // rows under way
	used    time.Time
	linger  linger
	outputs [][]int64 // their shapes beyond the rows, as seen alone; nil when they were not

	evidence evidence
}

// owner is what one tenant has in one queue.
type owner struct {
	tenant  string
	classes int
	waiting int // items
	refused int // by evidence, in a row
}

// costs are the curves of runs of one shape: with nothing else running, and with
// every slot in use. They begin with what was measured elsewhere, of the
// example's shape: how sizes compare is taken from it, and how long they take
// only once runs were seen here.
type costs struct {
	alone, busy curve
	low, high   int // what pays of busy, as of a few runs ago
	runs        int
	warm        [maxRows + 1]bool // sizes that have run
	rowBytes    int64             // of the outputs, the most seen lately

	classes int // that have them
	used    time.Time
}

// Bounds on what a queue remembers. Classes beyond it are of requests that wait
// or run, and costs beyond it of classes.
const (
	maxClasses = 256
	maxCosts   = 64
)

// class finds or makes the class of a form.
func (q *Queue) class(f *form, req *infer.Request, wanted []string) *class {
	c := q.classes[string(f.key)]
	if c != nil {
		return c
	}
	if len(q.classes) >= maxClasses {
		q.forgetClass()
	}
	o := q.owners[req.Tenant]
	if o == nil {
		o = &owner{tenant: req.Tenant}
		q.owners[req.Tenant] = o
	}
	o.classes++
	c = &class{q: q, owner: o, wanted: wanted, joins: f.joins, ragged: f.ragged, most: q.most(f, req.Inputs), costs: q.costsOf(f)}
	c.costs.classes++
	q.classes[string(f.key)] = c
	return c
}

// forgetClass drops the idle class that was used longest ago, of those who have
// most: a tenant with ever new shapes takes no other's place. What its runs cost
// is kept apart; what its requests were refused by goes with it.
func (q *Queue) forgetClass() {
	var oldest string
	var found *class
	for key, c := range q.classes {
		if len(c.items) > 0 || c.runs > 0 {
			continue
		}
		if found == nil || c.owner.classes > found.owner.classes ||
			c.owner.classes == found.owner.classes && c.used.Before(found.used) {
			oldest, found = key, c
		}
	}
	if found == nil {
		return
	}
	delete(q.classes, oldest)
	found.costs.classes--
	if found.owner.classes--; found.owner.classes == 0 {
		delete(q.owners, found.owner.tenant)
	}
}

// costsOf finds or makes the costs of a shape.
func (q *Queue) costsOf(f *form) *costs {
	c := q.costs[string(f.key[:f.shape])]
	if c != nil {
		return c
	}
	if len(q.costs) >= maxCosts {
		q.forgetCosts()
	}
	c = &costs{alone: newCurve(q.m.Points, false), busy: newCurve(q.m.Points, true)}
	q.costs[string(f.key[:f.shape])] = c
	return c
}

// forgetCosts drops those that no class has, and were used longest ago.
func (q *Queue) forgetCosts() {
	var oldest string
	var found *costs
	for key, c := range q.costs {
		if c.classes == 0 && (found == nil || c.used.Before(found.used)) {
			oldest, found = key, c
		}
	}
	delete(q.costs, oldest)
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
// quicker alone as one row is. Where none was ever seen alone it is assumed to be
// unseenAloneFactor of that, or it would never be tried.
func (c *costs) run(slots, rows int) float64 {
	if slots == 1 && !c.alone.known {
		return unseenAloneFactor * c.busy.run(rows)
	}
	if i, _ := knot(rows); slots == 1 && c.alone.known && c.busy.known && c.alone.seen[i] == 0 && c.busy.seen[i] > 0 {
		return c.busy.run(rows) * c.alone.run(1) / c.busy.run(1)
	}
	return c.cost(slots).run(rows)
}

// unseenAloneFactor is a run's assumed time with nothing beside it, as a part of
// its time beside others, until one was seen. At 1 such a run would never look
// better and so never be tried; the smaller it is, the longer a model on which it
// is not quicker runs one batch at a time before that is learned.
// TestNoFixedSizeIsBetter holds what is learned from there.
const unseenAloneFactor = 0.6

// cold reports whether a run of so many rows that starts now prepares for its
// shape, or waits for one that does. On a GPU that takes a hundred times the run.
func (c *costs) cold(rows int) bool { return !c.warm[min(rows, maxRows)] }

// coldOutlierFactor is how many times the expected time a run that started cold
// takes, at least, where it waited for its shape's plans: it is not learned from.
// Such runs took a hundred times as long on an H100 (TestPlansAreNotLearned: 0.79
// of the best fixed size with them, 0.98 without). A correction of a curve is
// limited to 4 times as well, so a run beyond it would be learned wrong in any
// case.
const coldOutlierFactor = 4

// sample is a run that went well.
type sample struct {
	rows   int
	took   time.Duration
	others float64 // how much of the other slots was in use beside it, 0 to 1
	bytes  int64   // of the outputs
	cold   bool    // it started among the first of its size
}

// observe learns from a run. The first of its size, and those that waited for
// it, are not typical of others: learned is false for them.
func (c *costs) observe(s sample) (learned bool) {
	c.rowBytes = max(c.rowBytes-c.rowBytes/64, s.bytes/int64(max(s.rows, 1)))
	first := c.cold(s.rows)
	c.warm[min(s.rows, maxRows)] = true
	t := float64(s.took)
	if first || s.cold && (!c.seen() || t > coldOutlierFactor*c.cost(2).run(s.rows)) {
		return false
	}
	if c.alone.known && c.busy.known {
		expected := (1-s.others)*c.alone.run(s.rows) + s.others*c.busy.run(s.rows)
		if !c.seen() { // how long it takes here is not yet known at all
			c.alone.scale(t / expected)
			c.busy.scale(t / expected)
			expected = t
		}
		c.runs++
		c.alone.correct(s.rows, t/expected, 1-s.others)
		c.busy.correct(s.rows, t/expected, s.others)
		return true
	}
	c.runs++
	switch {
	case s.others >= 0.5 && c.busy.known:
		c.busy.correct(s.rows, t/c.busy.run(s.rows), 1)
	case s.others >= 0.5:
		c.busy.begin(s.rows, t)
	case s.others < 0.2 && c.alone.known:
		c.alone.correct(s.rows, t/c.alone.run(s.rows), 1)
	case s.others < 0.2:
		c.alone.begin(s.rows, t)
	}
	return true
}

// seen reports whether runs of the shape were seen here. Until then curves show
// how sizes compare, and not how long they take.
func (c *costs) seen() bool { return c.runs > 0 }

// reevaluateEvery is how many runs pass before the sizes that pay are computed
// again. Fewer let the noise of single runs change the size of every batch; more
// follow a change of the machine later.
const reevaluateEvery = 16

// pays is which sizes pay under load, of at most most rows.
func (c *costs) pays(most int) (low, high int) {
	if c.runs%reevaluateEvery == 0 || c.low == 0 {
		curve := c.cost(2)
		c.low, c.high = curve.pays(min(most, curve.reach()))
	}
	return min(c.low, most), min(c.high, most)
}

// join puts an item into its class, by urgency and arrival.
func (c *class) join(it *item) {
	q, t := c.q, c.tenant
	if t.waiting == 0 && t.running == 0 && q.rows+q.inRuns >= c.low() {
		q.smallBatchesUntil = it.arrived.Add(smallBatchesFor)
	}
	if len(c.items) == 0 {
		t.classes = append(t.classes, c)
	}
	at := len(c.items)
	for at > 0 && it.before(c.items[at-1]) {
		at--
	}
	c.items = slices.Insert(c.items, at, it)
	it.waits = true
	c.count(it, 1)
	c.used, c.costs.used = it.arrived, it.arrived
	c.linger.arrived()
	q.s.fair.entered(t)
}

// leave takes a waiting item out of its class.
func (c *class) leave(it *item) {
	at := slices.Index(c.items, it)
	if at < 0 {
		return
	}
	c.items = slices.Delete(c.items, at, at+1)
	it.waits = false
	if len(c.items) == 0 {
		c.tenant.dropClass(c)
	}
	c.count(it, -1)
	c.q.s.fair.left(c.tenant)
	c.q.s.fair.forget(c.tenant)
}

// count counts an item that waits, or waits no more.
func (c *class) count(it *item, by int) {
	c.rows += by * it.rows
	c.q.rows += by * it.rows
	c.q.waiting += by
	c.owner.waiting += by
	c.q.metrics.waiting(float64(by))
}

// low is the least size that pays.
func (c *class) low() int {
	if c.q.m.MaxRows > 0 {
		return c.most
	}
	low, _ := c.costs.pays(c.most)
	return low
}

// smallBatchesFor is how long after a tenant with little called beside a backlog
// of others the model's batches are kept short for it, and smallBatchCost how long
// they may take, as a multiple of a run of one row. With the run before it and its
// own, the light tenant's answer takes about twice as long as alone. More would let
// batches gain more, and break the bound of 3 on the light tenant's 99th percentile
// that TestShares and `make bench` hold.
const (
	smallBatchesFor = 10 * time.Second
	smallBatchCost  = 1.25
)

// limit is how many rows a batch is made of at most.
func (c *class) limit(now time.Time) int {
	limit := c.low()
	if c.q.m.MaxRows == 0 {
		if c.costs.runs%probeEvery == probeEvery-1 {
			limit = min(2*limit, c.most, c.costs.cost(2).reach())
		}
		if now.Before(c.q.smallBatchesUntil) {
			limit = min(limit, c.costs.cost(2).within(smallBatchCost, c.most))
		}
	}
	if bytes := c.q.m.MaxOutput; bytes > 0 && c.costs.rowBytes > 0 {
		limit = min(limit, int(max(bytes/c.costs.rowBytes, 1)))
	}
	return limit
}

// probeEvery is how many runs pass between batches larger than what is known to
// pay, and between tries of the next best plan (see probeRuns): a run in 64 may
// cost more than it had to, and a change of the machine is seen that much later.
const probeEvery = 64

// part is the size of the parts that a request of so many rows is run in; the
// rows themselves when it is run whole. Rows past what pays gain nothing by one
// long run, and in parts they use every slot.
func (c *class) part(rows int) int {
	switch {
	case !c.joins || rows < 2 || c.q.rules.whole.Load() || c.q.m.MaxRows == 1:
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

// maxParts bounds the parts of one request that are kept until they are joined,
// and those that it is run in where their size is ours to choose.
const maxParts = 1024

// worthSplitting is the time of a run below which its parts would cost more than
// they save.
const worthSplitting = 2 * time.Millisecond
