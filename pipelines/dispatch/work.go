package dispatch

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

const (
	atOnce    = 64                     // rows that are taken at once
	deciding  = 32                     // decisions at once, beside those of posts
	notYet    = 500 * time.Millisecond // until a row is looked at again that could not be gone on with
	maxLater  = 4096                   // rows that wait for that
	storeWait = time.Second            // after the database was away
	storeTime = 30 * time.Second       // one call of the database
	returning = 5 * time.Second        // giving back what was taken, at the end
	patience  = 2 * time.Second        // for which an execution keeps its place while its channels are made
	longest   = 30 * time.Second       // between two tries to begin an execution
)

// run looks at what is due until Stop.
func (d *Dispatcher) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wakes:
		case <-timer.C:
		}
		wait := d.turn(ctx)
		timer.Reset(wait)
	}
}

// turn does what is due, and returns when to look again.
func (d *Dispatcher) turn(ctx context.Context) time.Duration {
	d.mu.Lock()
	if !d.next.After(time.Now()) {
		d.next = time.Time{}
	}
	d.mu.Unlock()
	d.again(ctx)
	d.look(ctx)
	for {
		more, err := d.claim(ctx)
		if err == nil {
			var admitted bool
			admitted, err = d.admit(ctx)
			more = more || admitted
		}
		if err != nil {
			d.trouble(ctx, "what is due could not be taken", err)
			return storeWait
		}
		if !more || ctx.Err() != nil {
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	wait := d.cfg.Poll
	if !d.next.IsZero() {
		wait = max(min(wait, time.Until(d.next)), 0)
	}
	for _, l := range d.later {
		wait = max(min(wait, time.Until(l.at)), 0)
	}
	return wait
}

// trouble logs that the database is away, once for each time that it is.
func (d *Dispatcher) trouble(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	d.metrics.failures.Inc()
	d.mu.Lock()
	quiet := time.Since(d.lastFail) < time.Minute
	if !quiet {
		d.lastFail = time.Now()
	}
	d.mu.Unlock()
	if !quiet {
		d.Logger.ErrorContext(ctx, what, "error", err)
	}
}

// claim takes rows that are due, and reports whether there may be more.
func (d *Dispatcher) claim(ctx context.Context) (bool, error) {
	most := min(d.posts.room(), atOnce)
	if most == 0 {
		return false, nil
	}
	until := time.Now().Add(d.cfg.Hold)
	calling, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	rows, err := d.Store.Claim(calling, most, d.cfg.Hold)
	if err != nil {
		return false, err
	}
	d.take(ctx, rows, until)
	return len(rows) == most, nil
}

// take goes on with rows that were taken until a time, each in a goroutine of its own. It
// waits where there are too many of these.
func (d *Dispatcher) take(ctx context.Context, rows []execution.Branch, until time.Time) {
	for _, row := range rows {
		d.metrics.taken(row)
		d.onward(ctx, row, until)
	}
}

func (d *Dispatcher) onward(ctx context.Context, row execution.Branch, until time.Time) {
	if !d.aside(ctx, func() { d.row(ctx, row, until) }) {
		d.postpone(row, until)
	}
}

// aside runs something in a goroutine of its own, as soon as there are few enough. It is
// false where the process ends before.
func (d *Dispatcher) aside(ctx context.Context, run func()) bool {
	select {
	case d.deciding <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	d.work.Go(func() {
		defer func() { <-d.deciding }()
		run()
	})
	return true
}

// row goes on with one row. What cannot be done now is done when the row comes again.
func (d *Dispatcher) row(ctx context.Context, row execution.Branch, until time.Time) {
	var err error
	switch row.What {
	case execution.Start:
		err = d.begin(ctx, row, until)
	case execution.Send:
		err = d.send(ctx, row, until)
	case execution.Lease:
		err = d.decide(ctx, row.BranchID, func(ctx context.Context, s *decide.State) (execution.Change, error) {
			b, ok := s.Branch(row.BranchID)
			if !ok {
				return execution.Change{}, nil
			}
			if f := d.lost(s.Execution, b); f != nil {
				return s.Version.Machine.Failed(s.Execution, s.Branches, *f, s.Evaluator(ctx, nil), s.Now)
			}
			return s.Version.Machine.Expired(s.Execution, s.Branches, b, s.Evaluator(ctx, nil), s.Now)
		})
	case execution.End:
		err = d.end(ctx, row.Execution, func(l *record.Loaded) execution.Change { return execution.TimeOut(l.Execution, l.Branches, l.Now) })
	}
	if err != nil && !errors.Is(err, record.ErrNotFound) {
		d.trouble(ctx, "what is due of an execution could not be done; it comes again", err)
		d.postpone(row, until)
	}
}

// lost is the failure of a call that is answered later and was not, and may not be made
// again; nil is none.
func (d *Dispatcher) lost(x *execution.Execution, b execution.Branch) *execution.Failure {
	if x.Pipeline != "" || d.Calls == nil {
		return nil
	}
	f := d.Calls.Lost(x)
	if f != nil {
		f.Answer = execution.Answer{Segment: b.Segment, Item: b.Item, Epoch: b.Epoch}
	}
	return f
}

// decide decides within a bound of time, which do's context has too.
func (d *Dispatcher) decide(ctx context.Context, cause execution.BranchID, do func(context.Context, *decide.State) (execution.Change, error)) error {
	calling, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return d.Decider.Decide(calling, cause, func(s *decide.State) (execution.Change, error) { return do(calling, s) })
}

// end decides whether an execution ends, likewise.
func (d *Dispatcher) end(ctx context.Context, id string, do func(*record.Loaded) execution.Change) error {
	calling, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return d.Decider.End(calling, id, func(l *record.Loaded) (execution.Change, error) { return do(l), nil })
}

// admit begins executions that may, as many as there is room for, and reports whether
// there may be more.
func (d *Dispatcher) admit(ctx context.Context) (bool, error) {
	most := min(d.posts.room(), atOnce)
	if most == 0 {
		return false, nil
	}
	until := time.Now().Add(d.cfg.Hold)
	calling, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	rows, err := d.Store.Admit(calling, record.Admission{Most: most, PerTenant: d.cfg.Running, Hold: d.cfg.Hold})
	if err != nil {
		return false, err
	}
	d.take(ctx, rows, until)
	return len(rows) > 0, nil // what begins is due at once
}

// begin begins an execution, once its version can be read and the channels of its first
// segments are there. One that waits for that queues again after a moment, so that its
// place is another's, and ends as failed in the end: what was accepted has an end.
func (d *Dispatcher) begin(ctx context.Context, row execution.Branch, until time.Time) error {
	var waits error
	err := d.decide(ctx, row.BranchID, func(ctx context.Context, s *decide.State) (execution.Change, error) {
		if waits = d.ready(ctx, s); waits != nil {
			return execution.Change{}, nil //nolint:nilerr // it is asked again
		}
		return s.Version.Machine.Begin(s.Execution, s.Branches, s.Evaluator(ctx, nil), s.Now)
	})
	taken := d.cfg.Hold - time.Until(until) // for how long
	switch {
	case err == nil && waits == nil:
		return nil
	case errors.Is(err, record.ErrNotFound) || errors.Is(err, record.ErrUnavailable) || errors.Is(err, record.ErrConflict) || ctx.Err() != nil:
		return err
	case row.Attempts == 0 && taken < min(patience, d.cfg.Unready):
		d.postpone(row, until)
		return nil
	case tried(row.Attempts) < d.cfg.Unready:
		if row.Attempts == 0 {
			d.Logger.WarnContext(ctx, "an execution cannot begin; it is tried again", "execution", row.Execution, "error", errors.Join(err, waits))
		}
		after := pause(row.Attempts)
		row.Attempts++
		calling, cancel := context.WithTimeout(ctx, storeTime)
		defer cancel()
		return d.Store.Return(calling, []execution.Branch{row}, after)
	}
	d.Logger.ErrorContext(ctx, "an execution could not begin and ends as failed", "execution", row.Execution, "error", errors.Join(err, waits))
	p := execution.Of(problem.New(problem.Unavailable, "the pipeline's version could not be begun for %s: its channels are not there, or its definition cannot be read. Register the pipeline again, and replay this execution", d.cfg.Unready))
	return d.end(ctx, row.Execution, func(l *record.Loaded) execution.Change {
		return execution.Fail(l.Execution, l.Branches, p, l.Now)
	})
}

// pause is until an execution is tried again that could not begin so often before.
// Channels are mostly there within some seconds.
func pause(tries int) time.Duration { return min(time.Second<<min(tries/3, 10), longest) }

// tried is how long that has been, at least. The row has the count, so that it goes on in
// whatever process has it next.
func tried(tries int) time.Duration {
	all := patience
	for i := range tries {
		all += pause(i)
	}
	return all
}

// ready returns why a version cannot run yet.
func (d *Dispatcher) ready(ctx context.Context, s *decide.State) error {
	for i, segment := range s.Version.Plan.Segments {
		if segment.Outside {
			continue
		}
		if _, _, err := d.first(ctx, s, i, 0); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dispatcher) first(ctx context.Context, s *decide.State, segment, step int) (url, host string, err error) {
	return d.Channels.First(ctx, s.Version.ID.Owner, s.Version.ID.Name, s.Version.ID.Number, segment, step)
}

// postpone has a row gone on with a little later, as long as it is taken.
func (d *Dispatcher) postpone(row execution.Branch, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := time.Now().Add(notYet); at.Before(until) && len(d.later) < maxLater {
		d.later = append(d.later, later{row, at, until})
	}
}

// giveBack gives back what was postponed, as long as it is taken, so that whoever runs next
// need not wait for that to end.
func (d *Dispatcher) giveBack(ctx context.Context) {
	d.mu.Lock()
	all := d.later
	d.later = nil
	d.mu.Unlock()
	rows := make([]execution.Branch, 0, len(all))
	for _, l := range all {
		if time.Until(l.until) > 0 {
			rows = append(rows, l.row)
		}
	}
	calling, cancel := context.WithTimeout(context.WithoutCancel(ctx), returning)
	defer cancel()
	for some := range slices.Chunk(rows, record.MaxBatch) {
		if err := d.Store.Return(calling, some, 0); err != nil {
			d.Logger.WarnContext(calling, "what was taken could not be given back; it comes again by itself", "rows", len(rows), "error", err)
			return
		}
	}
}

// again goes on with rows that were postponed.
func (d *Dispatcher) again(ctx context.Context) {
	now := time.Now()
	d.mu.Lock()
	var due []later
	left := d.later[:0]
	for _, l := range d.later {
		if l.at.After(now) {
			left = append(left, l)
		} else {
			due = append(due, l)
		}
	}
	d.later = left
	d.mu.Unlock()
	for _, l := range due {
		d.onward(ctx, l.row, l.until)
	}
}

// Noticed reports that an execution may have changed in another replica: where it has
// ended, what is on its way for it here is cut off. It waits for nothing.
func (d *Dispatcher) Noticed(id string) {
	d.mu.Lock()
	ours := false
	for branch := range d.sent {
		ours = ours || branch.Execution == id
	}
	if ours {
		d.noticed[id] = true
	}
	d.mu.Unlock()
	if ours {
		d.Wake()
	}
}

// look looks at the executions that were noticed.
func (d *Dispatcher) look(ctx context.Context) {
	d.mu.Lock()
	noticed := d.noticed
	d.noticed = map[string]bool{}
	d.mu.Unlock()
	for id := range noticed {
		d.aside(ctx, func() {
			calling, cancel := context.WithTimeout(ctx, storeTime)
			defer cancel()
			loaded, err := d.Store.Load(calling, id)
			if err != nil || !loaded.Execution.Status.Ended() {
				return
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			for branch, sending := range d.sent {
				if branch.Execution == id {
					sending.cancel(errOver)
				}
			}
		})
	}
}
