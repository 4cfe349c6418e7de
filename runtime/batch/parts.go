package batch

import (
	"context"
	"fmt"
	"slices"
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
func (q *Queue) runParts(ctx context.Context, req *infer.Request, wanted []string, rows, per int) (*Result, error) {
	result, ok, err := q.runGroups(ctx, req, wanted, rows, per)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("run: %w", ctx.Err())
	}
	if ok || err != nil {
		return result, err
	}
	return q.runAdmitted(ctx, req, wanted)
}

// runGroups runs parts in groups of at most maxParts. Each is joined before the
// next begins, for a part that waits to be joined takes more memory than its rows.
// ok is false for what cannot be joined.
func (q *Queue) runGroups(ctx context.Context, req *infer.Request, wanted []string, rows, per int) (result *Result, ok bool, err error) {
	size := per * maxParts
	sum := &answered{q: q, rows: rows}
	if rows <= size {
		return q.runGroup(ctx, req, wanted, rows, per, sum)
	}
	results := make([]*Result, ceilDiv(rows, size))
	defer releaseAll(results)
	for i := range results {
		group := *req
		count := min(size, rows-i*size)
		group.Inputs = cutInputs(q.m.Signature, req.Inputs, i*size, count)
		if results[i], ok, err = q.runGroup(ctx, &group, wanted, count, per, sum); !ok || err != nil {
			return nil, false, err
		}
	}
	result, ok = q.joined(results, rows, size)
	return result, ok, nil
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

func (q *Queue) runGroup(ctx context.Context, req *infer.Request, wanted []string, rows, per int, sum *answered) (result *Result, ok bool, err error) {
	results := make([]*Result, ceilDiv(rows, per))
	defer releaseAll(results)
	group, ctx := errgroup.WithContext(ctx)
	// Enough to keep the slots busy: others wait in no line.
	group.SetLimit(2 * q.s.cfg.Slots)
	for i := range results {
		if ctx.Err() != nil {
			break // one has failed
		}
		group.Go(func() (err error) {
			defer func() { // nobody above recovers here
				if p := recover(); p != nil {
					err = fmt.Errorf("%w: %v", errPanic, p)
				}
			}()
			from := i * per
			count := min(per, rows-from)
			part := *req
			part.Inputs = cutInputs(q.m.Signature, req.Inputs, from, count)
			if results[i], err = q.runAdmitted(ctx, &part, wanted); err != nil {
				return err
			}
			return sum.add(results[i], count)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, false, err //nolint:wrapcheck // a part's
	}
	result, ok = q.joined(results, rows, per)
	return result, ok, nil
}

// joined is joinResults; ok is false where the model's outputs are not of its rows.
func (q *Queue) joined(parts []*Result, rows, per int) (result *Result, ok bool) {
	result, wrong := joinResults(q.m.Signature, parts, rows, per)
	if wrong != nil {
		q.misfit(wrong)
		return nil, false
	}
	return result, !q.rules.whole.Load()
}

func releaseAll(results []*Result) {
	for _, r := range results {
		if r != nil {
			r.Release()
		}
	}
}

// runAdmitted runs a part, or what was run in parts and cannot be, as a whole.
// None is refused for a full queue: the request is under way.
func (q *Queue) runAdmitted(ctx context.Context, req *infer.Request, wanted []string) (*Result, error) {
	var scratch [512]byte
	form := q.formOf(scratch[:0], req, wanted)
	q.s.mu.Lock()
	c := q.class(&form, req, wanted)
	return q.runOne(ctx, c, req, &form, true)
}

// joinResults makes one result of those of parts, of so many rows each but the
// last. A misfit is one whose outputs are not of its rows, or not as another's.
func joinResults(sig *infer.Signature, parts []*Result, rows, per int) (*Result, *misfit) {
	outputs := slices.Clone(parts[0].Outputs)
	for i := range outputs {
		o := &outputs[i]
		o.Shape = slices.Clone(o.Shape)
		spec := infer.SpecOf(sig.Outputs, o.Name)
		total := 0
		for k, p := range parts {
			t := &p.Outputs[i]
			want := slices.Clone(parts[0].Outputs[i].Shape)
			if spec != nil && !spec.Unbatched && len(want) > batchAxis {
				want[batchAxis] = int64(min(per, rows-k*per))
			}
			if spec == nil || !spec.Unbatched && len(want) == 0 || !slices.Equal(t.Shape, want) {
				return nil, &misfit{RuleRows, fmt.Errorf("output %q of %d of %d rows has the shape %v, expected %v", o.Name, min(per, rows-k*per), rows, t.Shape, want)}
			}
			total += len(t.Data)
		}
		if spec.Unbatched {
			o.Data = alignedCopy(o.Data)
			continue
		}
		data := make([]byte, 0, max(total, 8))
		for _, p := range parts {
			data = append(data, p.Outputs[i].Data...)
		}
		o.Data, o.Shape[batchAxis] = data, int64(rows)
	}
	joined := &Result{Outputs: outputs, Release: func() {}}
	for _, p := range parts {
		joined.Timing.Queue = max(joined.Timing.Queue, p.Timing.Queue)
		joined.Timing.Input += p.Timing.Input
		joined.Timing.Infer += p.Timing.Infer
		joined.Timing.Output += p.Timing.Output
	}
	joined.Timing.BatchSize, joined.Timing.Rows = rows, rows
	return joined, nil
}
