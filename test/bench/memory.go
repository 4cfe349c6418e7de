package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// memoryRuns is how often a model ran before its memory is read.
const memoryRuns = 200

// rest is after how long without calls a function has given back what they left.
const rest = 12 * time.Second

// memory holds the resident memory of a function with one model loaded, after
// some calls, against that of the bare process after as many runs. Each is
// alone with its copy of ONNX Runtime: what two processes share counts in both.
func (o *options) memory(ctx context.Context, p *platform, dir string) (rows []row, err error) {
	models, err := choose(o.models, dir)
	if err != nil {
		return nil, err
	}
	for _, s := range models {
		progress("memory: %s", s.name)
		served, err := o.servedMemory(ctx, p, dir, s)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", s.name, err)
		}
		alone, err := bareMemory(s)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", s.name, err)
		}
		for i, when := range []string{"at rest after", "right after"} {
			ratio := float64(served[i]) / float64(alone)
			rows = append(rows, row{
				fmt.Sprintf("resident memory, %s loaded, %s %d calls (%.0f MB)", s.name, when, memoryRuns, float64(served[i])/1e6),
				fmt.Sprintf("a bare ONNX Runtime process after as many runs (%.0f MB)", float64(alone)/1e6),
				fmt.Sprintf("%.2f", ratio), "≤ 1.25", ratio <= 1.25,
			})
		}
	}
	return rows, nil
}

// servedMemory is a function's memory at rest after its calls, and right after
// them.
func (o *options) servedMemory(ctx context.Context, p *platform, dir string, s *subject) (n [2]int64, err error) {
	name, err := p.push(ctx, s, learned)
	if err != nil {
		return n, err
	}
	f, err := p.startFunction(ctx, dir, "./functions/onnx", name+"@1")
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	t, err := v2(f.address, name, true, s.tensors(1))
	if err != nil {
		return n, err
	}
	if err := t.times(ctx, runtime.GOMAXPROCS(0), memoryRuns); err != nil {
		return n, err
	}
	if n[1], err = f.resident(); err != nil {
		return n, err
	}
	select {
	case <-time.After(rest):
	case <-ctx.Done():
		return n, ctx.Err()
	}
	n[0], err = f.resident()
	return n, err
}

func bareMemory(s *subject) (n int64, err error) {
	b, err := startBare(s)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	if _, err := b.run(order{Rows: 1, Runs: memoryRuns}); err != nil {
		return 0, err
	}
	return b.resident()
}
