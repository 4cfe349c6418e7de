package batch

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// admitParts finds place for a request that will run in parts of so many rows,
// as a whole, and refuses one that would end too late. It is called under mu.
func (c *class) admitParts(ctx context.Context, req *infer.Request, f *form, per int) error {
	q := c.q
	deadline, _ := ctx.Deadline()
	if err := c.tooLate(kind{per, f.rest}, deadline, time.Now()); err != nil {
		return err
	}
	return q.admit(req.Tenant)
}

// runParts runs a request of many rows in parts of at most so many, several at
// once, and joins their outputs. It fails whole with the first part that does.
func (q *Queue) runParts(ctx context.Context, req *infer.Request, wanted []string, ahead *advance, rows, per int) (*Result, error) {
	result, ok, err := q.runGroups(ctx, req, wanted, ahead, rows, per)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("run: %w", ctx.Err())
	}
	if ok || err != nil {
		return result, err
	}
	return q.runAdmitted(ctx, req, wanted, ahead)
}

// runGroups runs parts in groups of at most maxParts, so that few texts are kept apart.
// ok is false for what cannot be joined.
func (q *Queue) runGroups(ctx context.Context, req *infer.Request, wanted []string, ahead *advance, rows, per int) (result *Result, ok bool, err error) {
	j := &joining{q: q, sum: answered{q: q, rows: rows}, held: req.Held, ahead: ahead, rows: rows, per: per, turn: make(chan struct{}, 1)}
	defer func() {
		if !ok {
			j.giveBack()
		}
	}()
	size := per * maxParts
	for from := 0; from < rows; from += size {
		group := *req
		count := min(size, rows-from)
		if count < rows {
			group.Inputs = cutInputs(q.m.Signature, req.Inputs, from, count)
		}
		if err := q.runGroup(ctx, &group, wanted, from, count, j); err != nil {
			return nil, false, err
		}
		if j.wrong != nil {
			q.misfit(j.wrong)
			return nil, false, nil
		}
	}
	if result, err = j.joined(); err != nil {
		return nil, false, err
	}
	return result, !q.rules.whole.Load(), nil
}

// answered is how large an answer is of which parts are there.
type answered struct {
	q     *Queue
	rows  int // of the whole request
	bytes atomic.Int64
}

// add counts a part, and refuses what will be too large as soon as that is seen:
// of outputs that are no texts by the first part.
func (a *answered) add(part *Result, rows int) error {
	most := a.q.m.MaxOutput
	if most <= 0 {
		return nil
	}
	bytes, whole := int64(0), 0.0
	for i := range part.Outputs {
		o := &part.Outputs[i]
		if spec := infer.SpecOf(a.q.m.Signature.Outputs, o.Name); spec == nil || spec.Unbatched {
			continue
		}
		bytes += int64(len(o.Data))
		if o.DataType != infer.Bytes {
			whole += float64(len(o.Data)) / float64(max(rows, 1)) * float64(a.rows)
		}
	}
	if sum := a.bytes.Add(bytes); max(float64(sum), whole) > float64(most) {
		return problem.New(problem.PayloadTooLarge,
			"the answer would have %.0f bytes or more; expected at most %d (MODELSERVE_MAX_OUTPUT): ask for fewer rows, or for fewer of the outputs",
			max(float64(sum), whole), most)
	}
	return nil
}

// runGroup runs so many rows in parts, from a row of the request on.
func (q *Queue) runGroup(ctx context.Context, req *infer.Request, wanted []string, first, rows int, j *joining) error {
	group, ctx := errgroup.WithContext(ctx)
	// Enough to keep the slots busy: others wait in no line.
	group.SetLimit(2 * q.s.cfg.Slots)
	for from := 0; from < rows; from += j.per {
		if ctx.Err() != nil {
			break // one has failed
		}
		group.Go(func() (err error) {
			defer func() { // nobody above recovers here
				if p := recover(); p != nil {
					err = fmt.Errorf("%w: %v", errPanic, p)
				}
			}()
			count := min(j.per, rows-from)
			part := *req
			part.Inputs = cutInputs(q.m.Signature, req.Inputs, from, count)
			result, err := q.runAdmitted(ctx, &part, wanted, j.ahead)
			if err != nil {
				return j.failed(err, count)
			}
			defer result.Release()
			if err := j.sum.add(result, count); err != nil {
				return err
			}
			return j.add(ctx, result, first+from, count)
		})
	}
	if err := group.Wait(); err != nil {
		return err //nolint:wrapcheck // a part's
	}
	return j.endGroup(first)
}

// runAdmitted runs a part, or what was run in parts and cannot be, as a whole.
// None is refused for a full queue: the request is under way.
func (q *Queue) runAdmitted(ctx context.Context, req *infer.Request, wanted []string, ahead *advance) (*Result, error) {
	var scratch [512]byte
	form := q.formOf(scratch[:0], req, wanted)
	q.s.mu.Lock()
	c := q.class(&form, req, wanted)
	return q.runOne(ctx, c, req, &form, ahead, true)
}
