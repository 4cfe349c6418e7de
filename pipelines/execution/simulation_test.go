package execution_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/pipelines/execution"
)

var (
	seeds = flag.Uint64("seeds", 2000, "how many worlds the simulation runs through")
	seed  = flag.Uint64("seed", 0, "the first of them")
)

// Thousands of worlds, in each of which executions of a random pipeline run while
// channels lose, double, delay, reorder and damage, functions fail, hang and die,
// workers crash between any two things they do, and the database comes, goes and forgets. In
// every one, each execution that was accepted ends, with the outputs that it would
// have had undisturbed if it succeeded, and every commit is as store.check says.
func TestSimulation(t *testing.T) {
	t.Parallel()
	const parts = 4
	var all [parts]seen
	var wait sync.WaitGroup
	for part := range uint64(parts) {
		all[part] = seen{}
		wait.Go(func() {
			for i := *seed + part; i < *seed+*seeds && !t.Failed(); i += parts {
				all[part].add(simulate(t, i))
			}
		})
	}
	wait.Wait()
	if *seeds < 1000 || t.Failed() {
		return
	}
	for _, what := range []string{
		"succeeded", "failed", "cancelled", "skipped", "late", "break", "dead letter", "recorded before a replay",
		"item of all", "item of any", "item of best-effort", "timed out", "given up for its attempts", "given up for its breaks",
		"refused by a channel",
	} {
		n := 0
		for _, part := range all {
			n += part[what]
		}
		if n < 10 {
			t.Errorf("%q was seen %d times: what the worlds do is not what this is for", what, n)
		}
	}
}

// seen counts what came about in worlds.
type seen map[string]int

func (s seen) add(w *world) {
	for _, r := range w.store.rows {
		s[string(r.x.Status)]++
		s["late"] += r.x.Lates
		s["dead letter"] += len(r.dead)
		for _, n := range r.refused {
			s["refused by a channel"] += n
		}
		for i := range r.x.Steps {
			step := &r.x.Steps[i]
			s["break"] += step.Breaks
			if step.Status == execution.Skipped {
				s["skipped"]++
			}
			if step.Join != "" {
				s["item of "+string(step.Join)] += len(r.values[step.Name])
			}
			if step.Attempts > 0 && r.x.ReplayOf != "" && r.x.From != step.Name && r.x.Status == execution.Succeeded {
				s["recorded before a replay"]++
			}
		}
		if r.x.Status == execution.Failed && !r.x.Finished.Before(r.x.Deadline) {
			s["timed out"]++
		}
		for _, d := range r.dead {
			if tries := w.d.Step(d.Step).Retry.Attempts; tries > 1 && d.Attempts == tries {
				s["given up for its attempts"]++
			}
			if d.Breaks == execution.MaxBreaks {
				s["given up for its breaks"]++
			}
		}
	}
}

// FuzzSimulation goes on with worlds that no list has.
func FuzzSimulation(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { simulate(t, seed) })
}

// simulate runs one world. Where something goes wrong it reports the smallest in which
// it still does.
func simulate(t *testing.T, seed uint64) *world {
	t.Helper()
	f := faultsOf(seed)
	w := newWorld(seed, f, silent)
	err := w.run()
	if err == nil {
		return w
	}
	f, err = shrink(seed, f, err)
	var lines []string
	var last *world
	last = newWorld(seed, f, func(format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%s "+format, append([]any{last.now}, args...)...))
	})
	_ = last.run()
	if n := len(lines); n > 60 {
		lines = lines[n-60:]
	}
	t.Errorf("seed %d: %v\nsmallest world in which something goes wrong: %+v\npipeline: %s\nits last: \n%s\nagain: go test -run TestSimulation ./pipelines/execution -seed %d -seeds 1",
		seed, err, f, describe(seed, f), strings.Join(lines, "\n"), seed)
	return w
}

func silent(string, ...any) {}

// faultsOf are a world's faults: of each seed others. One in ten has none, and one in
// ten only those that no execution may fail of.
func faultsOf(seed uint64) faults {
	r := rand.New(rand.NewPCG(seed, 4))
	f := faults{Executions: 1 + r.IntN(4), Steps: 1 + r.IntN(9), Workers: 1 + r.IntN(3), Items: 1 + r.IntN(8)}
	some := func(most float64) float64 {
		if r.IntN(2) == 0 {
			return 0
		}
		return most * r.Float64()
	}
	f.Tap, f.Refuse = some(1), some(0.3)
	if seed%10 == 0 {
		return f
	}
	f.Double, f.Unknown, f.Fetch, f.Cancel, f.Replay, f.Poison = some(0.5), some(0.3), some(0.2), some(0.5), some(1), some(0.05)
	if seed%10 == 1 {
		return f
	}
	f.Lose, f.Late, f.Damage = some(0.2), some(0.2), some(0.1)
	f.Fail, f.Hang, f.Die = some(0.5), some(0.1), some(0.2)
	f.Crash, f.Slow, f.Down, f.Clock, f.Void, f.Amnesia = some(0.05), some(0.2), some(0.3), some(0.3), some(0.1), some(0.5)
	return f
}

// shrink takes out of a world whatever can be, while something goes wrong in it.
func shrink(seed uint64, f faults, err error) (faults, error) {
	for again := true; again; {
		again = false
		for i := range reflect.TypeFor[faults]().NumField() {
			smaller := f
			switch v := reflect.ValueOf(&smaller).Elem().Field(i); {
			case v.CanFloat() && v.Float() > 0:
				v.SetFloat(0)
			case v.CanInt() && v.Int() > 1:
				v.SetInt(v.Int() - 1)
			default:
				continue
			}
			if e := newWorld(seed, smaller, silent).run(); e != nil {
				f, err, again = smaller, e, true
			}
		}
	}
	return f, err
}

func describe(seed uint64, f faults) string {
	var b strings.Builder
	for _, s := range newWorld(seed, f, silent).d.Steps {
		fmt.Fprintf(&b, "\n  %s needs %v when %q retry %+v timeout %s uri %q", s.Name, s.Needs, s.When, s.Retry, s.Timeout, s.URI)
		if s.ForEach != nil {
			fmt.Fprintf(&b, " forEach %+v", *s.ForEach)
		}
	}
	return b.String()
}
