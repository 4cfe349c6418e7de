package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// bare is a process that has nothing but ONNX Runtime and one model, and runs
// it in a loop on order: as many runs at once as the order asks, as a
// function has slots. Between its turns it only waits.
type bare struct {
	*process
	in  io.WriteCloser
	out *bufio.Reader
}

// order has the bare process run batches of Rows for a Turn, or until
// Runs were made where that is not 0, in so many Loops at once: those that so
// many callers can fill. 0 is one for each processor.
type order struct {
	Rows  int
	Loops int
	Turn  time.Duration
	Runs  int64
}

// loops are no more than there are processors.
func (o order) loops() int {
	if o.Loops == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return min(o.Loops, runtime.GOMAXPROCS(0))
}

// loop is what one order gave.
type loop struct {
	Rate   float64 // rows per second
	PerRow float64 // seconds of processor time for one row
}

func startBare(s *subject) (*bare, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bare{process: &process{cmd: exec.Command(self, "-bare", s.name, "-file", s.file)}}
	b.cmd.Stderr = b.process
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.out = bufio.NewReader(out)
	return b, b.cmd.Start()
}

// run gives the process an order and waits for what came of it.
func (b *bare) run(o order) (l loop, err error) {
	if err := json.NewEncoder(b.in).Encode(o); err != nil {
		return l, fmt.Errorf("the bare loop: %w\n%s", err, b.tail())
	}
	line, err := b.out.ReadBytes('\n')
	if err != nil {
		return l, fmt.Errorf("the bare loop: %w\n%s", err, b.tail())
	}
	return l, json.Unmarshal(line, &l)
}

// stop ends the process: it ends with its input.
func (b *bare) stop() error { return errors.Join(b.in.Close(), b.cmd.Wait()) }

// serveBare is the bare process: orders in, one line each out.
func serveBare(ctx context.Context, name, file string, in io.Reader, out io.Writer) error {
	found, err := ort.FindLibrary()
	if err != nil {
		return err
	}
	library, err := ort.Open(found)
	if err != nil {
		return err
	}
	session, err := library.Open(file, ort.Options{})
	if err != nil {
		return err
	}
	model, err := find(subjects(""), name)
	if err != nil {
		return err
	}
	for orders := json.NewDecoder(in); ; {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return errors.Join(session.Close(), library.Close())
		} else if err != nil {
			return err
		}
		l, err := o.loop(ctx, session, model)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(l); err != nil {
			return err
		}
	}
}

func (o order) loop(ctx context.Context, session *ort.Session, model *subject) (l loop, err error) {
	inputs := model.tensors(o.Rows)
	if err := runOnce(ctx, session, inputs); err != nil { // the first run of a shape allocates
		return l, err
	}
	self := &process{cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	before, err := self.cpu()
	if err != nil {
		return l, err
	}
	began := time.Now()
	var wanted atomic.Int64
	ends := make([][]time.Duration, o.loops())
	errs := make([]error, len(ends))
	var wg sync.WaitGroup
	for i := range ends {
		wg.Go(func() {
			for n := wanted.Add(1); errs[i] == nil && o.more(n, time.Since(began)); n = wanted.Add(1) {
				errs[i] = runOnce(ctx, session, inputs)
				ends[i] = append(ends[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	after, err := self.cpu()
	if err := errors.Join(err, errors.Join(errs...)); err != nil {
		return l, err
	}
	all := slices.Sorted(slices.Values(slices.Concat(ends...)))
	l.Rate = steadyRate(all, min(len(ends), len(all)), o.Turn) * float64(o.Rows)
	l.PerRow = (after - before).Seconds() / float64(len(all)*o.Rows)
	return l, nil
}

// more reports whether the nth run is to be made.
func (o order) more(n int64, since time.Duration) bool {
	if o.Runs > 0 {
		return n <= o.Runs
	}
	return since < o.Turn || n <= int64(leastAnswers*o.loops())
}

func runOnce(ctx context.Context, session *ort.Session, inputs []infer.Tensor) error {
	_, release, err := session.Run(ctx, memory.Unbounded{}, inputs, nil)
	if err == nil {
		release()
	}
	return err
}
