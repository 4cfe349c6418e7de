package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// joining is the answer of a request that is run in parts: the place that each part's
// rows are copied to as it ends. Only texts, whose lengths nobody knows before, are kept
// until those before them are there.
type joining struct {
	q         *Queue
	sum       answered
	held      *memory.Call // nil is nobody
	ahead     *advance
	rows, per int

	// turn is had by one part at a time, which may wait for memory meanwhile.
	turn    chan struct{}
	taken   int64 // bytes
	outputs []infer.Tensor
	beyond  [][]int64 // each output's shape in the first part that ended
	texts   [][]piece // of each output
	wrong   *misfit   // that the outputs are not of the parts' rows, or not as another's
	timing  infer.Timing
}

// piece is texts from a row on.
type piece struct {
	row  int
	data []byte
}

// take charges n bytes that are about to be allocated.
func (j *joining) take(n int64) error {
	if j.held == nil {
		return nil
	}
	if err := j.ahead.take(j.held, n); err != nil {
		if problem.CodeOf(err) != problem.Overloaded {
			return err
		}
		return j.failed(&shortage{need: n, err: err}, j.rows)
	}
	j.taken += n
	return nil
}

func (j *joining) give(n int64) {
	if j.held != nil {
		j.ahead.give(j.held, n)
		j.taken -= n
	}
}

// failed is the error of so many rows. Of a shortage it is one of the whole request: of
// its answer, of the parts that are there at once, in buffers that are a quarter larger at
// most, and of texts that are joined.
func (j *joining) failed(err error, rows int) error {
	var short *shortage
	if !errors.As(err, &short) {
		return err
	}
	row := (short.need + int64(rows) - 1) / int64(rows)
	whole := int64(j.rows)
	if slices.ContainsFunc(j.q.m.Signature.Outputs, func(o infer.TensorSpec) bool { return o.DataType == infer.Bytes }) {
		whole *= 2
	}
	parts := int64(min(j.rows, 2*j.q.s.cfg.Slots*j.per))
	return &shortage{need: row*whole + row*parts*5/4, row: row * 5 / 4, err: short.err}
}

func (j *joining) giveBack() { j.give(j.taken) }

// add copies a part of so many rows, from a row on, to its place.
func (j *joining) add(ctx context.Context, part *Result, row, count int) error {
	select {
	case j.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the request's own
	}
	defer func() { <-j.turn }()
	j.timing.Queue = max(j.timing.Queue, part.Timing.Queue)
	j.timing.Input += part.Timing.Input
	j.timing.Infer += part.Timing.Infer
	j.timing.Output += part.Timing.Output
	if j.wrong != nil {
		return nil
	}
	if j.outputs == nil {
		if err := j.begin(part, count); err != nil {
			return err
		}
	}
	for i := range part.Outputs {
		if j.wrong = j.check(i, &part.Outputs[i], count); j.wrong != nil {
			return nil
		}
		if err := j.put(i, &part.Outputs[i], row, count); err != nil {
			return err
		}
	}
	return nil
}

// begin makes room for the answer, as large as the first part shows it to be.
func (j *joining) begin(part *Result, count int) error {
	sizes := make([]int, len(part.Outputs))
	sum := int64(0)
	for i := range part.Outputs {
		o := &part.Outputs[i]
		if spec := j.spec(o); spec != nil && !spec.Unbatched && o.DataType != infer.Bytes {
			sizes[i] = len(o.Data) / count * j.rows
			sum += int64(max(sizes[i], 8))
		}
	}
	if err := j.take(sum); err != nil {
		return err
	}
	j.outputs = slices.Clone(part.Outputs)
	j.beyond, j.texts = make([][]int64, len(sizes)), make([][]piece, len(sizes))
	for i := range j.outputs {
		o := &j.outputs[i]
		j.beyond[i], o.Shape, o.Data = slices.Clone(o.Shape), slices.Clone(o.Shape), nil
		if spec := j.spec(o); spec == nil || spec.Unbatched {
			continue
		}
		if len(o.Shape) > batchAxis {
			o.Shape[batchAxis] = int64(j.rows)
		}
		if o.DataType != infer.Bytes {
			o.Data = make([]byte, sizes[i], max(sizes[i], 8)) // aligned for every type
		}
	}
	return nil
}

func (j *joining) spec(o *infer.Tensor) *infer.TensorSpec {
	return infer.SpecOf(j.q.m.Signature.Outputs, o.Name)
}

// check holds a part's output to its rows, and to what another part had.
func (j *joining) check(i int, o *infer.Tensor, count int) *misfit {
	spec, want := j.spec(o), slices.Clone(j.beyond[i])
	batched := spec != nil && !spec.Unbatched
	if batched && len(want) > batchAxis {
		want[batchAxis] = int64(count)
	}
	if spec == nil || batched && len(want) == 0 || !slices.Equal(o.Shape, want) {
		return &misfit{RuleRows, fmt.Errorf("output %q of %d of %d rows has the shape %v, expected %v", o.Name, count, j.rows, o.Shape, want)}
	}
	return nil
}

// put copies an output of a part to its place. One without rows is the first part's.
func (j *joining) put(i int, o *infer.Tensor, row, count int) error {
	switch {
	case j.spec(o).Unbatched:
		if row > 0 {
			return nil
		}
		if err := j.take(int64(max(len(o.Data), 8))); err != nil {
			return err
		}
		j.outputs[i].Data = alignedCopy(o.Data)
	case o.DataType == infer.Bytes:
		if err := j.take(int64(len(o.Data))); err != nil {
			return err
		}
		j.texts[i] = append(j.texts[i], piece{row, slices.Clone(o.Data)})
	default:
		per := len(o.Data) / count
		copy(j.outputs[i].Data[row*per:], o.Data)
	}
	return nil
}

// endGroup makes one piece of the texts of a group's parts, which begins at a row.
func (j *joining) endGroup(row int) error {
	for i, pieces := range j.texts {
		before := slices.IndexFunc(pieces, func(p piece) bool { return p.row >= row })
		if before < 0 {
			continue
		}
		whole, err := j.concat(pieces[before:])
		if err != nil {
			return err
		}
		j.texts[i] = append(pieces[:before], piece{row, whole})
	}
	return nil
}

// concat joins pieces in the order of their rows, in memory of its own.
func (j *joining) concat(pieces []piece) ([]byte, error) {
	if len(pieces) == 1 {
		return pieces[0].data, nil
	}
	slices.SortFunc(pieces, func(a, b piece) int { return a.row - b.row })
	n := 0
	for _, p := range pieces {
		n += len(p.data)
	}
	if err := j.take(int64(n)); err != nil {
		return nil, err
	}
	whole := make([]byte, 0, n)
	for _, p := range pieces {
		whole = append(whole, p.data...)
	}
	j.give(int64(n)) // the pieces
	return whole, nil
}

// joined is the answer.
func (j *joining) joined() (result *Result, err error) {
	for i := range j.texts {
		if len(j.texts[i]) == 0 {
			continue
		}
		if j.outputs[i].Data, err = j.concat(j.texts[i]); err != nil {
			return nil, err
		}
	}
	j.timing.BatchSize, j.timing.Rows = j.rows, j.rows
	return &Result{Outputs: j.outputs, Release: j.giveBack, Timing: j.timing}, nil
}
