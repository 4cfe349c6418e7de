package publish

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// measureTime is how long a model is measured where a request does not say.
const measureTime = 5 * time.Second

// Bounds on the measuring of a model.
const (
	mostRows    = 64
	mostBytes   = 256 << 20 // of one run's inputs and outputs
	mostBusy    = 1 << 30   // the same of all runs at once, which share the inputs
	longestRun  = time.Second
	leastRounds = 3
	mostRounds  = 10
	burst       = time.Millisecond // short runs are timed many in a row: a clock's own cost is small beside that
	mostInBurst = 1000
	clearlyLess = 0.85 // of the best: a tenth is noise (docs/benchmarks.md)
	fallsToEnd  = 2    // sizes in a row that answer clearly fewer rows a second end the search
)

// trial is one size that is measured.
type trial struct {
	size   int
	inputs []infer.Tensor
	runs   int // that make a burst

	alone, busy time.Duration // the best of all rounds; 0 before the first
}

// measurement measures what batches of a model cost.
type measurement struct {
	model    runner
	sig      *infer.Signature
	fill     byte
	clock    func() time.Duration // of the thread, as a run of one thread takes it
	budget   time.Duration        // by that clock, of what is chosen
	deadline time.Time            // of what is not the least
	latest   time.Time            // of that, where other programs take the processors
	workers  int
}

// wallTime is the time since some moment.
func wallTime() time.Duration { return time.Duration(time.Now().UnixNano()) }

// measure runs the model at rising numbers of rows and returns the time of a run
// at each, alone and with every processor busy. It takes about as long as
// budget, three times that on a busy machine, and the first size is run in
// any case. Other programs make runs
// slower and never faster, so the sizes take turns, and the best turn of each
// counts.
func measure(ctx context.Context, model runner, sig *infer.Signature, fill byte, budget time.Duration) ([]model.BatchCost, error) {
	return newMeasurement(model, sig, fill, threadTime, budget).run(ctx)
}

func newMeasurement(model runner, sig *infer.Signature, fill byte, clock func() time.Duration, budget time.Duration) *measurement {
	now := time.Now()
	return &measurement{
		model: model, sig: sig, fill: fill, clock: clock, budget: budget,
		deadline: now.Add(budget), latest: now.Add(leastRounds * budget), workers: runtime.GOMAXPROCS(0),
	}
}

func (m *measurement) run(ctx context.Context) ([]model.BatchCost, error) {
	trials, err := m.choose(ctx)
	if err != nil {
		return nil, err
	}
	for round := range mostRounds {
		end := m.deadline
		if round < leastRounds {
			end = m.latest
		}
		if round > 0 && time.Now().Add(roundTime(trials)).After(end) {
			break
		}
		for _, t := range trials {
			if err := m.turn(ctx, t); err != nil {
				return nil, err
			}
		}
	}
	costs := make([]model.BatchCost, len(trials))
	for i, t := range trials {
		// No run is faster beside others: where it seems so, that is noise.
		costs[i] = model.BatchCost{Size: t.size, Alone: int64(t.alone), Busy: int64(max(t.busy, t.alone))}
	}
	return costs, nil
}

// choose runs the model once with each size that the bounds allow, until more
// rows are of no use or there is no time for them.
func (m *measurement) choose(ctx context.Context) ([]*trial, error) {
	var chosen []*trial
	var best float64 // rows a second
	var spent time.Duration
	falls := 0
	for size := 1; size <= mostRows; size *= 2 {
		if size > 1 && !takesRows(m.sig, size) {
			break
		}
		t, perRow, err := m.first(ctx, size)
		switch {
		case err == nil:
		case ctx.Err() != nil || size == 1:
			return nil, err
		default:
			return chosen, nil // it runs with fewer rows alone: those are what it costs
		}
		more := append(slices.Clip(chosen), t)
		spent += 2 * t.alone
		late := spent+leastRounds*roundTime(more) > m.budget || time.Now().After(m.latest)
		if size > 1 && (t.alone > longestRun || late) {
			break
		}
		chosen = more
		if rate := float64(size) / t.alone.Seconds(); rate > best*clearlyLess {
			best, falls = max(best, rate), 0
		} else if falls++; falls == fallsToEnd {
			break
		}
		if late || perRow.of(2*size) > mostBytes || perRow.ofAll(2*size, m.workers) > mostBusy {
			break
		}
	}
	return chosen, nil
}

// first runs a size twice, for the first run of a shape plans and allocates,
// and times the second.
func (m *measurement) first(ctx context.Context, size int) (*trial, perRow, error) {
	t := &trial{size: size}
	var err error
	if t.inputs, err = batchInputs(m.sig, size, m.fill); err != nil {
		return nil, perRow{}, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var bytes perRow
	for range 2 {
		begun := m.clock()
		outputs, release, err := m.model.Run(ctx, memory.Unbounded{}, t.inputs, nil)
		if err != nil {
			return nil, perRow{}, err
		}
		t.alone = m.clock() - begun
		bytes = perRow{bytesOf(t.inputs) / size, bytesOf(outputs) / size}
		release()
		if t.alone > longestRun {
			break // the first is enough
		}
	}
	t.runs = int(min(max(burst/max(t.alone, 1), 1), mostInBurst))
	return t, bytes, nil
}

// roundTime is about what a turn of each takes: runs alone, and runs that share
// caches and memory with others.
func roundTime(trials []*trial) time.Duration {
	var sum time.Duration
	for _, t := range trials {
		sum += time.Duration(t.runs) * (t.alone + max(t.busy, t.alone*5/4))
	}
	return sum
}

// turn times a burst of runs alone, and one on every processor.
func (m *measurement) turn(ctx context.Context, t *trial) error {
	alone, err := m.timeBurst(ctx, t)
	if err != nil {
		return err
	}
	bursts, faults := make([]time.Duration, m.workers), make([]error, m.workers)
	begin := make(chan struct{})
	var ready, done sync.WaitGroup
	for i := range m.workers {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-begin
			bursts[i], faults[i] = m.timeBurst(ctx, t)
		})
	}
	ready.Wait()
	close(begin)
	done.Wait()
	for _, err := range faults {
		if err != nil {
			return err
		}
	}
	// The slowest had others beside it all the while.
	t.alone, t.busy = best(t.alone, alone), best(t.busy, slices.Max(bursts))
	return nil
}

func best(have, seen time.Duration) time.Duration {
	if have == 0 {
		return seen
	}
	return min(have, seen)
}

// timeBurst is the mean time of the trial's runs, one after the other.
func (m *measurement) timeBurst(ctx context.Context, t *trial) (time.Duration, error) {
	runtime.LockOSThread() // its clock is read
	defer runtime.UnlockOSThread()
	begun := m.clock()
	for range t.runs {
		_, release, err := m.model.Run(ctx, memory.Unbounded{}, t.inputs, nil)
		if err != nil {
			return 0, err
		}
		release()
	}
	return max((m.clock()-begun)/time.Duration(t.runs), 1), nil
}

// perRow is the bytes of a row.
type perRow struct{ in, out int }

func (p perRow) of(rows int) int { return rows * (p.in + p.out) }

// ofAll is of runs at once, which share their inputs.
func (p perRow) ofAll(rows, runs int) int { return rows * (p.in + runs*p.out) }

func bytesOf(tensors []infer.Tensor) int {
	n := 0
	for i := range tensors {
		n += len(tensors[i].Data)
	}
	return n
}

// takesRows reports whether the signature allows as many rows of the example.
func takesRows(sig *infer.Signature, rows int) bool {
	if sig.BatchAxis == nil {
		return false
	}
	axis := *sig.BatchAxis
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		if spec.Optional || spec.Unbatched {
			continue
		}
		t := infer.Tensor{Shape: rowsOf(sig, spec, rows)}
		n := t.Elements()
		if n < 0 || n > maxElements || sig.MaxElements > 0 && n > sig.MaxElements {
			return false
		}
		if spec.MaxShape != nil && spec.MaxShape[axis] != infer.Dynamic && int64(rows) > spec.MaxShape[axis] {
			return false
		}
	}
	return true
}

// rowsOf is an input's example shape with as many rows; without a batch axis,
// or with 0 rows, the example itself.
func rowsOf(sig *infer.Signature, spec *infer.TensorSpec, rows int) []int64 {
	shape := slices.Clone(spec.ExampleShape())
	if sig.BatchAxis != nil && rows > 0 && !spec.Optional && !spec.Unbatched {
		shape[*sig.BatchAxis] = int64(rows)
	}
	return shape
}

// batchInputs makes inputs of the example shapes with as many rows.
func batchInputs(sig *infer.Signature, rows int, fill byte) ([]infer.Tensor, error) {
	var inputs []infer.Tensor
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		if spec.Optional {
			continue
		}
		t, err := row(spec, rowsOf(sig, spec, rows), fill)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, t)
	}
	return inputs, nil
}
