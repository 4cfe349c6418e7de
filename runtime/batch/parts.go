package batch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// admitParts finds place for a request that will run in parts of so many rows,
// as a whole, and refuses one that would end too late. It is called under mu.
func (c *class) admitParts(ctx context.Context, req *infer.Request, rows, per int) error {
	q := c.q
	if n := ceilDiv(rows, per); n > maxParts {
		q.metrics.refused("too_large")
		e := problem.Invalid("inputs[0].shape", "expected at most %d rows, for batches of at most %d; got %d", maxParts*per, per, rows)
		e.Code = problem.PayloadTooLarge
		return e
	}
	if deadline, ok := ctx.Deadline(); ok {
		least := c.costs.cost(1).least(per) * time.Duration(rows/per) / time.Duration(q.s.cfg.Slots)
		if left := time.Until(deadline); least > left {
			c.costs.alone.impatient()
			c.costs.busy.impatient()
			q.metrics.refused("deadline")
			return tooLate(q, left)
		}
	}
	return q.admit(req.Tenant)
}

// runParts runs a request of many rows in parts of at most so many, several at
// once, and joins their outputs. It fails whole with the first part that does.
func (q *Queue) runParts(ctx context.Context, req *infer.Request, wanted []string, rows, per int) (*Result, error) {
	results := make([]*Result, ceilDiv(rows, per))
	group, gctx := errgroup.WithContext(ctx)
	// Enough to keep the slots busy: others wait in no line.
	group.SetLimit(2 * q.s.cfg.Slots)
	sig := q.m.Signature
	for i := range results {
		group.Go(func() (err error) {
			defer func() { // nobody above recovers here
				if p := recover(); p != nil {
					err = fmt.Errorf("%w: %v", errPanic, p)
				}
			}()
			from := i * per
			count := min(per, rows-from)
			part := *req
			part.Inputs = cutInputs(sig, req.Inputs, from, count)
			results[i], err = q.runPart(gctx, &part, wanted, count)
			return err
		})
	}
	err := group.Wait()
	defer func() {
		for _, r := range results {
			if r != nil {
				r.Release()
			}
		}
	}()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("run: %w", ctx.Err())
		}
		return nil, err
	}
	return joinResults(sig, results, rows)
}

// runPart runs one part. None is refused for a full queue: the request is under
// way.
func (q *Queue) runPart(ctx context.Context, req *infer.Request, wanted []string, rows int) (*Result, error) {
	var scratch [512]byte
	form := q.formOf(scratch[:0], req.Inputs, wanted)
	s := q.s
	s.mu.Lock()
	c := q.class(&form, wanted, req.Inputs)
	return q.runOne(ctx, c, req, rows, true)
}

// joinResults makes one result of parts'.
func joinResults(sig *infer.Signature, parts []*Result, rows int) (*Result, error) {
	outputs := slices.Clone(parts[0].Outputs)
	for i := range outputs {
		o := &outputs[i]
		o.Shape = slices.Clone(o.Shape)
		if spec := infer.SpecOf(sig.Outputs, o.Name); spec == nil || spec.Unbatched {
			o.Data = alignedCopy(o.Data)
			continue
		}
		total, count := 0, int64(0)
		for _, p := range parts {
			t := &p.Outputs[i]
			if len(t.Shape) == 0 || !slices.Equal(t.Shape[batchAxis+1:], o.Shape[batchAxis+1:]) {
				return nil, problem.New(problem.ModelFailed, "output %q of some rows has the shape %v, and that of others %v", o.Name, t.Shape, o.Shape)
			}
			total += len(t.Data)
			count += t.Shape[batchAxis]
		}
		if count != int64(rows) {
			return nil, problem.New(problem.ModelFailed, "output %q of %d rows has %d", o.Name, rows, count)
		}
		data := make([]byte, 0, max(total, 8))
		for _, p := range parts {
			data = append(data, p.Outputs[i].Data...)
		}
		o.Data, o.Shape[batchAxis] = data, count
	}
	joined := &Result{Outputs: outputs, Release: func() {}}
	for _, p := range parts {
		joined.Timing.Queue = max(joined.Timing.Queue, p.Timing.Queue)
		joined.Timing.Input += p.Timing.Input
		joined.Timing.Infer += p.Timing.Infer
		joined.Timing.Output += p.Timing.Output
	}
	joined.Timing.BatchSize = rows
	return joined, nil
}
